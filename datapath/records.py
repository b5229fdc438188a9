"""The records of every map, as Python sees them: bpf/include/maps.h and verdicts.h in one file.

Each record repeats its C structure, field by field; each map stands beside its key and value. A
test compares sizes, offsets and enums with the C sources and with the BTF of loaded maps. Addresses
are in network byte order (kept as bytes), everything else in the machine's.

Field types know how people write them: `people()` gives text or a number, `parse()` reads it back.
"""

from __future__ import annotations

import ctypes as ct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar, Final, Self

from datapath.errors import InvalidInput

LAYOUT_VERSION: Final = 1
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


class ModeId(IntEnum):
    """config.mode: numbers of forwarding modes, append-only."""

    TC = 1
    TC_PEER = 2
    XDP = 3


class HookId(IntEnum):
    """config.hook: numbers of hooks, append-only."""

    TCX = 1
    CLSACT = 2
    XDP = 3


class Mac(ct.Array[ct.c_uint8]):
    """Six bytes, written aa:bb:cc:dd:ee:ff."""

    _type_ = ct.c_uint8
    _length_ = 6

    def people(self) -> str:
        return bytes(self).hex(":")

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            raw = bytes(int(part, 16) for part in text.split(":"))
        except ValueError:
            raw = b""
        if len(raw) != cls._length_ or text.count(":") != cls._length_ - 1:
            raise InvalidInput(f"{text!r} is not a MAC address", remedy="write aa:bb:cc:dd:ee:ff")
        return cls(*raw)


class Ipv4(ct.Array[ct.c_uint8]):
    """Four bytes in network order (__be32), written dotted; 0.0.0.0 = none."""

    _type_ = ct.c_uint8
    _length_ = 4

    def people(self) -> str:
        return str(IPv4Address(bytes(self)))

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(*IPv4Address(text).packed)
        except ValueError as error:
            raise InvalidInput(f"{text!r} is not an IPv4 address") from error


class Ipv6(ct.Array[ct.c_uint8]):
    """Sixteen bytes in network order; :: = none."""

    _type_ = ct.c_uint8
    _length_ = 16

    def people(self) -> str:
        return str(IPv6Address(bytes(self)))

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(*IPv6Address(text).packed)
        except ValueError as error:
            raise InvalidInput(f"{text!r} is not an IPv6 address") from error


class Record(ct.Structure):
    """A structure that people can read; fields called pad* are left out."""

    def people(self) -> dict[str, Any]:
        """Field names with values as people write them."""
        return {
            name: readable(getattr(self, name))
            for name, *_ in self._fields_
            if not name.startswith("pad")
        }


def readable(value: Any) -> Any:
    """A field's or a whole record's value as people write it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Mac | Ipv4 | Ipv6 | Record | EnumField):
        return value.people()
    return value.value if isinstance(value, ct._SimpleCData) else value


class EnumField(ct.Structure):
    """A u32 that stands for a named number; written by its name in lower case."""

    _fields_ = (("number", ct.c_uint32),)
    names: ClassVar[type[IntEnum]]

    def people(self) -> str:
        try:
            return self.names(self.number).name.lower().replace("_", "-")
        except ValueError:
            return f"unknown ({self.number})"

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            return cls(cls.names[text.upper().replace("-", "_")])
        except KeyError:
            names = ", ".join(name.name.lower().replace("_", "-") for name in cls.names)
            raise InvalidInput(f"{text!r} is none of {names}") from None


class Reason(EnumField):
    """enum drop_reason."""

    names = DropReason


class ModeField(EnumField):
    """config.mode."""

    names = ModeId


class HookField(EnumField):
    """config.hook."""

    names = HookId


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
        for name in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "drops", "answers")
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
    )


class DeviceRecord(Record):
    """An entry of a devmap: a plain u32."""

    _fields_ = (("ifindex", ct.c_uint32),)


class Number(ct.c_uint32):
    """A plain u32 key: an ifindex, an endpoint id, a slot."""

    def people(self) -> int:
        return int(self.value)

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            number = int(text, 0)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 32:
            raise InvalidInput(f"{text!r} is not a number from 0 to 4294967295")
        return cls(number)


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
    )
)
