"""What a forwarding mode is: how a packet gets from one endpoint to another.

A mode turns described members into steps. eBPF modes differ in their program and where it sits;
baselines, which exist to be compared with, differ in what they build.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any, Literal, Protocol, Self

from datapath.endpoint import Member
from datapath.journal import NETWORK_OWNER, Step
from datapath.kernel.bpf import features
from datapath.programs import ProgramSpec
from datapath.records import HookId, ModeId
from datapath.steps.interfaces import AdoptInterface, MakeInterface, MakeNamespace, SetOffloads
from datapath.steps.programs import AddEndpoint, AttachProgram, MakeNetwork
from datapath.variants import Options

DEFAULT_MAX_ENDPOINTS = 16384


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network as it is to be; `exists` where its maps and programs are pinned already."""

    name: str
    subnet: IPv4Network
    hook: HookId
    max_endpoints: int = DEFAULT_MAX_ENDPOINTS
    exists: bool = False


@dataclass(frozen=True, slots=True)
class Station:
    """Something that a packet passes on its way, for drawings and lists."""

    where: Literal["sender", "host", "receiver"]
    label: str
    hook: str = ""  # where a program of ours sits there: "tcx ingress", "XDP", ...


class Mode(Protocol):
    """A way of joining namespaces."""

    @property
    def name(self) -> str:
        """As users call it."""
        ...

    @property
    def summary(self) -> str:
        """One line for lists."""
        ...

    @property
    def path(self) -> tuple[Station, ...]:
        """What a packet passes between the two namespaces' IP stacks, these left out, in order."""
        ...

    def variant(self, options: Options) -> Mode:
        """The mode with options; asks for all that it knows. Raises InvalidInput for bad values."""
        ...

    def missing(self) -> str:
        """What this machine lacks for it, "" where nothing."""
        ...

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        """What joins the members: each step with the endpoint id that it is done for."""
        ...


def make_namespaces(members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
    """The namespaces that do not exist yet."""
    for member in members:
        if member.to_be_made:
            yield member.id, MakeNamespace(member.label, f"ebpfnet {secrets.token_hex(4)}")


def make_interface(member: Member) -> MakeInterface:
    """A veth of our making for a member."""
    return MakeInterface(
        netns=str(member.path),
        ifname=member.ifname,
        mac=member.mac,
        host_ifname=member.host_ifname,
        host_mac=member.host_mac,
        addresses=[str(address) for address in member.addresses if not address.is_link_local],
    )


@dataclass(frozen=True, slots=True)
class EbpfMode:
    """A mode that is a program at each endpoint's host end."""

    name: str
    id: ModeId
    summary: str
    program: ProgramSpec
    hooks: tuple[HookId, ...]  # the preferred one first
    path: tuple[Station, ...]
    # Offloads that the endpoint's own interface must have, by ethtool's feature name.
    offloads: Mapping[str, bool] = field(default_factory=dict)
    needs: tuple[features.Feature, ...] = ()

    def variant(self, options: Options) -> Self:
        """With one hook alone, by its name."""
        names = {hook.name.lower(): hook for hook in self.hooks}
        chosen = options.one_of(list(names), "")
        return replace(self, hooks=(names[chosen],)) if chosen else self

    def missing(self) -> str:
        return ", ".join(
            f"{need.name} ({need.summary}, Linux {need.since})"
            for need in self.needs
            if not features.has(need)
        )

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        """Interfaces, entries, hooks, and last of all the bridges that adopted ports leave.

        In this order nobody is ever sent to an endpoint that cannot answer, and a bridge carries
        its ports' traffic until the programs do.
        """
        yield from make_namespaces(members)
        if not network.exists:
            yield (
                NETWORK_OWNER,
                MakeNetwork(
                    network.name,
                    self.name,
                    network.hook.name.lower(),
                    str(network.subnet),
                    network.max_endpoints,
                ),
            )
        for member in members:
            if member.adoption is None:
                yield member.id, make_interface(member)
        for member in members:
            if self.offloads:
                yield member.id, self._offloads(member)
        for member in members:
            yield (
                member.id,
                AddEndpoint(
                    network.name,
                    member.id,
                    member.label,
                    str(member.path),
                    member.ifname,
                    member.mac,
                    member.host_ifname,
                    [str(address) for address in member.addresses],
                ),
            )
        for member in members:
            yield (
                member.id,
                AttachProgram(
                    network.name,
                    member.id,
                    member.host_ifname,
                    self.program.function,
                    network.hook.name.lower(),
                    had_clsact=member.adoption is not None and member.adoption.had_clsact,
                ),
            )
        adopted = [member for member in members if member.adoption]
        # Undoing goes backwards: ports come back in the order of their numbers, and so get them.
        for member in sorted(adopted, key=_port_number, reverse=True):
            yield member.id, adopt_interface(member)

    def _offloads(self, member: Member) -> SetOffloads:
        wanted = dict(self.offloads)
        before = member.adoption.features if member.adoption else {}
        return SetOffloads(
            netns=str(member.path),
            ifname=member.ifname,
            features=wanted,
            before={name: before[name] for name in wanted if name in before},
        )


def _port_number(member: Member) -> int:
    port: dict[str, Any] = (member.adoption.bridge_port if member.adoption else None) or {}
    return int(port.get("number", 0))


def adopt_interface(member: Member) -> AdoptInterface:
    """What has to change at an interface that was there before."""
    adoption = member.adoption
    if adoption is None:
        raise ValueError(f"{member.label} is not adopted")
    return AdoptInterface(
        netns=str(member.path),
        ifname=member.ifname,
        host_ifname=member.host_ifname,
        address=adoption.added_address,
        was_up=adoption.was_up,
        host_was_up=adoption.host_was_up,
        host_ifindex=adoption.host_ifindex,
        bridge_port=adoption.bridge_port,
    )
