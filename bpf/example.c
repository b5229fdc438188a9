/* A forwarding mode of one's own, for `ebpfnet compare --mode mine=example.c:forward`.
 *
 * The function runs at tc ingress of each endpoint's host end, on every frame that the endpoint
 * sends, and says what becomes of it. maps.h brings the network's maps, filled: `endpoints` by
 * skb->ifindex, `endpoints_v4` and `endpoints_v6` by address. The receiver must get IPv4 and ARP.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/pkt_cls.h>

#include "verdicts.h"
#include "maps.h"

#define IPV4_DESTINATION (ETH_HLEN + 16) /* offsets in the frame */
#define ARP_TARGET       (ETH_HLEN + 24) /* of requests, replies: each finds whom it is for */

int forward(struct __sk_buff *skb)
{
	bool arp = skb->protocol == htons(ETH_P_ARP);
	struct destination *to = NULL;
	__be32 address;

	if (!arp && skb->protocol != htons(ETH_P_IP))
		return TC_ACT_SHOT;
	if (!bpf_skb_load_bytes(skb, arp ? ARP_TARGET : IPV4_DESTINATION, &address, sizeof(address)))
		to = endpoints_v4.lookup(&address);
	return to ? bpf_redirect(to->ifindex, 0) : TC_ACT_SHOT;
}
