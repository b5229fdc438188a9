/* What becomes of a frame that an endpoint sends: the one policy of all hooks.
 *
 *   source MAC and address are the endpoint's   else spoofed_*
 *   ARP request, neighbour solicitation         answered in the owner's name
 *   IPv4 or IPv6 to an endpoint                 forwarded, whatever VLAN tags it has
 *   everything else                             dropped under a reason, or left to the kernel where
 *                                               it is nobody's and the network says so (count.h)
 */
#pragma once

/* tags_beside: VLAN tags that the kernel has taken off and keeps beside the frame, at tc 0 or 1. */
static __always_inline struct decision classify(const void *data, const void *end,
						const struct endpoint *from, u32 tags_beside)
{
	const struct ethhdr *eth = data;
	const void *header = eth + 1;
	struct decision decision;
	__be16 protocol;

	if (header > end)
		return drop(DROP_TRUNCATED);
	if (!same_mac(eth->h_source, from->mac))
		return drop(DROP_SPOOFED_MAC);

	protocol = eth->h_proto;
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		const struct vlan_tag *tag = header;

		if (protocol != htons(ETH_P_8021Q) && protocol != htons(ETH_P_8021AD))
			break;
		if (tags_beside + i >= MAX_VLAN_TAGS)
			break;
		if ((const void *)(tag + 1) > end)
			return drop(DROP_TRUNCATED);
		protocol = tag->protocol;
		header = tag + 1;
	}

	if (protocol == htons(ETH_P_IP))
		decision = classify_ipv4(header, end, eth, from);
	else if (protocol == htons(ETH_P_IPV6))
		decision = classify_ipv6(header, end, eth, from);
	else if (protocol == htons(ETH_P_ARP))
		decision = classify_arp(header, end, from);
	else if (protocol == htons(ETH_P_8021Q) || protocol == htons(ETH_P_8021AD))
		decision = drop(DROP_VLAN_DEPTH);
	else
		decision = drop(DROP_UNSUPPORTED_PROTOCOL);

	if (decision.action == ACTION_FORWARD && !same_mac(eth->h_dest, decision.to->mac)) {
		/* A group MAC with an endpoint's address is not delivered: RFC 1122, 3.3.6. */
		if (is_group_mac(eth->h_dest))
			return drop(undeliverable(eth));
		decision.rewrite_mac = true;
	}
	decision.l3_offset = header - data;
	return decision;
}
