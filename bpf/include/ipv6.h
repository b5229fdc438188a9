/* IPv6: the source must be the endpoint's own, the destination an endpoint's; neighbour discovery
 * (RFC 4861) is answered by the datapath, wherever in the chain of extension headers it hides.
 */
#pragma once

#define MAX_EXTENSION_HEADERS 4
#define EXTENSION_UNIT 8 /* bytes; the length field does not count the first unit */
#define FRAGMENT_OFFSET_MASK 0xfff8

#define ND_ROUTER_SOLICITATION     133 /* first and last type of neighbour discovery */
#define ND_NEIGHBOUR_SOLICITATION  135
#define ND_NEIGHBOUR_ADVERTISEMENT 136
#define ND_REDIRECT                137
#define ND_HOP_LIMIT               255 /* proof that it was not routed */
#define ND_SOURCE_LINK_LAYER       1
#define ND_TARGET_LINK_LAYER       2
#define ND_FLAG_SOLICITED          0x40000000
#define ND_FLAG_OVERRIDE           0x20000000

struct extension_header {
	u8 next_header;
	u8 length; /* in EXTENSION_UNITs after the first; a fragment header has none */
	__be16 fragment; /* fragment header only: offset and flags */
	u8 rest[4];
};

struct nd_option {
	u8 type;
	u8 length; /* in units of 8 bytes */
	u8 mac[MAC_LENGTH];
};

struct nd_message {
	u8 type;
	u8 code;
	__be16 checksum;
	__be32 flags;
	u8 target[IPV6_LENGTH];
};

/* An advertisement as the datapath sends it, from the network header on. */
struct nd_advertisement {
	struct ipv6hdr ip;
	struct nd_message message;
	struct nd_option option;
};

static __always_inline struct destination *find_ipv6(const void *address)
{
	struct ipv6_key key;

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return endpoints_v6.lookup(&key);
}

static __always_inline bool owns_ipv6(const struct endpoint *endpoint, const void *address)
{
	struct destination *owner;

	/* An endpoint without such an address holds ::, which nobody owns. */
	if (is_zero_ipv6(address))
		return false;
	if (same_ipv6(address, endpoint->ipv6) || same_ipv6(address, endpoint->ipv6_link_local))
		return true;
	owner = find_ipv6(address);
	return owner && owner->id == endpoint->id;
}

static __always_inline struct decision classify_solicitation(const struct ipv6hdr *ip,
							     const struct nd_message *message,
							     const void *end,
							     const struct endpoint *from)
{
	struct decision decision = { .action = ACTION_ANSWER_ND };
	const struct nd_option *option = (const void *)(message + 1);

	/* RFC 4861, 7.1.1: hop limit 255, code 0, and an option only where there is a source. The
	 * kernel writes the source link-layer option first; a later one misleads nobody, because
	 * the solicitation itself is never handed on.
	 */
	if (ip->hop_limit != ND_HOP_LIMIT || message->code)
		return drop(DROP_ND_UNANSWERED);
	if ((const void *)(option + 1) <= end && option->type == ND_SOURCE_LINK_LAYER &&
	    (is_zero_ipv6(&ip->saddr) || !same_mac(option->mac, from->mac)))
		return drop(DROP_SPOOFED_ND);
	decision.to = find_ipv6(message->target);
	if (!decision.to)
		return drop(DROP_UNKNOWN_DESTINATION);
	if (decision.to->id == from->id) /* duplicate address detection for its own address */
		return drop(DROP_ND_UNANSWERED);
	return decision;
}

static __always_inline bool is_extension(u8 next_header)
{
	return next_header == IPPROTO_HOPOPTS || next_header == IPPROTO_ROUTING ||
	       next_header == IPPROTO_DSTOPTS || next_header == IPPROTO_FRAGMENT;
}

/* Neighbour discovery in an IPv6 packet: sets decision and returns true; else returns false, and
 * the packet is one like any other.
 */
static __always_inline bool classify_nd(const struct ipv6hdr *ip, const void *end,
					const struct endpoint *from, struct decision *decision)
{
	const void *header = ip + 1;
	u8 next_header = ip->nexthdr;
	bool direct = true;

#pragma unroll
	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		const struct extension_header *extension = header;

		if (!is_extension(next_header))
			break;
		direct = false;
		if ((const void *)(extension + 1) > end) {
			*decision = drop(DROP_TRUNCATED);
			return true;
		}
		/* A later fragment carries no header; its first one is judged in its stead. */
		if (next_header == IPPROTO_FRAGMENT &&
		    (extension->fragment & htons(FRAGMENT_OFFSET_MASK)))
			return false;
		header += next_header == IPPROTO_FRAGMENT ?
				  sizeof(*extension) :
				  EXTENSION_UNIT + (u32)extension->length * EXTENSION_UNIT;
		next_header = extension->next_header;
	}
	if (is_extension(next_header)) {
		*decision = drop(DROP_IPV6_EXTENSIONS);
		return true;
	}
	if (next_header != IPPROTO_ICMPV6)
		return false;

	const u8 *type = header;

	if ((const void *)(type + 1) > end) {
		*decision = drop(DROP_TRUNCATED);
		return true;
	}
	if (*type < ND_ROUTER_SOLICITATION || *type > ND_REDIRECT)
		return false;
	/* Behind extension headers it evades checks (RFC 7113), and hosts must not send it in
	 * fragments (RFC 6980).
	 */
	if (*type != ND_NEIGHBOUR_SOLICITATION || !direct) {
		*decision = drop(DROP_ND_UNANSWERED);
		return true;
	}
	if (header + sizeof(struct nd_message) > end) {
		*decision = drop(DROP_TRUNCATED);
		return true;
	}
	*decision = classify_solicitation(ip, header, end, from);
	return true;
}

