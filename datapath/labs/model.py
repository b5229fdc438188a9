"""What a lab is: declared data, as read from its YAML and checked.

Names are as users write them; nothing here knows namespaces, files or netlink.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Final

from datapath.names import HOST as HOST
from datapath.records import Otherwise

Address = IPv4Address | IPv6Address
Interfaced = IPv4Interface | IPv6Interface  # an address with its prefix length
Option = str | int | bool

VETH: Final = "veth"


@dataclass(frozen=True, slots=True)
class End:
    """An interface of a node, written NODE:INTERFACE."""

    node: str
    ifname: str

    def __str__(self) -> str:
        return f"{self.node}:{self.ifname}"


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes a link slower or worse: bits per second, milliseconds, per cent; 0 = not."""

    rate: int = 0
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair: a cable between two nodes, shaped alike in both directions."""

    ends: tuple[End, End]
    mtu: int | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Vlan:
    """A VLAN of a bridge port; `pvid` takes untagged frames in, `untagged` sends them out so."""

    vid: int
    pvid: bool
    untagged: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a node; kind veth where a link makes it, else see kinds.py for `options`.

    `parent` is what macvlan, ipvlan and vlan stand on.
    """

    name: str
    kind: str = VETH
    addresses: tuple[Interfaced, ...] = ()
    mac: str = ""
    mtu: int | None = None
    up: bool = True
    master: str = ""
    promisc: bool = False
    vlans: tuple[Vlan, ...] = ()
    parent: End | None = None
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """A route as `ip route add` takes it; None and "" leave a word out."""

    to: IPv4Network | IPv6Network
    via: Address | None = None
    dev: str = ""
    src: Address | None = None
    onlink: bool = False
    metric: int | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry, or, without a MAC, an address to answer ARP for by proxy."""

    address: Address
    dev: str
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """A static forwarding entry: of a VXLAN device with `dst`, else of a bridge port."""

    mac: str
    dev: str
    dst: Address | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A network namespace, or the host; texts of nft, iptables and commands as people type them."""

    name: str
    interfaces: Mapping[str, Interface]
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    fdb: tuple[Forwarding, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    nft: str = ""
    iptables: tuple[tuple[str, ...], ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    processes: tuple[tuple[str, ...], ...] = ()
    nameservers: tuple[Address, ...] = ()

    def addresses(self) -> Iterator[Interfaced]:
        """Every address, in the order declared."""
        for interface in self.interfaces.values():
            yield from interface.addresses


@dataclass(frozen=True, slots=True)
class Target:
    """What one can try to reach: an address of a node by ping, or with a port by TCP."""

    address: Address
    port: int | None = None
    node: str = ""  # whose address it is, "" = nobody's in the lab

    def __str__(self) -> str:
        if self.port is None:
            return str(self.address)
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ebpf:
    """Nodes that are joined by eBPF once they are there, and how; see datapath.modes."""

    nodes: tuple[str, ...]
    mode: str
    otherwise: Otherwise


@dataclass(frozen=True, slots=True)
class Try:
    """Something to type, and what to see there."""

    run: str
    see: str


@dataclass(frozen=True, slots=True)
class Lab:
    """A declared topology. `reach`: who is to reach what, each source with all that it reaches;
    `targets`: what every source is asked to try.
    """

    name: str
    title: str
    teaches: str
    tries: tuple[Try, ...]
    nodes: Mapping[str, Node]
    links: tuple[Link, ...]
    ebpf: Ebpf | None
    targets: tuple[Target, ...]
    reach: Mapping[str, frozenset[Target]]
    text: str  # the YAML that it was read from

    def interfaces(self) -> Iterator[tuple[Node, Interface]]:
        """Every interface with its node, in the order declared."""
        for node in self.nodes.values():
            for interface in node.interfaces.values():
                yield node, interface

    def parent_of(self, end: End) -> End | None:
        """What an interface stands on, None for one that stands by itself."""
        parent = self.nodes[end.node].interfaces[end.ifname].parent
        return End(parent.node or end.node, parent.ifname) if parent else None

    def mtus_of(self, end: End) -> list[int]:
        """An interface's MTUs as declared, first its own, then that of its link."""
        linked = [link.mtu for link in self.links if end in link.ends]
        return [mtu for mtu in (self.nodes[end.node].interfaces[end.ifname].mtu, *linked) if mtu]
