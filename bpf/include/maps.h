/* Every map of the kit, each beside its key and value.
 *
 * Byte order: addresses are in network order, everything else in host order.
 * datapath/records holds the same layouts for Python; a test compares the two with this
 * file's BTF. A layout that changes must raise LAYOUT_VERSION.
 *
 * MAX_ENDPOINTS comes from the loader (a network is given its size when it is made).
 */
#pragma once

#define LAYOUT_VERSION 3

/* An endpoint may carry several addresses of each family. */
#define MAX_IPV4_ADDRESSES (2 * MAX_ENDPOINTS)
#define MAX_IPV6_ADDRESSES (4 * MAX_ENDPOINTS)
/* Further connections of a network in mode sockmap go by packets. */
#define MAX_SOCKETS 65536

#define MAC_LENGTH     6
#define IPV6_LENGTH    16
#define NETNS_LENGTH   64 /* with the closing NUL */
#define IFNAME_LENGTH  16 /* IFNAMSIZ */
#define VERSION_LENGTH 16

/* endpoints: who sends, by the ifindex of the host end that a frame came in by.
 * Written by Python, read by every program and by every table. What programs need comes first,
 * so that a packet touches few cache lines. Hash without preallocation: a network pays for the
 * endpoints that it has.
 */
struct endpoint {
	u32 id; /* 1..MAX_ENDPOINTS, index into endpoint_stats and devices */
	__be32 ipv4; /* primary address, 0 = none */
	u8 mac[MAC_LENGTH];
	u8 pad[2];
	u8 ipv6[IPV6_LENGTH]; /* primary address, :: = none */
	u8 ipv6_link_local[IPV6_LENGTH];
	u64 netns_inode; /* identity of the namespace: inode of its nsfs file */
	char netns[NETNS_LENGTH]; /* as the user named it */
	char ifname[IFNAME_LENGTH]; /* in the namespace */
	char host_ifname[IFNAME_LENGTH];
};
BPF_F_TABLE("hash", u32, struct endpoint, endpoints, MAX_ENDPOINTS, BPF_F_NO_PREALLOC);

/* endpoints_v4, endpoints_v6: where a destination address lives.
 * Written by Python, read by every program. One entry for each address, in network order.
 */
struct destination {
	u32 id;
	u32 ifindex; /* of the host end */
	u8 mac[MAC_LENGTH];
	u8 pad[2];
};
BPF_F_TABLE("hash", __be32, struct destination, endpoints_v4, MAX_IPV4_ADDRESSES,
	    BPF_F_NO_PREALLOC);

struct ipv6_key {
	u8 address[IPV6_LENGTH];
};
BPF_F_TABLE("hash", struct ipv6_key, struct destination, endpoints_v6, MAX_IPV6_ADDRESSES,
	    BPF_F_NO_PREALLOC);

/* endpoint_stats: what an endpoint sent and was sent, by endpoint id; slot 0 is not used.
 * Written by programs, each CPU its own copy, so that counting needs no atomic operation.
 * Bytes count the whole frame as the hook sees it (a GSO super-packet is one packet).
 */
struct endpoint_stats {
	u64 rx_packets; /* handed on to the endpoint */
	u64 rx_bytes;
	u64 tx_packets; /* sent by the endpoint and handed on */
	u64 tx_bytes;
	u64 drops; /* sent by the endpoint and dropped */
	u64 answers; /* ARP requests and neighbour solicitations that were answered */
	u64 left; /* sent by the endpoint and left to the kernel */
};
BPF_TABLE("percpu_array", u32, struct endpoint_stats, endpoint_stats, MAX_ENDPOINTS + 1);

/* drops: dropped frames by enum drop_reason (verdicts.h), each CPU its own copy. */
struct drop_count {
	u64 packets;
	u64 bytes;
};
BPF_TABLE("percpu_array", u32, struct drop_count, drops, DROP_REASON_COUNT);

/* config: one entry; what the network is, so that it can be read back from the kernel alone.
 * Written by Python when the network is made; programs read the generation and what is otherwise.
 */
