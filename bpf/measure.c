/* What `ebpfnet compare` measures with: a source and a sink of frames, at the two ends of a path
 * under test. Neither is part of any network, and so their maps are declared here instead of in
 * maps.h, are never pinned, and have no record there.
 *
 *   generate  XDP, run by the kernel itself (BPF_PROG_RUN, live frames): sends into the sender's veth
 *   sink      tc ingress of the receiver's interface: counts what arrives, and drops it
 *   idle      tc: does nothing, for what it costs to have a program at all
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/pkt_cls.h>

/* The headers of what is sent, in 16-bit words: all that is written into them begins at one. */
struct headers {
	u16 destination[3];
	u16 source[3];
	u16 ethertype;
	u16 ip[10];
	u16 source_port;
};
#define MAC_WORDS      3 /* both MACs, in words of 32 bits */
#define IP_TTL         4 /* with the protocol; where the words are in headers.ip */
#define IP_CHECKSUM    5
#define IP_DESTINATION 8

/* injection: what is sent; one entry, written by Python before each run, which has the same fields.
 *
 * The kernel uses its pages again without filling them anew, and a router has meanwhile changed MACs,
 * TTL and checksum in them: what may have changed is written into every frame. In words, since that
 * costs the least, each as it is in the frame.
 */
struct injection {
	u32 ifindex; /* the sender's interface, in the namespace of whoever runs the program */
	u32 macs[MAC_WORDS];
	u32 ttl_protocol_checksum;
	/* Where frames differ (endpoints or flows over 1), each draws its own: */
	u32 endpoints; /* 1..65536: destinations, first_address and on (host order) */
	u32 first_address;
	u32 mac_follows; /* the last four bytes of the destination's MAC are its address */
	u32 flows; /* 1..60000: source ports, first_port and on (host order) */
	u32 first_port;
	u32 header_sum; /* of the IPv4 header's words without checksum and destination */
	u32 random; /* state of the drawing, never 0; written here too */
	u32 frames; /* sent so far, 0 at first; written here */
};
BPF_ARRAY(injection, struct injection, 1);

/* reached: when each stretch of STRETCH frames began, in ns of CLOCK_MONOTONIC; written here. A
 * multiple of the batches that are sent before any frame is received.
 */
#define STRETCH   128
#define STRETCHES 16384
BPF_ARRAY(reached, u64, STRETCHES);

/* arrived: IPv4 frames that reached the sink; each CPU its own count. */
BPF_PERCPU_ARRAY(arrived, u64, 1);

/* xorshift32 (Marsaglia, 2003): bpf_get_prandom_u32 costs a call. */
static __always_inline u32 draw(struct injection *to)
{
	u32 x = to->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	to->random = x;
	return x;
}

static __always_inline void choose_destination(struct injection *to, struct headers *frame)
{
	u32 drawn = draw(to), sum = to->header_sum;
	union {
		__be32 whole;
		u16 half[2];
	} address;

	address.whole = htonl(to->first_address + ((drawn >> 16) * to->endpoints >> 16));
	if (to->mac_follows) {
		frame->destination[1] = address.half[0];
		frame->destination[2] = address.half[1];
	}
	sum += address.half[0] + address.half[1];
	sum = (sum & 0xffff) + (sum >> 16);
	frame->ip[IP_CHECKSUM] = ~(sum + (sum >> 16));
	frame->ip[IP_DESTINATION] = address.half[0];
	frame->ip[IP_DESTINATION + 1] = address.half[1];
	frame->source_port = htons(to->first_port + ((drawn & 0xffff) * to->flows >> 16));
}

int generate(struct xdp_md *xdp)
{
	struct headers *frame = (void *)(long)xdp->data;
	u32 *macs = (void *)frame, key = 0, number;
	struct injection *to = injection.lookup(&key);

	if (!to || !to->ifindex || (void *)(frame + 1) > (void *)(long)xdp->data_end)
		return XDP_DROP;
	macs[0] = to->macs[0];
	macs[1] = to->macs[1];
	macs[2] = to->macs[2];
	*(u32 *)&frame->ip[IP_TTL] = to->ttl_protocol_checksum;
	if (to->endpoints > 1 || to->flows > 1)
		choose_destination(to, frame);

	number = to->frames++;
	if (number % STRETCH == 0) {
		u32 stretch = number / STRETCH;
		u64 *now = reached.lookup(&stretch);

		if (now)
			*now = bpf_ktime_get_ns();
	}
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

int idle(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC; /* the next program's turn */
}
