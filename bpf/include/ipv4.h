/* IPv4: the source must be the endpoint's own, the destination an endpoint's.
 *
 * Only the fixed header is read, so that fragments, options and GSO super-packets need no case of
 * their own.
 */
#pragma once

/* The primary address is in the endpoint's own entry; further ones cost a lookup. */
static __always_inline bool owns_ipv4(const struct endpoint *endpoint, __be32 address)
{
	struct destination *owner;

	if (address == endpoint->ipv4)
		return address; /* an endpoint without one holds 0.0.0.0, which nobody owns */
	owner = endpoints_v4.lookup(&address);
	return owner && owner->id == endpoint->id;
}

static __always_inline struct decision classify_ipv4(const struct iphdr *ip, const void *end,
						     const struct ethhdr *eth,
						     const struct endpoint *from)
{
	struct decision decision = { .action = ACTION_FORWARD };
	__be32 destination;

	if ((const void *)(ip + 1) > end)
		return drop(DROP_TRUNCATED);
	if (!owns_ipv4(from, ip->saddr))
		return drop(DROP_SPOOFED_IPV4);
	destination = ip->daddr;
	decision.to = endpoints_v4.lookup(&destination);
	if (!decision.to)
		return drop(undeliverable(eth));
	return decision;
}
