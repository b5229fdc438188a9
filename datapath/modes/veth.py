"""Baseline veth: a plain pair between two namespaces. Nothing forwards: this is the limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datapath.endpoint import Member
from datapath.errors import InvalidInput
from datapath.journal import Step
from datapath.modes.base import NetworkSpec, Station, make_namespaces
from datapath.steps.interfaces import MakePair
from datapath.variants import Options


@dataclass(frozen=True, slots=True)
class Veth:
    """A Mode, for two members alone."""

    name: str = "veth"
    summary: str = "a plain veth pair: nothing forwards, the limit"

    path: tuple[Station, ...] = (Station("sender", "eth0"), Station("receiver", "eth0"))

    def variant(self, options: Options) -> Veth:
        return self

    def missing(self) -> str:
        return ""

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        if len(members) != 2:
            raise InvalidInput(f"a veth pair joins 2 namespaces, not {len(members)}")
        yield from make_namespaces(members)
        yield (
            members[0].id,
            MakePair(
                netns=[str(member.path) for member in members],
                ifname=members[0].ifname,
                macs=[member.mac for member in members],
                addresses=[[str(a) for a in m.addresses if not a.is_link_local] for m in members],
            ),
        )


MODE = Veth()
