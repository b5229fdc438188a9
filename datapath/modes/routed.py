"""Baseline routed: the host routes between its ends of the veths, as Calico does.

Each endpoint has the link-local gateway 169.254.1.1 for everything; the host end answers ARP for it
(proxy_arp) and has a host route to the endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from datapath.endpoint import Member
from datapath.journal import NETWORK_OWNER, Step
from datapath.kernel.net import sysctl
from datapath.modes.base import NetworkSpec, make_interface, make_namespaces
from datapath.steps.interfaces import AddRoutes, SetSysctl

GATEWAY: Final = "169.254.1.1"
_FORWARDING: Final = "net/ipv4/ip_forward"


@dataclass(frozen=True, slots=True)
class Routed:
    """A Mode."""

    name: str = "routed"
    summary: str = "the host routes, one route for each endpoint, proxy ARP"

    def missing(self) -> str:
        return ""

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        yield from make_namespaces(members)
        before = sysctl.read(_FORWARDING) or "0"
        yield NETWORK_OWNER, SetSysctl(_FORWARDING, "1", before)
        for member in members:
            host = member.host_ifname
            yield member.id, make_interface(member)
            yield member.id, SetSysctl(f"net/ipv4/conf/{host}/proxy_arp", "1", "0")
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
