/* Who sends: the endpoint behind the host end that a frame came in by.
 *
 * endpoints says so, but a search in a hash costs some 25 ns, a third of all that a program does; a
 * look into an array costs next to none. Each CPU therefore keeps what it found. When Python changes
 * or deletes an entry of endpoints it raises config.generation afterwards, and what was found before
 * counts no longer. The generation is read before the search: an entry read too early is never kept
 * under the new one.
 */
#pragma once

static __always_inline struct endpoint *find_sender(u32 ifindex)
{
	u32 slot = ifindex % SENDER_SLOTS, only = 0, generation;
	struct sender *sender = senders.lookup(&slot);
	struct config *network = config.lookup(&only);
	struct endpoint *found;

	if (!sender || !network)
		return 0;
	generation = network->generation;
	if (sender->ifindex == ifindex && sender->generation == generation)
		return &sender->endpoint;
	found = endpoints.lookup(&ifindex);
	if (!found)
		return 0;
	sender->ifindex = ifindex;
	sender->generation = generation;
	__builtin_memcpy(&sender->endpoint, found, offsetof(struct endpoint, netns_inode));
	return &sender->endpoint;
}
