"""Neighbours: what is pinned in a table is right, and who is asked does answer."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from datapath.diagnose.causes import Cause
from datapath.diagnose.walk import Walk
from datapath.diagnose.world import World
from datapath.names import inside

_NEVER_ANSWERS = 8  # arp_ignore: Documentation/networking/ip-sysctl.rst

_PINNED: Final = ("wrong-neighbour", "has {} pinned to")
# The kernel asks again before long, by itself; until then packets go to who is not there.
_LEARNED: Final = ("stale-neighbour", "has learned that {} is at")
_HOW_LONG: Final = {"permanent": _PINNED} | dict.fromkeys(
    ("reachable", "stale", "delay", "probe"), _LEARNED
)


def check(world: World, way: Walk) -> Iterator[Cause]:
    """wrong-neighbour, stale-neighbour, arp-ignored."""
    for leg in way.legs:
        if not leg.asks:
            continue
        for row in leg.out.node.neighbours:
            if (row.ifname, ip_address(row.address)) != (leg.out.ifname, leg.hop):
                continue
            if row.mac in ("", leg.arrival.link.mac) or row.state not in _HOW_LONG:
                continue
            # The kit's program sends to the endpoint of an address, whatever MAC it carries.
            if any(port.key in world.endpoints for port in leg.way):
                continue
            cause, how = _HOW_LONG[row.state]
            yield Cause(
                cause,
                leg.out.where,
                f"{leg.out.node.name} {how.format(leg.hop)} {row.mac}, "
                f"but {leg.arrival.where} is {leg.arrival.link.mac}",
                inside(leg.out.node.netns, "ip", "neigh", "del", leg.hop, "dev", leg.out.ifname),
            )
        node = leg.arrival.node
        for scope in ("all", leg.arrival.ifname):
            setting = f"net/ipv4/conf/{scope}/arp_ignore"
            if leg.hop.version == 4 and node.setting(setting) == str(_NEVER_ANSWERS):
                dotted = setting.replace("/", ".")
                yield Cause(
                    "arp-ignored",
                    leg.arrival.where,
                    f"{node.name} answers no ARP request: {dotted} is {_NEVER_ANSWERS}",
                    inside(node.netns, "sysctl", "-w", f"{dotted}=0"),
                )