static __always_inline struct decision classify_ipv6(const struct ipv6hdr *ip, const void *end,
						     const struct ethhdr *eth,
						     const struct endpoint *from)
{
	struct decision decision = { .action = ACTION_FORWARD };
	bool unspecified, discovery;

	if ((const void *)(ip + 1) > end)
		return drop(DROP_TRUNCATED);
	/* :: is the source of duplicate address detection, and of nothing else. */
	unspecified = is_zero_ipv6(&ip->saddr);
	if (!unspecified && !owns_ipv6(from, &ip->saddr))
		return drop(DROP_SPOOFED_IPV6);
	discovery = (ip->nexthdr == IPPROTO_ICMPV6 || is_extension(ip->nexthdr)) &&
		    classify_nd(ip, end, from, &decision);
	if (discovery)
		return decision;
	decision.to = find_ipv6(&ip->daddr);
	if (!decision.to)
		return drop(undeliverable(eth));
	if (unspecified)
		return drop(DROP_SPOOFED_IPV6);
	return decision;
}

static __always_inline __be16 fold_checksum(s64 sum)
{
	u32 folded = sum;

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return ~folded;
}

/* Makes the answer to a checked solicitation: owner has the address that was asked for.
 * Whoever asks from :: is answered at all nodes (RFC 4861, 7.2.4). Returns whether it is so.
 */
static __always_inline bool make_nd_advertisement(struct nd_advertisement *answer,
						  const struct ipv6hdr *ip,
						  const struct nd_message *solicitation,
						  const struct destination *owner)
{
	const u32 length = sizeof(answer->message) + sizeof(answer->option);
	bool to_all = is_zero_ipv6(&ip->saddr);
	s64 sum;

	__builtin_memset(answer, 0, sizeof(*answer));
	answer->ip.version = 6;
	answer->ip.payload_len = htons(length);
	answer->ip.nexthdr = IPPROTO_ICMPV6;
	answer->ip.hop_limit = ND_HOP_LIMIT;
	__builtin_memcpy(&answer->ip.saddr, solicitation->target, IPV6_LENGTH);
	if (to_all) { /* ff02::1 */
		answer->ip.daddr.in6_u.u6_addr8[0] = 0xff;
		answer->ip.daddr.in6_u.u6_addr8[1] = 0x02;
		answer->ip.daddr.in6_u.u6_addr8[15] = 0x01;
	} else {
		__builtin_memcpy(&answer->ip.daddr, &ip->saddr, IPV6_LENGTH);
	}
	answer->message.type = ND_NEIGHBOUR_ADVERTISEMENT;
	answer->message.flags = htonl(ND_FLAG_OVERRIDE | (to_all ? 0 : ND_FLAG_SOLICITED));
	__builtin_memcpy(answer->message.target, solicitation->target, IPV6_LENGTH);
	answer->option.type = ND_TARGET_LINK_LAYER;
	answer->option.length = sizeof(answer->option) / EXTENSION_UNIT;
	__builtin_memcpy(answer->option.mac, owner->mac, MAC_LENGTH);

	/* Pseudo header (RFC 8200, 8.1): both addresses, length, next header. */
	sum = bpf_csum_diff(0, 0, (__be32 *)&answer->ip.saddr, 2 * IPV6_LENGTH,
			    htonl(length + IPPROTO_ICMPV6));
	sum = bpf_csum_diff(0, 0, (__be32 *)&answer->message, length, sum);
	answer->message.checksum = fold_checksum(sum);
	return to_all;
}

/* The MAC that an answer goes to: 33:33:00:00:00:01 for all nodes (RFC 2464, 7), else the asker's.
 * Byte by byte: newer compilers put a constant array into .rodata, which bcc does not load.
 */
static __always_inline void set_nd_receiver(u8 *mac, const struct endpoint *asker, bool to_all)
{
	__builtin_memcpy(mac, asker->mac, MAC_LENGTH);
	if (to_all) {
		mac[0] = 0x33;
		mac[1] = 0x33;
		mac[2] = 0;
		mac[3] = 0;
		mac[4] = 0;
		mac[5] = 1;
	}
}
