"""Baseline bridge: a Linux bridge with a port for each endpoint, as Docker builds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datapath.endpoint import Member, random_mac
from datapath.journal import NETWORK_OWNER, Step
from datapath.modes.base import NetworkSpec, Station, make_interface, make_namespaces
from datapath.steps.interfaces import JoinBridge, MakeBridge
from datapath.variants import Options


@dataclass(frozen=True, slots=True)
class Bridge:
    """A Mode."""

    name: str = "bridge"
    summary: str = "a Linux bridge, bridge-nf-call-iptables off"

    path: tuple[Station, ...] = (
        Station("sender", "eth0"),
        Station("host", "sender's host end"),
        Station("host", "bridge: FDB lookup"),
        Station("host", "receiver's host end"),
        Station("receiver", "eth0"),
    )

    def variant(self, options: Options) -> Bridge:
        return self

    def missing(self) -> str:
        return ""

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        bridge = f"br-{network.name}"[:15]
        yield from make_namespaces(members)
        yield NETWORK_OWNER, MakeBridge(bridge, random_mac())
        for member in members:
            yield member.id, make_interface(member)
            yield member.id, JoinBridge(member.host_ifname, bridge)


MODE = Bridge()
