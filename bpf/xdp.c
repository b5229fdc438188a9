/* XDP (native) at the host end of an endpoint's veth: frames are judged before the kernel makes an
 * skb of them and leave through a devmap for the receiver.
 *
 *   xdp_devmap   mode xdp
 *
 * XDP_HAS_FRAGS is defined by the loader where the kernel lets a frame span several buffers
 * (>= 5.18); there frames over one page pass, and their length has to be asked for.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>

#include "verdicts.h"
#include "maps.h"
#include "sender.h"
#include "packet.h"
#include "ipv4.h"
#include "arp.h"
#include "ipv6.h"
#include "classify.h"
#include "count.h"

#define MAX_L3_OFFSET (ETH_HLEN + MAX_VLAN_TAGS * sizeof(struct vlan_tag))

static __always_inline u32 frame_length(struct xdp_md *xdp)
{
#ifdef XDP_HAS_FRAGS
	return bpf_xdp_get_buff_len(xdp);
#else
	u64 length = (void *)(long)xdp->data_end - (void *)(long)xdp->data;

	/* Or clang folds it into the caller's sums, and the verifier forbids any with data_end. */
	asm volatile("" : "+r"(length));
	return length;
#endif
}

static __always_inline int finish_drop(struct xdp_md *xdp, enum drop_reason reason, u32 id)
{
	count_drop(reason, id, frame_length(xdp));
	return XDP_DROP;
}

/* Back to the sender. Not by XDP_TX: after that veth wakes the receiver only where a program sits at
 * its end too, and the answer would lie in its ring until something else arrives.
 */
static __always_inline int send_back(const struct endpoint *from)
{
	count_answer(from->id);
	return devices.redirect_map(from->id, 0);
}

static __always_inline int answer_arp(struct xdp_md *xdp, const struct endpoint *from,
				      const struct decision *decision)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;
	struct arp_ipv4 *arp;

	/* classify() has seen to both; the verifier cannot know after the round trip. */
	if (decision->l3_offset > MAX_L3_OFFSET)
		return finish_drop(xdp, DROP_TRUNCATED, from->id);
	arp = data + decision->l3_offset;
	if ((void *)(eth + 1) > end || (void *)(arp + 1) > end)
		return finish_drop(xdp, DROP_TRUNCATED, from->id);

	make_arp_reply(arp, decision->to);
	__builtin_memcpy(eth->h_dest, from->mac, MAC_LENGTH);
	__builtin_memcpy(eth->h_source, decision->to->mac, MAC_LENGTH);
	return send_back(from);
}

static __always_inline int answer_nd(struct xdp_md *xdp, const struct endpoint *from,
				     const struct decision *decision)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct nd_advertisement answer;
	struct ethhdr *eth;
	struct ipv6hdr *ip;
	bool to_all;

	if (decision->l3_offset > MAX_L3_OFFSET)
		return finish_drop(xdp, DROP_TRUNCATED, from->id);
	ip = data + decision->l3_offset;
	if ((void *)(ip + 1) + sizeof(struct nd_message) > end)
		return finish_drop(xdp, DROP_TRUNCATED, from->id);
	to_all = make_nd_advertisement(&answer, ip, (void *)(ip + 1), decision->to);

	/* Options are dropped or made room for; every pointer into the frame is void after it. */
	if (bpf_xdp_adjust_tail(xdp, (int)(decision->l3_offset + sizeof(answer)) -
					     (int)frame_length(xdp)))
		return finish_drop(xdp, DROP_HELPER_FAILED, from->id);
	data = (void *)(long)xdp->data;
	end = (void *)(long)xdp->data_end;
	eth = data;
	ip = data + decision->l3_offset;
	if ((void *)(eth + 1) > end || (void *)ip + sizeof(answer) > end)
		return finish_drop(xdp, DROP_TRUNCATED, from->id);
	__builtin_memcpy(ip, &answer, sizeof(answer));
	set_nd_receiver(eth->h_dest, from, to_all);
	__builtin_memcpy(eth->h_source, decision->to->mac, MAC_LENGTH);
	return send_back(from);
}

int xdp_devmap(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct endpoint *from = find_sender(xdp->ingress_ifindex);
	struct ethhdr *eth = data;
	struct decision decision;

	if (!from)
		return finish_drop(xdp, DROP_UNKNOWN_ENDPOINT, 0);

	decision = classify(data, end, from, 0);
	if (!decision.to) {
		if (left_to_kernel(decision.reason, from->id))
			return XDP_PASS;
		return finish_drop(xdp, decision.reason, from->id);
	}
	if (decision.action == ACTION_ANSWER_ARP)
		return answer_arp(xdp, from, &decision);
	if (decision.action == ACTION_ANSWER_ND)
		return answer_nd(xdp, from, &decision);

	if (decision.rewrite_mac && (void *)(eth + 1) <= end)
		__builtin_memcpy(eth->h_dest, decision.to->mac, MAC_LENGTH);
	count_forward(from->id, decision.to->id, frame_length(xdp));
	return devices.redirect_map(decision.to->id, 0);
}
