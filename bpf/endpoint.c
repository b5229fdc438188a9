/* tc ingress (tcx or clsact) at the host end of an endpoint's veth: what the endpoint sends comes
 * in here and leaves straight for the receiver; the host's own stack sees none of it.
 *
 *   tc_redirect  mode tc       through the egress of the receiver's host end
 *   tc_peer      mode tc-peer  straight into the receiver's namespace (kernel >= 5.10)
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/if_packet.h>
#include <uapi/linux/in6.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/ipv6.h>
#include <uapi/linux/pkt_cls.h>

#include "verdicts.h"
#include "maps.h"
#include "sender.h"
#include "packet.h"
#include "ipv4.h"
#include "arp.h"
#include "ipv6.h"
#include "classify.h"
#include "count.h"

/* Headers of interest: Ethernet, two tags, IPv6, extension headers, neighbour solicitation. */
#define MAX_HEADERS 256

static __always_inline int finish_drop(struct __sk_buff *skb, enum drop_reason reason, u32 id)
{
	count_drop(reason, id, skb->len);
	return TC_ACT_SHOT;
}

/* Writes go through helpers: one direct write would make the kernel unclone every packet on entry
 * to the program (bpf_unclone_prologue), and forwarding writes nothing.
 */
static __always_inline int send_back(struct __sk_buff *skb, const struct endpoint *from,
				     const u8 *receiver_mac, const struct destination *owner)
{
	u8 addresses[2 * MAC_LENGTH];

	__builtin_memcpy(addresses, receiver_mac, MAC_LENGTH);
	__builtin_memcpy(addresses + MAC_LENGTH, owner->mac, MAC_LENGTH);
	if (bpf_skb_store_bytes(skb, 0, addresses, sizeof(addresses), 0))
		return finish_drop(skb, DROP_HELPER_FAILED, from->id);
	count_answer(from->id);
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int answer_arp(struct __sk_buff *skb, const struct endpoint *from,
				      const struct decision *decision)
{
	struct arp_ipv4 arp;

	if (bpf_skb_load_bytes(skb, decision->l3_offset, &arp, sizeof(arp)))
		return finish_drop(skb, DROP_HELPER_FAILED, from->id);
	make_arp_reply(&arp, decision->to);
	if (bpf_skb_store_bytes(skb, decision->l3_offset, &arp, sizeof(arp), BPF_F_RECOMPUTE_CSUM))
		return finish_drop(skb, DROP_HELPER_FAILED, from->id);
	return send_back(skb, from, from->mac, decision->to);
}

static __always_inline int answer_nd(struct __sk_buff *skb, const struct endpoint *from,
				     const struct decision *decision)
{
	struct nd_advertisement answer;
	struct {
		struct ipv6hdr ip;
		struct nd_message message;
	} asked;
	u8 receiver[MAC_LENGTH];
	bool to_all;

	if (bpf_skb_load_bytes(skb, decision->l3_offset, &asked, sizeof(asked)))
		return finish_drop(skb, DROP_HELPER_FAILED, from->id);
	to_all = make_nd_advertisement(&answer, &asked.ip, &asked.message, decision->to);
	if (bpf_skb_change_tail(skb, decision->l3_offset + sizeof(answer), 0) ||
	    bpf_skb_store_bytes(skb, decision->l3_offset, &answer, sizeof(answer),
				BPF_F_RECOMPUTE_CSUM))
		return finish_drop(skb, DROP_HELPER_FAILED, from->id);
	set_nd_receiver(receiver, from, to_all);
	return send_back(skb, from, receiver, decision->to);
}

/* peer: deliver by bpf_redirect_peer; a constant in each program, so that the other way is not
 * compiled in.
 */
static __always_inline int from_endpoint(struct __sk_buff *skb, const bool peer)
{
	struct endpoint *from = find_sender(skb->ifindex);
	struct decision decision;

	if (!from)
		return finish_drop(skb, DROP_UNKNOWN_ENDPOINT, 0);

	/* Headers beyond the linear part are rare: they are pulled in only when missed. A real loop
	 * (kernel >= 5.3), so that classify() is there once.
	 */
#pragma clang loop unroll(disable)
	for (int attempt = 0; attempt < 2; attempt++) {
		decision = classify((void *)(long)skb->data, (void *)(long)skb->data_end, from,
				    skb->vlan_present);
		if (decision.reason != DROP_TRUNCATED || skb->data_end - skb->data >= skb->len)
			break;
		bpf_skb_pull_data(skb, skb->len < MAX_HEADERS ? skb->len : MAX_HEADERS);
	}

	if (!decision.to) {
		if (left_to_kernel(decision.reason, from->id))
			return TC_ACT_UNSPEC; /* programs behind this one are asked as well */
		return finish_drop(skb, decision.reason, from->id);
	}
	if (decision.action == ACTION_ANSWER_ARP)
		return answer_arp(skb, from, &decision);
	if (decision.action == ACTION_ANSWER_ND)
		return answer_nd(skb, from, &decision);

	if (decision.rewrite_mac &&
	    bpf_skb_store_bytes(skb, 0, decision.to->mac, MAC_LENGTH, 0))
		return finish_drop(skb, DROP_HELPER_FAILED, from->id);
	count_forward(from->id, decision.to->id, skb->len);
	if (!peer)
		return bpf_redirect(decision.to->ifindex, 0);
	/* The MAC was not the host end's, so the kernel took it for somebody else's frame; before
	 * 6.15 bpf_redirect_peer leaves it so, and the receiver's stack drops it unseen.
	 */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(decision.to->ifindex, 0);
}

int tc_redirect(struct __sk_buff *skb)
{
	return from_endpoint(skb, false);
}

int tc_peer(struct __sk_buff *skb)
{
	return from_endpoint(skb, true);
}
