"""The kinds of interface that a lab can declare, and the options of each.

An option is a function that reads its Item, so that one place says what a `vxlan` may have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Final

from datapath.labs.document import Item
from datapath.labs.model import Option

Reader = Callable[[Item], Option]


def _number(low: int, high: int) -> Reader:
    return lambda item: item.integer(low, high)


def _one_of(*words: str) -> Reader:
    return lambda item: item.choice(words)


def _ipv4(item: Item) -> Option:
    return str(item.parsed(IPv4Address, "an IPv4 address", "192.168.0.1"))


def _machine(item: Item) -> Option:
    address = item.parsed(ip_address, "an address", "192.168.0.1")
    if address.is_multicast:
        item.refuse(
            f"{address} is a group's address, for which a tunnel would need an interface",
            remedy="write one machine's, and those of more below fdb:",
        )
    return str(address)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of interface takes beside addresses, MTU and the like."""

    options: Mapping[str, Reader] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    has_parent: bool = False
    has_mac: bool = True


KINDS: Final = {
    "bridge": Kind(
        {"vlan_filtering": Item.boolean, "ageing_time": _number(0, 1_000_000)}  # 0.01 s
    ),
    "vxlan": Kind(
        {
            "id": _number(0, (1 << 24) - 1),
            "local": _machine,
            "remote": _machine,
            "port": _number(1, 65535),
            "learning": Item.boolean,
        },
        required=("id",),
    ),
    "macvlan": Kind({"mode": _one_of("bridge", "private", "vepa", "passthru")}, has_parent=True),
    # An ipvlan has its parent's MAC.
    "ipvlan": Kind({"mode": _one_of("l2", "l3", "l3s")}, has_parent=True, has_mac=False),
    "vlan": Kind({"id": _number(1, 4094)}, required=("id",), has_parent=True),
    "ipip": Kind(
        {"local": _ipv4, "remote": _ipv4, "ttl": _number(1, 255)},
        required=("local", "remote"),
        has_mac=False,
    ),
    "tap": Kind(),
    "tun": Kind(has_mac=False),
}
