"""The values of maps: each record repeats its C structure, field by field."""

from __future__ import annotations

import ctypes as ct
from typing import Any

from datapath.records.constants import IFNAME_LENGTH, NETNS_LENGTH
from datapath.records.fields import (
    Cookie,
    FlowStateField,
    HookField,
    Ipv4,
    Ipv6,
    Mac,
    ModeField,
    OtherwiseField,
    readable,
)


class Record(ct.Structure):
    """A structure that people can read; fields called pad* are left out."""

    def people(self) -> dict[str, Any]:
        """Field names with values as people write them."""
        return {
            name: readable(getattr(self, name))
            for name, *_ in self._fields_
            if not name.startswith("pad")
        }


class EndpointRecord(Record):
    """struct endpoint."""

    _fields_ = (
        ("id", ct.c_uint32),
        ("ipv4", Ipv4),
        ("mac", Mac),
        ("pad", ct.c_uint8 * 2),
        ("ipv6", Ipv6),
        ("ipv6_link_local", Ipv6),
        ("netns_inode", ct.c_uint64),
        ("netns", ct.c_char * NETNS_LENGTH),
        ("ifname", ct.c_char * IFNAME_LENGTH),
        ("host_ifname", ct.c_char * IFNAME_LENGTH),
    )


class DestinationRecord(Record):
    """struct destination."""

    _fields_ = (
        ("id", ct.c_uint32),
        ("ifindex", ct.c_uint32),
        ("mac", Mac),
        ("pad", ct.c_uint8 * 2),
    )


class StatsRecord(Record):
    """struct endpoint_stats."""

    _fields_ = tuple(
        (name, ct.c_uint64)
        for name in (
            *("rx_packets", "rx_bytes", "tx_packets", "tx_bytes"),
            *("drops", "answers", "left"),
        )
    )


class DropRecord(Record):
    """struct drop_count."""

    _fields_ = (("packets", ct.c_uint64), ("bytes", ct.c_uint64))


class ConfigRecord(Record):
    """struct config."""

    _fields_ = (
        ("layout_version", ct.c_uint32),
        ("mode", ModeField),
        ("hook", HookField),
        ("max_endpoints", ct.c_uint32),
        ("subnet", Ipv4),
        ("prefix_length", ct.c_uint32),
        ("kit_version", ct.c_char * 16),
        ("generation", ct.c_uint32),
        ("otherwise", OtherwiseField),
    )


class DeviceRecord(Record):
    """An entry of a devmap: a plain u32."""

    _fields_ = (("ifindex", ct.c_uint32),)


class NamespaceRecord(Record):
    """An entry of map namespaces: a plain u32."""

    _fields_ = (("id", ct.c_uint32),)


class SocketRecord(Record):
    """An entry of map sockets, as user space reads it: a plain u64."""

    _fields_ = (("cookie", Cookie),)


class FlowRecord(Record):
    """struct flow."""

    _fields_ = (
        ("from", ct.c_uint32),
        ("to", ct.c_uint32),
        ("sender", Cookie),
        ("receiver", Cookie),
        ("handshake", Cookie),
        ("redirected", ct.c_uint64),
        ("state", FlowStateField),
        ("pad", ct.c_uint32),
    )


class ProgressRecord(Record):
    """struct progress."""

    _fields_ = tuple((name, ct.c_uint64) for name in ("sent", "read", "pending", "caller"))
