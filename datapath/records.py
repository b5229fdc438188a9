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
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar, Final, Self

from datapath.errors import InvalidInput

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
    if isinstance(value, Mac | Ipv4 | Ipv6 | Cookie | FlowKey | Record | EnumField):
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


class OtherwiseField(EnumField):
    """config.otherwise."""

    names = Otherwise


class FlowStateField(EnumField):
    """flow.state."""

    names = FlowState


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


class Cookie(ct.c_uint64):
    """Identity of a socket or a network namespace, in hex, as `ss -e` prints it; 0 = none."""

    def people(self) -> str:
        return f"{self.value:x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            number = int(text, 16)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 64:
            raise InvalidInput(
                f"{text!r} is not a cookie", remedy="write it in hex, as `ss -e` does"
            )
        return cls(number)


class FlowKey(ct.Structure):
    """struct flow_key, written LOCAL:PORT>REMOTE:PORT as `ss` writes addresses and ports."""

    _fields_ = (
        ("local", Ipv6),
        ("remote", Ipv6),
        ("local_port", ct.c_uint32),
        ("remote_port", ct.c_uint32),
    )

    def people(self) -> str:
        ends = ((self.local, self.local_port), (self.remote, self.remote_port))
        return ">".join(f"{self._address(raw)}:{port}" for raw, port in ends)

    @staticmethod
    def _address(raw: Ipv6) -> str:
        address = IPv6Address(bytes(raw))
        return str(address.ipv4_mapped or f"[{address}]")

    @classmethod
    def parse(cls, text: str) -> Self:
        local, _, remote = text.partition(">")
        (one, one_port), (other, other_port) = cls._end(local), cls._end(remote)
        return cls(one, other, one_port, other_port)

    @staticmethod
    def _end(text: str) -> tuple[Ipv6, int]:
        address, _, port = text.rpartition(":")
        try:
            ip = ip_address(address.removeprefix("[").removesuffix("]"))
            number = int(port)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 16:
            raise InvalidInput(
                f"{text!r} is not an address with a port",
                remedy="write 10.1.1.2:5201>10.1.1.3:80, or [fd00::2]:5201>[fd00::3]:80",
            )
        mapped = ip if ip.version == 6 else IPv6Address(f"::ffff:{ip}")
        return Ipv6(*mapped.packed), number


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
