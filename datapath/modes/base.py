"""What a forwarding mode is: how a packet gets from one endpoint to another.

A mode turns described members into steps. eBPF modes differ in their program and where it sits;
baselines, which exist to be compared with, differ in what they build.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any, Final, Literal, Protocol, Self

from datapath import programs
from datapath.endpoint import Member
from datapath.errors import InvalidInput
from datapath.journal import NETWORK_OWNER, Step
from datapath.kernel.bpf import features
from datapath.network import Network
from datapath.programs import ProgramSpec
from datapath.records import HookId, ModeId, Otherwise
from datapath.steps.interfaces import AdoptInterface, MakeInterface, MakeNamespace, SetOffloads
from datapath.steps.programs import AddEndpoint, AttachProgram, MakeNetwork
from datapath.steps.queues import AddQueue
from datapath.variants import Options

DEFAULT_MAX_ENDPOINTS = 16384


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """A network as it is to be; `exists` where its maps and programs are pinned already."""

    name: str
    subnet: IPv4Network
    hook: HookId
    max_endpoints: int = DEFAULT_MAX_ENDPOINTS
    otherwise: Otherwise = Otherwise.DROP
    exists: bool = False


@dataclass(frozen=True, slots=True)
class Station:
    """Something that a packet passes on its way, for drawings and lists."""

    where: Literal["sender", "host", "receiver"]
    label: str
    hook: str = ""  # where a program sits there: "tcx ingress", "native XDP", ...


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


def make_interface(member: Member, kind: type[MakeInterface] = MakeInterface) -> MakeInterface:
    """A veth of our making for a member, or a pair of another kind."""
    return kind(
        netns=str(member.path),
        ifname=member.ifname,
        mac=member.mac,
        host_ifname=member.host_ifname,
        host_mac=member.host_mac,
        addresses=[str(address) for address in member.addresses],
    )


# How people choose a hook in a variant, and what it is called in drawings.
_HOOKS: Final = {
    HookId.TCX: ("tcx", "tcx ingress"),
    HookId.CLSACT: ("clsact", "clsact ingress"),
    HookId.XDP: ("native", "native XDP"),
    HookId.XDP_GENERIC: ("generic", "generic XDP"),
    HookId.NETKIT: ("netkit", "netkit peer"),
}
_HOOK_LABELS: Final = {"tc ingress", *(label for _, label in _HOOKS.values())}


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
    queue: bool = False  # whether an interface of our making waits where the host end is full
    needs: tuple[features.Feature, ...] = ()
    interface: type[MakeInterface] = MakeInterface  # how one of our making is made
    text: str = ""  # how modes.get() finds it, where that is not its name

    def variant(self, options: Options) -> Self:
        """With one hook alone, by its name."""
        names = {_HOOKS[hook][0]: hook for hook in self.hooks}
        chosen = options.one_of(list(names), "")
        return self.at(names[chosen]) if chosen else self

    def at(self, hook: HookId) -> Self:
        """The mode with this hook alone."""
        label = _HOOKS[hook][1]
        return replace(
            self,
            hooks=(hook,),
            path=tuple(
                replace(each, hook=label) if each.hook in _HOOK_LABELS else each
                for each in self.path
            ),
            needs=(*self.needs, features.TCX) if hook is HookId.TCX else self.needs,
        )

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
        adopted = [member for member in members if member.adoption]
        if adopted and self.interface is not MakeInterface:
            raise InvalidInput(
                f"{adopted[0].label} has a veth, and mode {self.name} makes its own interfaces",
                remedy="choose another with --mode, or remove the veth",
            )
        yield from make_namespaces(members)
        if not network.exists:
            yield (
                NETWORK_OWNER,
                MakeNetwork(
                    network.name,
                    self.text or self.name,
                    network.hook.name.lower(),
                    str(network.subnet),
                    network.max_endpoints,
                    network.otherwise.name.lower(),
                ),
            )
        for member in members:
            if member.adoption is None:
                yield member.id, make_interface(member, self.interface)
        for member in members:
            if self.offloads:
                yield member.id, self._offloads(member)
            if self.queue and member.adoption is None:
                yield member.id, AddQueue(str(member.path), member.ifname)
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
        # Undoing goes backwards: ports come back in the order of their numbers, and so get them.
        for member in sorted(adopted, key=_port_number, reverse=True):
            yield member.id, adopt_interface(member)

    def reload(self, network: Network) -> int:
        """Compile a live network's programs anew and put them in the old ones' places.

        Returns at how many endpoints. Raises as programs.replace does.
        """
        return programs.replace(network, self)

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