struct config {
	u32 layout_version;
	u32 mode; /* datapath.records.ModeId */
	u32 hook; /* datapath.records.HookId */
	u32 max_endpoints;
	__be32 subnet;
	u32 prefix_length;
	char kit_version[VERSION_LENGTH];
	u32 generation; /* of the entries of endpoints, see sender.h; may wrap */
	u32 otherwise; /* enum otherwise: what becomes of frames that no endpoint is meant by */
};
BPF_TABLE("array", u32, struct config, config, 1);

/* senders: what each CPU found in endpoints, by the slot of an ifindex (sender.h). The one map that is
 * not pinned: it is the program's own, and a replaced program begins with an empty one.
 */
#define SENDER_SLOTS 1024 /* host ends whose ifindexes are that far apart displace one another */

struct sender {
	u32 ifindex; /* 0 = empty */
	u32 generation;
	struct endpoint endpoint; /* up to netns_inode: what programs need */
};
BPF_TABLE("percpu_array", u32, struct sender, senders, SENDER_SLOTS);

/* devices: host-end ifindex by endpoint id, for XDP redirects; only xdp.c uses it, and only
 * networks in that mode pin it. The kernel gives devmaps no BTF.
 */
BPF_DEVMAP(devices, MAX_ENDPOINTS + 1);

/* The rest is of mode sockmap alone (socket.c): only networks in that mode pin it.
 *
 * namespaces: whose sockets are joined: endpoint id by the cookie of its network namespace, which
 * no other namespace ever has. Written by Python.
 */
BPF_F_TABLE("hash", u64, u32, namespaces, MAX_ENDPOINTS, BPF_F_NO_PREALLOC);

/* sockets: established TCP sockets of endpoints, by socket cookie (as `ss -e` prints it).
 * Written by programs; the kernel takes a socket out when it is closed. The value is a cookie too,
 * which is what user space reads; bcc's own macro knows 32 bits alone, and these the kernel refuses
 * to fill in. The kernel gives sockhashes no BTF.
 */
struct sockets_table_t {
	u64 key;
	u64 leaf;
	int (*sock_hash_update)(void *, void *, u64);
	int (*msg_redirect_hash)(void *, void *, u64);
	u32 max_entries;
};
__attribute__((section("maps/sockhash")))
struct sockets_table_t sockets = { .max_entries = MAX_SOCKETS };

/* flows: one direction of a connection between two endpoints, by its sender's addresses and ports;
 * a connection has two. Written by programs; gone when its sender is closed. IPv4 addresses are
 * ::ffff:a.b.c.d, for an IPv6 socket may have an IPv4 peer.
 */
struct flow_key {
	u8 local[IPV6_LENGTH];
	u8 remote[IPV6_LENGTH];
	u32 local_port;
	u32 remote_port;
};

enum flow_state {
	FLOW_OPENING = 0, /* nothing sent yet */
	FLOW_JOINED = 1, /* what is sent goes straight to the receiver's socket */
	FLOW_PACKETS = 2, /* by packets: until the receiver has caught up, or for good if there is none */
};

struct flow {
	u32 from; /* endpoint ids */
	u32 to;
	u64 sender; /* socket cookies */
	u64 receiver; /* 0 = none */
	u64 handshake; /* first sequence numbers: the sender's in the upper half, the receiver's */
	u64 redirected; /* bytes straight to the receiver's socket */
	u32 state; /* enum flow_state */
	u32 pad;
};
BPF_F_TABLE("hash", struct flow_key, struct flow, flows, MAX_SOCKETS, BPF_F_NO_PREALLOC);

/* progress: what has come into a connection by a socket and out of it, by socket cookie. What one
 * end has sent and the other not read is unread. Written by programs; gone when the socket is
 * closed.
 */
struct progress {
	u64 sent; /* bytes */
	u64 read;
	u64 pending; /* of those sent, by a send() that has not returned */
	u64 caller; /* whose send() that is: its process and thread */
};
BPF_F_TABLE("hash", u64, struct progress, progress, MAX_SOCKETS, BPF_F_NO_PREALLOC);
