"""Baseline routed: the host routes between its ends of the veths, as Calico does.

Each endpoint has the link-local gateway 169.254.1.1 for all others, and on the host a route leads
to it. The gateway is an address of every host end: proxy ARP would answer for it only on a host
with a default route, and late. Forwarding is on at the host ends alone, not for the whole host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from datapath.endpoint import Member
from datapath.journal import Step
from datapath.modes.base import NetworkSpec, Station, make_interface, make_namespaces
from datapath.steps.interfaces import AddAddress, AddRoutes, SetSysctl
from datapath.variants import Options

GATEWAY: Final = "169.254.1.1"


@dataclass(frozen=True, slots=True)
class Routed:
    """A Mode."""

    name: str = "routed"
    summary: str = "the host routes, one route for each endpoint"

    path: tuple[Station, ...] = (
        Station("sender", "eth0"),
        Station("host", "sender's host end"),
        Station("host", "IP forwarding: route and neighbour lookup"),
        Station("host", "receiver's host end"),
        Station("receiver", "eth0"),
    )

    def variant(self, options: Options) -> Routed:
        return self

    def missing(self) -> str:
        return ""

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        yield from make_namespaces(members)
        for member in members:
            host = member.host_ifname
            yield member.id, make_interface(member)
            yield member.id, SetSysctl(f"net/ipv4/conf/{host}/forwarding", "1", "0")
            yield member.id, AddAddress(host, f"{GATEWAY}/32")
            yield member.id, AddRoutes("", host, [f"{member.ipv4}/32"], "")
            yield (
                member.id,
                AddRoutes(
                    str(member.path),
                    member.ifname,
                    [f"{other.ipv4}/32" for other in members if other is not member],
                    GATEWAY,
                ),
            )


MODE = Routed()
