"""Modes of a declared lab: forwarding as the lab has it, or an eBPF mode in its place.

Both ends of what is measured are nodes of the lab, which is built anew for each sample, like the
pair of namespaces that other modes join.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

from datapath import modes
from datapath.endpoint import Member
from datapath.errors import Conflict, InvalidInput
from datapath.journal import NETWORK_OWNER, Step
from datapath.labs import catalogue, groups, planning
from datapath.labs.model import HOST, VETH, End, Interface, Lab
from datapath.modes.base import EbpfMode, Mode, NetworkSpec, Station
from datapath.records import ModeId
from datapath.steps.labs import JoinLab
from datapath.variants import Options

DECLARED: Final = "declared"
_SWITCHING: Final = (ModeId.TC, ModeId.TC_PEER, ModeId.XDP, ModeId.SOCKMAP)


@dataclass(frozen=True, slots=True)
class LabMode:
    """A lab with a sender and a receiver among its nodes, forwarding by itself or by `ebpf`."""

    name: str
    lab: Lab
    sender: Member
    receiver: Member
    ebpf: EbpfMode | None

    @property
    def summary(self) -> str:
        """One line for lists."""
        how = f"switched to {self.ebpf.name}" if self.ebpf else "as it is declared"
        way = f"{self.sender.label} to {self.receiver.label}"
        return f"lab {self.lab.name}, {way}, {how}"

    @property
    def path(self) -> tuple[Station, ...]:
        """What a lab consists of, its own drawing shows."""
        return ()

    def variant(self, options: Options) -> LabMode:
        return self

    def missing(self) -> str:
        """Of the mode; what the lab needs is labs.needs' to say."""
        return self.ebpf.missing() if self.ebpf else ""

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        """The whole lab. Raises Conflict where it is up already."""
        if self.lab.name in catalogue.journalled():
            raise Conflict(
                f"lab {self.lab.name} is up, and is to be built anew for each sample",
                remedy=f"take it down: ebpfnet lab down {self.lab.name}",
            )
        for step in planning.steps(self.lab, f"ebpfnet:{secrets.token_hex(8)}"):
            yield NETWORK_OWNER, step
        hook = self.ebpf.hooks[0].name.lower() if self.ebpf and len(self.ebpf.hooks) == 1 else ""
        if self.lab.ebpf or self.ebpf:
            mode = self.ebpf.name if self.ebpf else ""
            yield NETWORK_OWNER, JoinLab(self.lab.name, self.lab.text, mode, hook)

    def ends(self) -> dict[str, tuple[str, str]]:
        """Veth ends by their names in reports: path of the namespace ("" = the host's), interface.

        Of a sender or receiver on something else than a veth there is none.
        """
        found = {}
        for name, member in (("sender", self.sender), ("receiver", self.receiver)):
            near = End(_node(self.lab, member), member.ifname)
            if far := _far(self.lab, near):
                found[name] = (str(member.path), member.ifname)
                found[f"{name} host"] = (planning.path(self.lab, far.node), far.ifname)
        return found


def modes_of(lab: Lab, between: Sequence[str], names: Sequence[str]) -> dict[str, Mode]:
    """The modes of an experiment in a lab, by name; without names, all that is usual.

    Raises InvalidInput for nodes and modes that will not do.
    """
    sender, receiver = _ends(lab, between)
    ends = {_node(lab, sender), _node(lab, receiver)}
    found: dict[str, Mode] = {}
    for name in names:
        ebpf = None if name == DECLARED else _switched(lab, name, ends)
        found[name] = LabMode(name, lab, sender, receiver, ebpf)
    return found


def usual(lab: Lab) -> tuple[str, ...]:
    """The modes that are measured where none are named."""
    return (DECLARED, modes.DEFAULT) if groups.switchable(lab) else (DECLARED,)


def _switched(lab: Lab, name: str, ends: set[str]) -> EbpfMode:
    mode = modes.get(name)
    if not isinstance(mode, EbpfMode) or mode.id not in _SWITCHING:
        raise InvalidInput(
            f"mode {name} is none that a lab can be switched to",
            remedy=f"name {DECLARED}, tc-peer, tc, xdp or sockmap",
        )
    if not any(ends <= set(group.members) for group in groups.switchable(lab)):
        raise InvalidInput(
            f"in lab {lab.name}, {' and '.join(sorted(ends))} do not hang from one bridge or "
            f"router, so that {name} could not take over between them",
            remedy=f"name {DECLARED} alone, or other nodes with --between",
        )
    return replace(mode, text=name)


def _ends(lab: Lab, between: Sequence[str]) -> tuple[Member, Member]:
    """Sender and receiver: as named, or of those that can be switched, or that reach each other."""
    for name in between:
        if name not in lab.nodes or name == HOST:
            nodes = ", ".join(node for node in lab.nodes if node != HOST)
            raise InvalidInput(f"lab {lab.name} has no node {name}", remedy=f"it has {nodes}")
    if len(between) == 2 and between[0] == between[1]:
        raise InvalidInput("sender and receiver are the same node", remedy="name two")
    together = [set(group.members) for group in groups.switchable(lab)]
    pairs = [
        (source, target.node, target.address)
        for source, targets in lab.reach.items()
        for target in sorted(targets, key=str)
        if target.port is None and isinstance(target.address, IPv4Address)
        if target.node in lab.nodes and source != target.node and HOST not in (source, target.node)
        if not between or (source, target.node) == tuple(between)
    ]
    # The first pair that can be switched, else the first.
    pairs.sort(key=lambda pair: not any({pair[0], pair[1]} <= members for members in together))
    if not pairs:
        who = " does not reach ".join(between) if between else "no node reaches another"
        raise InvalidInput(
            f"in lab {lab.name}, as it is declared, {who} over IPv4",
            remedy="name others with --between, or change its reach:",
        )
    source, target, address = pairs[0]
    return _member(lab, 1, source, address), _member(lab, 2, target, address)


def _member(lab: Lab, number: int, name: str, address: IPv4Address) -> Member:
    """A node by the interface that has the address, else is on its segment, else comes first."""
    node = lab.nodes[name]

    def nearness(interface: Interface) -> int:
        own = [each for each in interface.addresses if isinstance(each, IPv4Interface)]
        if any(each.ip == address for each in own):
            return 0
        return 1 if any(address in each.network for each in own) else 2 if own else 3

    interface = min(node.interfaces.values(), key=nearness)
    near = End(name, interface.name)
    far = _far(lab, near)
    return Member(
        id=number,
        label=planning.netns_name(lab.name, name),
        path=planning.namespace(lab, name),
        to_be_made=True,
        ifname=interface.name,
        mac=planning.mac_of(lab, near),
        host_ifname=far.ifname if far else "",
        host_mac=planning.mac_of(lab, far) if far else "",
        addresses=interface.addresses,
        adoption=None,
    )


def _node(lab: Lab, member: Member) -> str:
    return member.label.removeprefix(planning.netns_name(lab.name, ""))


def _far(lab: Lab, near: End) -> End | None:
    """The other end of a link, None for what is none."""
    if lab.nodes[near.node].interfaces[near.ifname].kind != VETH:
        return None
    (link,) = (link for link in lab.links if near in link.ends)
    return link.ends[1] if link.ends[0] == near else link.ends[0]
