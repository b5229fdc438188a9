/* ARP (RFC 826): requests for an endpoint's address are answered by the datapath.
 *
 * Replies and announcements go nowhere: no endpoint is ever asked, so none has to tell.
 */
#pragma once

/* Not from <uapi/linux/if_arp.h>: it pulls in the kernel's netdevice.h, which takes bcc longer to
 * read than all the rest together.
 */
#define ARPHRD_ETHER  1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY   2

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	u8 hardware_length;
	u8 protocol_length;
	__be16 operation;
	u8 sender_mac[MAC_LENGTH];
	u8 sender_ip[4]; /* not aligned: bytes */
	u8 target_mac[MAC_LENGTH];
	u8 target_ip[4];
} __attribute__((packed));

static __always_inline struct decision classify_arp(const struct arp_ipv4 *arp, const void *end,
						    const struct endpoint *from)
{
	struct decision decision = { .action = ACTION_ANSWER_ARP };
	__be32 sender, target;

	if ((const void *)(arp + 1) > end)
		return drop(DROP_TRUNCATED);
	if (arp->hardware != htons(ARPHRD_ETHER) || arp->protocol != htons(ETH_P_IP) ||
	    arp->hardware_length != MAC_LENGTH || arp->protocol_length != sizeof(__be32))
		return drop(DROP_ARP_UNANSWERED);

	/* 0.0.0.0 is the sender of a probe for a duplicate address (RFC 5227). */
	sender = *(__be32 *)arp->sender_ip;
	if (!same_mac(arp->sender_mac, from->mac) || (sender && !owns_ipv4(from, sender)))
		return drop(DROP_SPOOFED_ARP);
	if (arp->operation != htons(ARPOP_REQUEST))
		return drop(DROP_ARP_UNANSWERED);

	target = *(__be32 *)arp->target_ip;
	decision.to = endpoints_v4.lookup(&target);
	if (!decision.to)
		return drop(DROP_UNKNOWN_DESTINATION);
	if (decision.to->id == from->id) /* its own address: an announcement or a probe */
		return drop(DROP_ARP_UNANSWERED);
	return decision;
}

/* Turns a checked request into its reply: owner has the address that was asked for. */
static __always_inline void make_arp_reply(struct arp_ipv4 *arp, const struct destination *owner)
{
	u8 asked_for[4];

	__builtin_memcpy(asked_for, arp->target_ip, sizeof(asked_for));
	arp->operation = htons(ARPOP_REPLY);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, MAC_LENGTH);
	__builtin_memcpy(arp->target_ip, arp->sender_ip, sizeof(arp->target_ip));
	__builtin_memcpy(arp->sender_mac, owner->mac, MAC_LENGTH);
	__builtin_memcpy(arp->sender_ip, asked_for, sizeof(asked_for));
}
