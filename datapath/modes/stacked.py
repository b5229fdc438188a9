"""Baselines macvlan and ipvlan: an interface for each endpoint on one parent, which forwards.

The parent is an end of a veth, which every kernel has; what they say to one another never leaves
it. A macvlan has a MAC of its own, ipvlans share their parent's and are told apart by address: in
mode l2 they have ARP, in mode l3 they do without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from datapath.endpoint import Member, random_mac
from datapath.journal import NETWORK_OWNER, Step
from datapath.kernel.net import devices
from datapath.modes.base import NetworkSpec, Station, make_namespaces
from datapath.steps.kinds import MakeParent, StackInterface
from datapath.variants import Options


@dataclass(frozen=True, slots=True)
class Stacked:
    """A Mode."""

    name: Literal["macvlan", "ipvlan"]
    mode: str
    modes: tuple[str, ...]  # those to choose from
    crossing: str  # what the parent does with a packet

    @property
    def summary(self) -> str:
        return f"{self.name} interfaces on one parent, mode {self.mode}"

    @property
    def path(self) -> tuple[Station, ...]:
        return (
            Station("sender", f"eth0: {self.name}"),
            Station("host", self.crossing),
            Station("receiver", f"eth0: {self.name}"),
        )

    def variant(self, options: Options) -> Stacked:
        return replace(self, mode=options.one_of(self.modes, self.mode))

    def missing(self) -> str:
        if devices.supports(self.name):
            return ""
        return f"{self.name} interfaces (CONFIG_{self.name.upper()})"

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        parent, peer = (f"{letter}-{network.name}"[:15] for letter in "pq")
        yield from make_namespaces(members)
        yield NETWORK_OWNER, MakeParent([parent, peer], [random_mac(), random_mac()])
        for member in members:
            yield (
                member.id,
                StackInterface(
                    kind=self.name,
                    mode=self.mode,
                    parent=parent,
                    netns=str(member.path),
                    ifname=member.ifname,
                    mac=member.mac if self.name == "macvlan" else "",
                    addresses=[str(address) for address in member.addresses],
                ),
            )


MACVLAN = Stacked("macvlan", "bridge", ("bridge",), "parent: lookup by MAC, its backlog")
IPVLAN = Stacked("ipvlan", "l2", ("l2", "l3"), "parent: lookup by address")
