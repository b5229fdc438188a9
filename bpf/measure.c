/* What `ebpfnet compare` measures with: a source and a sink of frames, at the two ends of a path
 * under test. Neither is part of any network, and so their maps are declared here instead of in
 * maps.h, are never pinned, and have no record in Python.
 *
 *   generate  XDP, run by the kernel itself (BPF_PROG_RUN, live frames): sends into the sender's veth
 *   sink      tc ingress of the receiver's interface: counts what arrives, and drops it
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/pkt_cls.h>

/* injection: where frames go and how they begin; one entry, written by Python before each run.
 *
 * The kernel uses its pages again without filling them anew, and a router has meanwhile changed MACs,
 * TTL and checksum in them: what may have changed is written into every frame. In words, since that
 * costs the least, each as it is in the frame.
 */
#define MAC_WORDS  3 /* both MACs */
#define TTL_OFFSET (ETH_HLEN + 8) /* TTL, protocol, checksum: one word of the IPv4 header */

struct injection {
	u32 ifindex; /* the sender's interface, in the namespace of whoever runs the program */
	u32 macs[MAC_WORDS];
	u32 ttl_protocol_checksum;
};
BPF_ARRAY(injection, struct injection, 1);

/* arrived: IPv4 frames that reached the sink; each CPU its own count. */
BPF_PERCPU_ARRAY(arrived, u64, 1);

int generate(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	u32 *macs = data, *ttl = data + TTL_OFFSET, key = 0;
	struct injection *to = injection.lookup(&key);

	if (!to || !to->ifindex || (void *)(ttl + 1) > end)
		return XDP_DROP;
	macs[0] = to->macs[0];
	macs[1] = to->macs[1];
	macs[2] = to->macs[2];
	*ttl = to->ttl_protocol_checksum;
	return bpf_redirect(to->ifindex, 0);
}

/* ARP and IPv6 pass, so that neighbours keep knowing one another. */
int sink(struct __sk_buff *skb)
{
	u32 key = 0;
	u64 *count;

	if (skb->protocol != htons(ETH_P_IP))
		return TC_ACT_OK;
	count = arrived.lookup(&key);
	if (count)
		(*count)++;
	return TC_ACT_SHOT;
}
