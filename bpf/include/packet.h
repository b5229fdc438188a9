/* Reading the parts of a frame that are the same at every hook.
 *
 * Parsers work on [data, end) of the linear part and compare before each read. They change nothing.
 * Fields keep network byte order. What does not fit in [data, end) is DROP_TRUNCATED: a hook that
 * can pull in more of the frame does so and asks again.
 */
#pragma once

#define MAX_VLAN_TAGS 2 /* 802.1ad outer, 802.1Q inner */

struct vlan_tag {
	__be16 tci;
	__be16 protocol; /* of what follows */
};

/* What classify() (classify.h) found. */
struct decision {
	enum action action;
	enum drop_reason reason; /* ACTION_DROP only */
	/* ACTION_FORWARD: receiver; ACTION_ANSWER_*: owner of the address; ACTION_DROP: none. Hooks ask
	 * for it and not for the action, so that the verifier sees what is behind the pointer.
	 */
	struct destination *to;
	u32 l3_offset; /* bytes from the frame's start to its network header */
	bool rewrite_mac; /* ACTION_FORWARD: destination MAC is not the receiver's */
};

static __always_inline struct decision drop(enum drop_reason reason)
{
	struct decision decision = { .action = ACTION_DROP, .reason = reason };

	return decision;
}

/* MACs sit at odd offsets in a frame: compare in pieces that every CPU may load. */
static __always_inline bool same_mac(const u8 *a, const u8 *b)
{
	return *(const u32 *)a == *(const u32 *)b && *(const u16 *)(a + 4) == *(const u16 *)(b + 4);
}

static __always_inline bool same_ipv6(const void *a, const void *b)
{
	const u32 *x = a, *y = b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

static __always_inline bool is_zero_ipv6(const void *address)
{
	const u32 *x = address;

	return !(x[0] | x[1] | x[2] | x[3]);
}

static __always_inline bool is_group_mac(const u8 *mac)
{
	return mac[0] & 1;
}

/* Why a frame that no endpoint is the receiver of is dropped. */
static __always_inline enum drop_reason undeliverable(const struct ethhdr *eth)
{
	if (!is_group_mac(eth->h_dest))
		return DROP_UNKNOWN_DESTINATION;
	if (*(const u32 *)eth->h_dest == 0xffffffff && *(const u16 *)(eth->h_dest + 4) == 0xffff)
		return DROP_BROADCAST;
	return DROP_MULTICAST;
}
