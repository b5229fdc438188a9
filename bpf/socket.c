/* Mode sockmap: what one endpoint's TCP socket sends goes straight into the queue of the socket
 * that reads it, past both TCP/IP stacks. Packets are tc_peer's (endpoint.c): handshakes, FIN, RST,
 * and all that is not joined.
 *
 *   socket_event    sock_ops, cgroup root        sockets and flows come and go
 *   socket_message  sk_msg, map sockets          each send(): joined, or by packets
 *   socket_sent     tracepoint sock_send_length  how much of it was taken
 *   socket_read     tracepoint sock_recv_length  how far each reader has got
 *
 * The kernel gives a reader all that was redirected before anything that came by packets, and lets
 * redirected data pile up without limit in front of a reader that does not read. Hence two rules:
 *
 * - A flow is joined from before its first byte, or again when its reader has read every byte that
 *   was sent: never while a byte that went by packets may be unread.
 * - A reader that is more than WINDOW behind gets packets, with TCP's own flow control, until then.
 *
 * Whatever is uncertain counts as unread, as what is read by other means than recvmsg(). Whoever
 * has no flow goes by packets, for good: that is how a flow is ended from outside. Data sent with
 * MSG_OOB arrives in line.
 */
#include <uapi/linux/bpf.h>
#include <uapi/linux/in6.h>

#include "verdicts.h"
#include "maps.h"

#define AF_INET  2
#define AF_INET6 10
#define MSG_PEEK     0x2
#define MSG_ERRQUEUE 0x2000

/* Unread bytes up to which a flow stays joined: less than TCP's own buffers may hold. With much
 * less, a stream on one CPU falls back each time that its reader has to wait for a turn.
 */
#define WINDOW (1 << 20)

/* One field of the context. volatile, or clang makes one load of several, at a computed offset,
 * which the verifier refuses.
 */
#define CONTEXT_FIELD(field) (*(volatile u32 *)&(field))

/* The flow of what the socket behind a struct bpf_sock_ops or sk_msg_md sends. */
#define READ_FLOW_KEY(key, context)                                                    \
	do {                                                                           \
		u32 *local = (u32 *)(key)->local, *remote = (u32 *)(key)->remote;      \
		u32 local_ipv4 = CONTEXT_FIELD((context)->local_ip4);                  \
		u32 remote_ipv4 = CONTEXT_FIELD((context)->remote_ip4);                \
                                                                                       \
		for (int i = 0; i < 4; i++) {                                          \
			local[i] = CONTEXT_FIELD((context)->local_ip6[i]);             \
			remote[i] = CONTEXT_FIELD((context)->remote_ip6[i]);           \
		}                                                                      \
		if ((context)->family == AF_INET) {                                    \
			local[0] = local[1] = remote[0] = remote[1] = 0;               \
			local[2] = remote[2] = htonl(0xffff);                          \
			local[3] = local_ipv4;                                         \
			remote[3] = remote_ipv4;                                       \
		}                                                                      \
		(key)->local_port = (context)->local_port;                             \
		(key)->remote_port = ntohl((context)->remote_port);                    \
	} while (0)

/* The endpoint that has an address, 0 where none has. */
static __always_inline u32 owner_of(const u8 *address)
{
	const u32 *words = (const u32 *)address;
	struct destination *owner;
	struct ipv6_key ipv6;
	__be32 ipv4 = words[3];

	if (!words[0] && !words[1] && words[2] == htonl(0xffff)) {
		owner = endpoints_v4.lookup(&ipv4);
	} else {
		__builtin_memcpy(ipv6.address, address, IPV6_LENGTH);
		owner = endpoints_v6.lookup(&ipv6);
	}
	return owner ? owner->id : 0;
}

/* Whether the client did not wait for the handshake to end. The client is established, and so has
 * its flow, before it acknowledges; the server is when that arrives.
 */
static __always_inline bool has_sent_data(struct bpf_sock_ops *ops)
{
	void *header = ops->skb_data, *end = ops->skb_data_end;

	if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		return ops->data_segs_out;
	return ops->skb_len != end - header;
}

static __always_inline void opened(struct bpf_sock_ops *ops)
{
	u64 netns = bpf_get_netns_cookie(ops);
	u32 *from = namespaces.lookup(&netns);
	struct flow_key key = {};
	struct flow flow = {
		.sender = bpf_get_socket_cookie(ops),
		.handshake = (u64)ops->snd_nxt << 32 | ops->rcv_nxt,
		.state = FLOW_OPENING,
	};
	struct progress none = {};
	long refused;

	if (!from)
		return;
	READ_FLOW_KEY(&key, ops);
	flow.from = *from;
	flow.to = owner_of(key.remote);
	if (owner_of(key.local) != flow.from || !flow.to || flow.to == flow.from)
		return;
	if (has_sent_data(ops))
		return;
	/* The flow comes last: whoever finds it finds the socket and its progress too. */
	if (progress.update(&flow.sender, &none))
		return;
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	refused = sockets.sock_hash_update(ops, &flow.sender, BPF_NOEXIST);
	if (!refused)
		flows.update(&key, &flow);
}

