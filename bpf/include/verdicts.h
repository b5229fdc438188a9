/* What becomes of a frame, and why.
 *
 * An action says what is done, a drop reason why a frame was not passed on. Numbers are explicit,
 * append-only and never used again: they are in pinned maps and in people's notes. Python's
 * datapath.records.DropReason holds the same numbers; a test compares them.
 */
#pragma once

enum drop_reason {
	DROP_NONE = 0,
	DROP_UNKNOWN_ENDPOINT = 1, /* the host end that it came in by has no entry */
	DROP_TRUNCATED = 2, /* too short for its headers */
	DROP_SPOOFED_MAC = 3, /* source MAC is not the endpoint's */
	DROP_SPOOFED_IPV4 = 4, /* source address is not the endpoint's */
	DROP_SPOOFED_IPV6 = 5,
	DROP_SPOOFED_ARP = 6, /* sender MAC or address in ARP is not the endpoint's */
	DROP_SPOOFED_ND = 7, /* source link-layer option is not the endpoint's */
	DROP_BROADCAST = 8, /* sent to ff:ff:ff:ff:ff:ff; nothing is flooded */
	DROP_MULTICAST = 9, /* sent to a group MAC; nothing is flooded */
	DROP_UNKNOWN_DESTINATION = 10, /* no endpoint has the address */
	DROP_UNSUPPORTED_PROTOCOL = 11, /* not IPv4, IPv6 or ARP */
	DROP_ARP_UNANSWERED = 12, /* a reply, an announcement, or not Ethernet/IPv4 */
	DROP_ND_UNANSWERED = 13, /* neighbour discovery other than a solicitation */
	DROP_IPV6_EXTENSIONS = 14, /* more extension headers than are followed */
	DROP_VLAN_DEPTH = 15, /* more VLAN tags than are followed */
	DROP_HELPER_FAILED = 16, /* the kernel refused to change the frame */
	DROP_REASON_COUNT = 17
};

/* What says no more than that no endpoint is meant. A network may leave such frames to the kernel
 * (config.otherwise); what is forged or broken is dropped all the same.
 */
#define NOBODYS_REASONS                                                                          \
	(1u << DROP_BROADCAST | 1u << DROP_MULTICAST | 1u << DROP_UNKNOWN_DESTINATION |          \
	 1u << DROP_UNSUPPORTED_PROTOCOL | 1u << DROP_ARP_UNANSWERED | 1u << DROP_ND_UNANSWERED | \
	 1u << DROP_IPV6_EXTENSIONS | 1u << DROP_VLAN_DEPTH)

enum otherwise {
	OTHERWISE_DROP = 0,
	OTHERWISE_KERNEL = 1, /* its bridges and routes: as if there were no program */
};

enum action {
	ACTION_DROP = 0,
	ACTION_FORWARD = 1,
	ACTION_ANSWER_ARP = 2,
	ACTION_ANSWER_ND = 3,
};
