"""The records of every map, as Python sees them: bpf/include/maps.h and verdicts.h.

A test compares sizes, offsets and enums with the C sources and with the BTF of loaded maps.
Addresses are in network byte order (kept as bytes), everything else in the machine's. All that
others need is imported from here.
"""

from datapath.records.constants import (
    IFNAME_LENGTH,
    LAYOUT_VERSION,
    NETNS_LENGTH,
    NOBODYS_REASONS,
    DropReason,
    FlowState,
    HookId,
    ModeId,
    Otherwise,
)
from datapath.records.fields import (
    Cookie,
    FlowKey,
    HookField,
    Ipv4,
    Ipv6,
    Mac,
    ModeField,
    Number,
    OtherwiseField,
    Reason,
    readable,
)
from datapath.records.maps import MAPS, MapSpec
from datapath.records.structures import (
    ConfigRecord,
    DestinationRecord,
    DeviceRecord,
    EndpointRecord,
    FlowRecord,
    NamespaceRecord,
    StatsRecord,
)

__all__ = [
    "IFNAME_LENGTH",
    "LAYOUT_VERSION",
    "MAPS",
    "NETNS_LENGTH",
    "NOBODYS_REASONS",
    "ConfigRecord",
    "Cookie",
    "DestinationRecord",
    "DeviceRecord",
    "DropReason",
    "EndpointRecord",
    "FlowKey",
    "FlowRecord",
    "FlowState",
    "HookField",
    "HookId",
    "Ipv4",
    "Ipv6",
    "Mac",
    "MapSpec",
    "ModeField",
    "ModeId",
    "NamespaceRecord",
    "Number",
    "Otherwise",
    "OtherwiseField",
    "Reason",
    "StatsRecord",
    "readable",
]
