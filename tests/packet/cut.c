/* Shortens a frame and hands it to the program under test by a tail call. The bytes that are cut off
 * stay where they are in memory, right behind the end that the program sees.
 */
#include <uapi/linux/bpf.h>

BPF_ARRAY(cut_off, u32, 1); /* bytes */
BPF_PROG_ARRAY(tested, 1);

int cut_skb(struct __sk_buff *skb)
{
	u32 slot = 0;
	u32 *bytes = cut_off.lookup(&slot);

	if (bytes && !bpf_skb_change_tail(skb, skb->len - *bytes, 0))
		tested.call(skb, 0);
	return -1;
}

int cut_xdp(struct xdp_md *xdp)
{
	u32 slot = 0;
	u32 *bytes = cut_off.lookup(&slot);

	if (bytes && !bpf_xdp_adjust_tail(xdp, -(int)*bytes))
		tested.call(xdp, 0);
	return -1;
}
