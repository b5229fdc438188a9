"""The numbers that C and Python share: enums, lengths, the version of the layouts."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

LAYOUT_VERSION: Final = 3
NETNS_LENGTH: Final = 64
IFNAME_LENGTH: Final = 16


class DropReason(IntEnum):
    """enum drop_reason."""

    NONE = 0
    UNKNOWN_ENDPOINT = 1
    TRUNCATED = 2
    SPOOFED_MAC = 3
    SPOOFED_IPV4 = 4
    SPOOFED_IPV6 = 5
    SPOOFED_ARP = 6
    SPOOFED_ND = 7
    BROADCAST = 8
    MULTICAST = 9
    UNKNOWN_DESTINATION = 10
    UNSUPPORTED_PROTOCOL = 11
    ARP_UNANSWERED = 12
    ND_UNANSWERED = 13
    IPV6_EXTENSIONS = 14
    VLAN_DEPTH = 15
    HELPER_FAILED = 16


# What says no more than that no endpoint is meant: NOBODYS_REASONS.
NOBODYS_REASONS: Final = frozenset(
    {
        DropReason.BROADCAST,
        DropReason.MULTICAST,
        DropReason.UNKNOWN_DESTINATION,
        DropReason.UNSUPPORTED_PROTOCOL,
        DropReason.ARP_UNANSWERED,
        DropReason.ND_UNANSWERED,
        DropReason.IPV6_EXTENSIONS,
        DropReason.VLAN_DEPTH,
    }
)


class Otherwise(IntEnum):
    """enum otherwise: what becomes of frames that no endpoint is meant by."""

    DROP = 0
    KERNEL = 1


class ModeId(IntEnum):
    """config.mode: numbers of forwarding modes, append-only."""

    TC = 1
    TC_PEER = 2
    XDP = 3
    SOCKMAP = 4
    NETKIT = 5
    USER = 6  # a program of the user's own, in `compare`


class HookId(IntEnum):
    """config.hook: numbers of hooks, append-only."""

    TCX = 1
    CLSACT = 2
    XDP = 3
    XDP_GENERIC = 4
    NETKIT = 5


class FlowState(IntEnum):
    """enum flow_state."""

    OPENING = 0
    JOINED = 1
    PACKETS = 2