static __always_inline void closed(struct bpf_sock_ops *ops)
{
	u64 cookie = bpf_get_socket_cookie(ops);
	struct flow_key key = {};

	/* Another network's socket may have the same addresses and ports, but not the same cookie. */
	if (!progress.lookup(&cookie))
		return;
	progress.delete(&cookie);
	READ_FLOW_KEY(&key, ops);
	flows.delete(&key);
}

/* Returns 1 always: 0 would override what other programs at the cgroup reply. */
int socket_event(struct bpf_sock_ops *ops)
{
	if (ops->family != AF_INET && ops->family != AF_INET6)
		return 1;
	if (ops->op == BPF_SOCK_OPS_STATE_CB) {
		if (ops->args[1] == BPF_TCP_CLOSE)
			closed(ops);
	} else if (ops->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB ||
		   ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		opened(ops);
	}
	return 1;
}

/* Cookie of the socket at the other end, 0 where it is not there. The sequence numbers prove that
 * the two are ends of one connection; they are read last, since an entry may go while it is read.
 */
static __always_inline u64 receiver_of(const struct flow *flow, const struct flow_key *key)
{
	struct flow_key reverse_key = {};
	struct flow *reverse;
	u64 receiver;

	__builtin_memcpy(reverse_key.local, key->remote, IPV6_LENGTH);
	__builtin_memcpy(reverse_key.remote, key->local, IPV6_LENGTH);
	reverse_key.local_port = key->remote_port;
	reverse_key.remote_port = key->local_port;
	reverse = flows.lookup(&reverse_key);
	if (!reverse)
		return 0;
	receiver = reverse->sender;
	barrier();
	return reverse->handshake == (flow->handshake << 32 | flow->handshake >> 32) ? receiver : 0;
}

/* Runs under the sender's socket lock, before the data goes anywhere. */
int socket_message(struct sk_msg_md *msg)
{
	struct flow_key key = {};
	struct flow *flow;
	struct progress *near, *far;
	u64 sender, receiver, caller, unread;

	READ_FLOW_KEY(&key, msg);
	flow = flows.lookup(&key);
	if (!flow)
		return SK_PASS;
	if (flow->state == FLOW_OPENING) /* its first byte: now or never */
		flow->receiver = receiver_of(flow, &key);
	sender = flow->sender;
	receiver = flow->receiver;
	near = progress.lookup(&sender);
	far = progress.lookup(&receiver);
	if (!near || !far) { /* there is no receiver, or one of the two has been closed */
		flow->receiver = 0;
		flow->state = FLOW_PACKETS;
		return SK_PASS;
	}

	unread = near->sent - far->read;
	caller = bpf_get_current_pid_tgid();
	if (near->caller != caller) {
		near->caller = caller;
		near->pending = 0;
	}
	near->pending += msg->size;
	__sync_fetch_and_add(&near->sent, msg->size);

	if (!unread)
		flow->state = FLOW_JOINED;
	else if (unread > WINDOW)
		flow->state = FLOW_PACKETS;
	if (flow->state == FLOW_PACKETS) {
		/* Out by the sender's own socket. Plain SK_PASS would be in force for the next message
		 * too, which nobody would count, when TCP has no room for the whole of this one.
		 */
		sockets.msg_redirect_hash(msg, &sender, 0);
		return SK_PASS;
	}
	/* A receiver that is being closed is not found: by packets, which are answered with RST. */
	if (sockets.msg_redirect_hash(msg, &receiver, BPF_F_INGRESS) == SK_PASS)
		flow->redirected += msg->size;
	return SK_PASS;
}

static __always_inline struct progress *progress_of(u64 *args)
{
	u64 cookie = bpf_get_socket_cookie((void *)args[0]);

	return progress.lookup(&cookie);
}

/* args: struct sock *sk, int ret, int flags; both run when a call returns, of any socket.
 *
 * What TCP had no room for will be sent again. Where several threads send at once, what one of them
 * was refused may stay counted, and unread for ever.
 */
int socket_sent(u64 *args)
{
	struct progress *near = progress_of(args);
	int length = args[1];
	u64 taken = length > 0 ? length : 0;

	if (!near || near->caller != bpf_get_current_pid_tgid())
		return 0;
	if (near->pending > taken)
		__sync_fetch_and_add(&near->sent, taken - near->pending);
	near->pending = 0;
	return 0;
}

int socket_read(u64 *args)
{
	struct progress *far = progress_of(args);
	int length = args[1];

	if (far && length > 0 && !(args[2] & (MSG_PEEK | MSG_ERRQUEUE)))
		__sync_fetch_and_add(&far->read, length);
	return 0;
}
