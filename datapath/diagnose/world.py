"""The machine as a diagnosis sees it: each namespace's state, read once, and its neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from itertools import chain
from pathlib import Path
from typing import Final, Self, TypeVar

from datapath.check import Finding, check
from datapath.diagnose import firewall
from datapath.diagnose.firewall import Ruleset
from datapath.diagnose.readers import Reader, readers
from datapath.endpoint import Endpoint
from datapath.errors import Conflict, EbpfnetError, NotFound
from datapath.journal import home
from datapath.kernel.net import links, netns, state, sysctl
from datapath.kernel.net.netns import Netns
from datapath.kernel.net.state import AddressRow, FdbRow, LinkRow, NeighbourRow, RouteRow
from datapath.network import Network
from datapath.network import names as networks
from datapath.views.peers import everywhere

Interface = IPv4Interface | IPv6Interface
T = TypeVar("T")

# Kinds of interfaces that come in pairs, and those that stand on another one.
PAIRS: Final = {"veth", "netkit"}
STACKED: Final = {"macvlan", "ipvlan", "vlan"}


@dataclass(frozen=True, eq=False)
class Node:
    """A namespace, and what is in it; every table is read when it is first asked for.

    There is one for each namespace, equal to nothing but itself.
    """

    netns: Netns
    handle: Path  # opens it for as long as the world is open, though its process may have ended
    _assumed: dict[str, Interface] = field(default_factory=dict, init=False)

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
        return {row.ifname: row for row in self._rows[0]}

    @cached_property
    def by_index(self) -> dict[int, LinkRow]:
        """The same by ifindex."""
        return {row.ifindex: row for row in self.links.values()}

    @cached_property
    def _rows(self) -> tuple[list[LinkRow], list[AddressRow]]:
        """Read at once: entering a namespace costs more than either."""
        return self.run(lambda: (state.links(), state.addresses()))

    @cached_property
    def is_changing(self) -> bool:
        """Whether an interface got another name between two looks."""
        return any(row.ifname not in self.links for row in self._rows[1])

    @cached_property
    def addresses(self) -> list[tuple[str, Interface, str]]:
        """(ifname, address, state) of all that others may speak to, link-local ones last."""
        rows = [
            (row.ifname, ip_interface(row.address), row.state)
            for row in self._rows[1]
            if row.ifname in self.links  # it may have another name by now
        ]
        rows.sort(key=lambda row: row[1].is_link_local)
        return [row for row in rows if not row[1].is_loopback]

    @cached_property
    def neighbours(self) -> list[NeighbourRow]:
        """Of both families."""
        return self.run(state.neighbours)

    @cached_property
    def fdb(self) -> list[FdbRow]:
        """Forwarding entries of bridges and VXLAN devices."""
        return self.run(state.fdb)

    @cached_property
    def routes(self) -> list[RouteRow]:
        """Of all tables."""
        return self.run(state.routes)

    @cached_property
    def rulesets(self) -> list[Ruleset]:
        """Every firewall."""
        return firewall.rulesets(self.handle)

    def setting(self, name: str) -> str:
        """A sysctl of the namespace, "" where it has none such: "net/ipv4/ip_forward"."""
        return self.run(lambda: sysctl.read(name)) or ""

    def has_set(self, name: str, ifname: str) -> bool:
        """Whether one of IPv4's switches is on for an interface, by itself or for all of them."""
        return any(self.setting(f"net/ipv4/conf/{each}/{name}") == "1" for each in ("all", ifname))

    def assume(self, ifname: str, address: Interface, instead_of: Interface | None = None) -> None:
        """Look at it from now on as if an interface had an address, in place of another."""
        self.addresses[:] = [row for row in self.addresses if row[:2] != (ifname, instead_of)]
        self.addresses.append((ifname, address, ""))
        self._assumed[ifname] = address

    def lookup(self, destination: str, source: str = "", arrival: str = "") -> state.Lookup:
        """The kernel's own route lookup (see state.lookup), with what is assumed.

        What comes in by an interface the kernel may refuse for reasons that have nothing to do with
        routes: it is asked again then as if the node itself had sent it. Raises Conflict where the
        way is by an interface that was not there before.
        """
        found = self.run(lambda: state.lookup(destination, source, arrival))
        if arrival and found.refused and not self._refuses(found.refused, destination):
            found = self.run(lambda: state.lookup(destination))
        target = ip_address(destination)
        if found.refused == "no route" or (
            found.local and target not in [address.ip for _, address, _ in self.addresses]
        ):
            for ifname, address in self._assumed.items():
                if target in address.network:
                    return state.Lookup("", ifname, "", str(address.ip), False)
        if found.ifname and found.ifname not in self.links:
            raise self.changing()
        return found

    def changing(self) -> Conflict:
        """The error where what has been read does not fit together."""
        return Conflict(
            f"the interfaces of {self.name} change while they are looked at", remedy="ask again"
        )

    def _refuses(self, refusal: str, destination: str) -> bool:
        """Whether it is a route or rule that does. (What blackholes say the kernel says often.)"""
        return refusal == "prohibit" or any(
            row.type == refusal == "blackhole"
            and ip_address(destination) in ip_network(row.destination)
            for row in self.routes
        )


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
    def is_loose(self) -> bool:
        """Whether it seems to lack a bridge to be a port of: it has no address of its own."""
        own = (a for i, a, _ in self.node.addresses if i == self.ifname and not a.is_link_local)
        return self.link.kind in PAIRS and not self.link.master and not any(own)

    @property
    def key(self) -> tuple[int, str]:
        """What tells it from every other."""
        return (self.node.netns.inode, self.ifname)


