"""The machine as a diagnosis sees it: each namespace's state, read once, and its neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import Self, TypeVar

from datapath.endpoint import Endpoint
from datapath.errors import EbpfnetError
from datapath.journal import home
from datapath.kernel.net import links, netns, state, sysctl
from datapath.kernel.net.netns import Netns
from datapath.kernel.net.state import LinkRow, NeighbourRow, RouteRow
from datapath.network import Network
from datapath.network import names as networks
from datapath.views.peers import everywhere

Interface = IPv4Interface | IPv6Interface
T = TypeVar("T")


@dataclass(frozen=True)
class Node:
    """A namespace, and what is in it; every table is read when it is first asked for."""

    netns: Netns
    handle: Path  # opens it for as long as the world is open, though its process may have ended

    def run(self, work: Callable[[], T]) -> T:
        """Do something in there; see netns.run_inside."""
        return netns.run_inside(self.handle, work)

    @property
    def name(self) -> str:
        """As people call it."""
        return self.netns.name

    @cached_property
    def links(self) -> dict[str, LinkRow]:
        """By name."""
        return {row.ifname: row for row in self.run(state.links)}

    @cached_property
    def by_index(self) -> dict[int, LinkRow]:
        """The same by ifindex."""
        return {row.ifindex: row for row in self.links.values()}

    @cached_property
    def addresses(self) -> list[tuple[str, Interface, str]]:
        """(ifname, address, state) of all but lo, link-local ones last."""
        rows = [
            (row.ifname, ip_interface(row.address), row.state)
            for row in self.run(state.addresses)
            if row.ifname != "lo"
        ]
        return sorted(rows, key=lambda row: row[1].is_link_local)

    @cached_property
    def neighbours(self) -> list[NeighbourRow]:
        """Of both families."""
        return self.run(state.neighbours)

    @cached_property
    def routes(self) -> list[RouteRow]:
        """Of all tables."""
        return self.run(state.routes)

    def setting(self, name: str) -> str:
        """A sysctl of the namespace, "" where it has none such: "net/ipv4/ip_forward"."""
        return self.run(lambda: sysctl.read(name)) or ""

    def lookup(self, destination: str) -> state.Lookup:
        """The kernel's own route lookup; see state.lookup."""
        return self.run(lambda: state.lookup(destination))


@dataclass(frozen=True, slots=True)
class Port:
    """An interface of a node."""

    node: Node
    ifname: str

    @property
    def link(self) -> LinkRow:
        """Its row."""
        return self.node.links[self.ifname]

    @property
    def where(self) -> str:
        """As a person says it."""
        return f"{self.ifname} in {self.node.name}"

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from every other."""
        return (self.node.netns.inode, self.ifname)


@dataclass(frozen=True)
class World:
    """All namespaces and the kit's networks. Use as a context manager: networks hold open maps."""

    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _nsids: dict[int, dict[int, Node]] = field(default_factory=dict, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def nodes(self) -> dict[int, Node]:
        """By inode."""
        found = {}
        for namespace in everywhere():
            with suppress(OSError):  # it has gone since
                fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
                self._stack.callback(os.close, fd)
                found[namespace.inode] = Node(namespace, Path(f"/proc/self/fd/{fd}"))
        return found

    @property
    def host(self) -> Node:
        """The namespace that the kit itself is in."""
        return self.nodes[netns.host_inode()]

    @cached_property
    def networks(self) -> list[Network]:
        """Those of the kit that can be read."""
        found = []
        for name in networks():
            try:
                found.append(self._stack.enter_context(Network(name)))
            except EbpfnetError:
                continue  # of another version, or on its way out
        return found

    @cached_property
    def endpoints(self) -> dict[tuple[int, str], tuple[Network, Endpoint]]:
        """Endpoints of the kit's networks, by the keys of the ports that are their host ends."""
        return {
            (home(network.name), endpoint.host_ifname): (network, endpoint)
            for network in self.networks
            for endpoint in network.endpoints()
        }

    @cached_property
    def macvlans(self) -> list[Port]:
        """All there are, in every namespace."""
        return [
            Port(node, row.ifname)
            for node in self.nodes.values()
            for row in node.links.values()
            if row.kind == "macvlan"
        ]

    def peer(self, port: Port) -> Port | None:
        """The other end of a veth; None for what has none, or none that can be reached."""
        return self._linked(port) if port.link.kind == "veth" else None

    def parent(self, port: Port) -> Port | None:
        """What a macvlan stands on, in whichever namespace; None for other kinds."""
        return self._linked(port) if port.link.kind == "macvlan" else None

    def _linked(self, port: Port) -> Port | None:
        link = port.link
        if link.peer_nsid is None:
            there: Node | None = port.node
        else:
            there = self._by_nsid(port.node).get(link.peer_nsid)
        row = there.by_index.get(link.peer_ifindex) if there else None
        return Port(there, row.ifname) if there and row else None

    def _by_nsid(self, node: Node) -> dict[int, Node]:
        if node.netns.inode not in self._nsids:
            self._nsids[node.netns.inode] = node.run(lambda: dict(self._numbered()))
        return self._nsids[node.netns.inode]

    def _numbered(self) -> Iterator[tuple[int, Node]]:
        for other in self.nodes.values():
            if (nsid := links.nsid(other.handle)) is not None:
                yield nsid, other
