/* Counting. Per-CPU maps, and programs at these hooks are not interrupted by one another on a CPU:
 * plain additions.
 */
#pragma once

static __always_inline void count_drop(enum drop_reason reason, u32 id, u32 bytes)
{
	u32 slot = reason;
	struct drop_count *total = drops.lookup(&slot);
	struct endpoint_stats *sender = endpoint_stats.lookup(&id);

	if (total) {
		total->packets++;
		total->bytes += bytes;
	}
	if (sender && id) /* 0: of no endpoint */
		sender->drops++;
}

/* Whether a frame that is for no endpoint is left to the kernel; it is counted then. */
static __always_inline bool left_to_kernel(enum drop_reason reason, u32 id)
{
	u32 only = 0;
	struct config *network = config.lookup(&only);
	struct endpoint_stats *sender = endpoint_stats.lookup(&id);

	if (!network || network->otherwise != OTHERWISE_KERNEL || !(NOBODYS_REASONS >> reason & 1))
		return false;
	if (sender)
		sender->left++;
	return true;
}

static __always_inline void count_answer(u32 id)
{
	struct endpoint_stats *sender = endpoint_stats.lookup(&id);

	if (sender)
		sender->answers++;
}

static __always_inline void count_forward(u32 from, u32 to, u32 bytes)
{
	struct endpoint_stats *sender = endpoint_stats.lookup(&from);
	struct endpoint_stats *receiver = endpoint_stats.lookup(&to);

	if (sender) {
		sender->tx_packets++;
		sender->tx_bytes += bytes;
	}
	if (receiver) {
		receiver->rx_packets++;
		receiver->rx_bytes += bytes;
	}
}
