"""Baseline routed: the host routes between its ends of the veths, as Calico does.

Each endpoint has the link-local gateway 169.254.1.1 for all others, and on the host a route leads
to it. The gateway is an address of every host end: proxy ARP would answer for it only on a host
with a default route, and late. Forwarding is on at the host ends alone, not for the whole host.
Netfilter rules can be in the way (filtering.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from datapath.endpoint import Member
from datapath.journal import Step
from datapath.modes.base import NetworkSpec, Station, make_interface, make_namespaces
from datapath.modes.filtering import NONE, Filtering
from datapath.steps.interfaces import AddAddress, AddRoutes, SetSysctl
from datapath.variants import Options

GATEWAY: Final = "169.254.1.1"


@dataclass(frozen=True, slots=True)
class Routed:
    """A Mode."""

    name: str = "routed"
    filtering: Filtering = NONE

    @property
    def summary(self) -> str:
        rules = f"; {self.filtering}" if self.filtering else ""
        return f"the host routes, one route for each endpoint{rules}"

    @property
    def path(self) -> tuple[Station, ...]:
        rules = [Station("host", f"netfilter: {self.filtering}")] if self.filtering else []
        return (
            Station("sender", "eth0"),
            Station("host", "sender's host end"),
            Station("host", "IP forwarding: route and neighbour lookup"),
            *rules,
            Station("host", "receiver's host end"),
            Station("receiver", "eth0"),
        )

    def variant(self, options: Options) -> Routed:
        return replace(self, filtering=Filtering.chosen(options))

    def missing(self) -> str:
        return self.filtering.missing()

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        yield from self.filtering.steps(network)
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
