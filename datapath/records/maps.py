"""Every map of the kit beside its key and value."""

from __future__ import annotations

import ctypes as ct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from datapath.records.fields import Cookie, FlowKey, Ipv4, Ipv6, Number, Reason
from datapath.records.structures import (
    ConfigRecord,
    DestinationRecord,
    DeviceRecord,
    DropRecord,
    EndpointRecord,
    FlowRecord,
    NamespaceRecord,
    ProgressRecord,
    SocketRecord,
    StatsRecord,
)


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A map of the kit: its name in C and as a pin, and the records of its key and value.

    `structure` is the C name of the value's structure ("" for plain numbers); `per_cpu` maps hold a
    value for each CPU, which readers add up.
    """

    name: str
    summary: str
    key_name: str
    key: type[Any]
    value: type[Any]
    structure: str = ""
    per_cpu: bool = False

    @property
    def key_size(self) -> int:
        """Bytes of a key."""
        return ct.sizeof(self.key)

    @property
    def value_size(self) -> int:
        """Bytes of a value (one CPU's)."""
        return ct.sizeof(self.value)

    def decode(self, raw: bytes) -> Any:
        """A value as its record; the values of all CPUs are added up."""
        if not self.per_cpu:
            return self.value.from_buffer_copy(raw)
        total = self.value()
        for one in self.decode_each(raw):
            for name, *_ in self.value._fields_:
                setattr(total, name, getattr(total, name) + getattr(one, name))
        return total

    def decode_each(self, raw: bytes) -> list[Any]:
        """The value of each CPU in turn."""
        size = (self.value_size + 7) // 8 * 8
        return [self.value.from_buffer_copy(raw, at) for at in range(0, len(raw), size)]


def _by_name(specs: Iterable[MapSpec]) -> dict[str, MapSpec]:
    return {spec.name: spec for spec in specs}


MAPS: Final = _by_name(
    (
        MapSpec(
            "endpoints",
            "who sends, by host ifindex",
            "ifindex",
            Number,
            EndpointRecord,
            "endpoint",
        ),
        MapSpec(
            "endpoints_v4",
            "where an IPv4 address lives",
            "address",
            Ipv4,
            DestinationRecord,
            "destination",
        ),
        MapSpec(
            "endpoints_v6",
            "where an IPv6 address lives",
            "address",
            Ipv6,
            DestinationRecord,
            "destination",
        ),
        MapSpec(
            "endpoint_stats",
            "packets and bytes by endpoint id",
            "id",
            Number,
            StatsRecord,
            "endpoint_stats",
            per_cpu=True,
        ),
        MapSpec(
            "drops",
            "dropped frames by reason",
            "reason",
            Reason,
            DropRecord,
            "drop_count",
            per_cpu=True,
        ),
        MapSpec("config", "what the network is", "slot", Number, ConfigRecord, "config"),
        MapSpec("devices", "host ifindex by endpoint id (xdp)", "id", Number, DeviceRecord),
        MapSpec(
            "namespaces", "whose sockets are joined (sockmap)", "cookie", Cookie, NamespaceRecord
        ),
        MapSpec("sockets", "endpoints' TCP sockets (sockmap)", "cookie", Cookie, SocketRecord),
        MapSpec(
            "flows",
            "what TCP sockets send one another (sockmap)",
            "connection",
            FlowKey,
            FlowRecord,
            "flow",
        ),
        MapSpec(
            "progress",
            "bytes sent and read by socket (sockmap)",
            "cookie",
            Cookie,
            ProgressRecord,
            "progress",
        ),
    )
)