@dataclass(frozen=True)
class World:
    """All namespaces and the kit's networks. Use as a context manager: networks hold open maps."""

    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _nsids: dict[tuple[int, int], Node | None] = field(default_factory=dict, init=False)
    _peers: dict[tuple[int, str], Port | None] = field(default_factory=dict, init=False)
    _findings: dict[str, list[Finding]] = field(default_factory=dict, init=False)
    _readers: dict[tuple[int, str], list[Reader]] = field(default_factory=dict, init=False)

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

    def node(self, namespace: Netns) -> Node:
        """That of a namespace, as one is to be diagnosed.

        Raises NotFound where it has gone since it was found, Conflict as `Node.lookup`.
        """
        if namespace.inode not in self.nodes:
            raise NotFound(f"the namespace {namespace.name} has gone", remedy="see `ip netns`")
        node = self.nodes[namespace.inode]
        if node.is_changing:
            raise node.changing()
        return node

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

    def findings(self, network: Network) -> list[Finding]:
        """What is wrong with the maps of one of the kit's networks; see check."""
        if network.name not in self._findings:
            self._findings[network.name] = check(network)
        return self._findings[network.name]

    @cached_property
    def ports(self) -> list[Port]:
        """Every interface there is, in every namespace."""
        return [Port(node, name) for node in self.nodes.values() for name in node.links]

    @cached_property
    def _stacked(self) -> dict[tuple[int, str], list[Port]]:
        found: dict[tuple[int, str], list[Port]] = {}
        for port in self.ports:
            if parent := self.parent(port):
                found.setdefault(parent.key, []).append(port)
        return found

    def stacked(self, parent: Port) -> list[Port]:
        """What stands on an interface, in whichever namespace: macvlans, ipvlans and VLANs."""
        return self._stacked.get(parent.key, [])

    def readers(self, port: Port) -> list[Reader]:
        """Processes that are the other end of a tun or tap interface."""
        if port.key not in self._readers:
            self._readers[port.key] = list(readers(port.ifname, port.node.netns.inode))
        return self._readers[port.key]

    def peer(self, port: Port) -> Port | None:
        """The other end of a pair; None for what has none, or none that can be reached."""
        if port.link.kind not in PAIRS:
            return None
        if port.key not in self._peers:
            self._peers[port.key] = peer = self._linked(port)
            if peer:  # it need not be asked for its own
                self._peers[peer.key] = port
        return self._peers[port.key]

    def bridge(self, port: Port) -> Port | None:
        """The bridge that an interface is a port of."""
        row = port.node.by_index.get(port.link.master)
        return Port(port.node, row.ifname) if row and row.kind == "bridge" else None

    def parent(self, port: Port) -> Port | None:
        """What an interface stands on, in whichever namespace; None for kinds that stand alone."""
        return self._linked(port) if port.link.kind in STACKED else None

    def _linked(self, port: Port) -> Port | None:
        there = self._node_of(port)
        row = there.by_index.get(port.link.peer_ifindex) if there else None
        return Port(there, row.ifname) if there and row else None

    def _node_of(self, port: Port) -> Node | None:
        """Where an interface's other end is: whichever namespace has its netnsid there.

        All are asked in turn, the likely ones first.
        """
        link, node = port.link, port.node
        if link.peer_nsid is None:
            return node
        key = (node.netns.inode, link.peer_nsid)
        if key not in self._nsids:
            self._nsids.update(node.run(lambda: list(self._numbered(node))))
        return self._nsids[key]

    def _numbered(self, node: Node) -> Iterator[tuple[tuple[int, int], Node | None]]:
        """Every other end that the interfaces of a node have, asked for from inside it."""
        for row in node.links.values():
            if row.peer_nsid is not None:
                mirrored = self._mirrored.get((row.peer_ifindex, row.ifindex), [])
                order = chain(mirrored, self.nodes.values())
                found = (each for each in order if links.nsid(each.handle) == row.peer_nsid)
                yield (node.netns.inode, row.peer_nsid), next(found, None)

    @cached_property
    def _mirrored(self) -> dict[tuple[int, int], list[Node]]:
        """Nodes by the ifindex of one of their interfaces and that of its peer."""
        found: dict[tuple[int, int], list[Node]] = {}
        for port in self.ports:
            found.setdefault((port.link.ifindex, port.link.peer_ifindex), []).append(port.node)
        return found
