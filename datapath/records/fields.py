"""Types of keys and of records' fields that know how people write them.

`people()` gives text or a number, `parse()` reads it back.
"""

from __future__ import annotations

import ctypes as ct
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar, Self

from datapath.errors import InvalidInput
from datapath.records.constants import DropReason, FlowState, HookId, ModeId, Otherwise


def readable(value: Any) -> Any:
    """A field's or a whole record's value as people write it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(value, "people"):
        return value.people()
    return value.value if isinstance(value, ct._SimpleCData) else value


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
