"""Routers that put other addresses in packets: their own for the sender's, or a host's for theirs.

Beyond one that masquerades (SNAT) the packet has another source, answers are for that router, and
from there on for the sender again: each direction is two ways. What is for a port that a router
maps (DNAT), as Docker publishes ports, goes on to another host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import chain
from typing import Final

from datapath.diagnose import firewall
from datapath.diagnose.segment import segment
from datapath.diagnose.walk import Address, Walk
from datapath.diagnose.walking import walk
from datapath.diagnose.world import Node, Port, World

ANY_PORT: Final = 40000  # that a connection comes from


@dataclass(frozen=True, slots=True)
class _Translation:
    """By which interfaces the packet comes to the router and leaves it, and from whom then."""

    arrival: Port
    out: Port
    source: Address


def both_ways(world: World, forth: Walk) -> tuple[list[Walk], list[Walk]]:
    """The ways there, of which the one given is the first part or all, and those of the answer."""
    answer = replace(forth.packet, saddr=forth.target, daddr=forth.source, state="established")
    found = _translation(forth)
    if found is None:
        return [forth], [walk(world, Walk(forth.receiver, forth.sender, answer))]
    at = next(i for i, leg in enumerate(forth.legs) if leg.out == found.out)
    router = found.out.node
    there = [
        replace(forth, receiver=router, legs=forth.legs[:at], taps=[], goes_on=True),
        Walk(
            *(router, forth.receiver, replace(forth.packet, saddr=found.source)),
            legs=forth.legs[at:],
            crossings=forth.crossings,
            taps=forth.taps,
            came_in=replace(forth.packet, iif=found.arrival.ifname),
        ),
    ]
    to_router = Walk(forth.receiver, router, replace(answer, daddr=found.source), goes_on=True)
    onward = Walk(router, forth.sender, answer, came_in=replace(answer, iif=found.out.ifname))
    return there, [walk(world, to_router), walk(world, onward)]


def mapped(world: World, forth: Walk, protocol: str, port: int) -> list[Walk]:
    """The way on to the host that a port of the receiver is mapped to, and that of the answer.

    Empty where it is a port of the receiver's own.
    """
    router = forth.receiver
    if not forth.whole or not forth.legs:
        return []
    asked = replace(forth.packet, protocol=protocol, dport=port, local=True)
    asked = replace(asked, sport=ANY_PORT, iif=forth.legs[-1].arrival.ifname)
    rule = firewall.translation(router.rulesets, "prerouting", asked)
    if rule is None or rule.verdict != "dnat" or not rule.target:
        return []
    target = ip_address(rule.target)
    host = _owner(world, router, target)
    if host is None:
        return []
    onward = replace(asked, daddr=target, dport=rule.port or port, iif="", local=False)
    answer = replace(onward, saddr=target, daddr=forth.source, state="established")
    answer = replace(answer, sport=onward.dport, dport=ANY_PORT)
    there = Walk(router, host, onward, came_in=asked)
    return [walk(world, there), walk(world, Walk(host, forth.sender, answer))]


def _owner(world: World, router: Node, target: Address) -> Node | None:
    """Whose address it is: of somebody on a segment that a router is on, else anybody's."""
    near = (
        port.node
        for name in router.links
        if name != "lo"
        for port in segment(world, Port(router, name)).ports.values()
    )
    others = (node for node in chain(near, world.nodes.values()) if node is not router)
    return next((n for n in others if target in [a.ip for _, a, _ in n.addresses]), None)


def _translation(way: Walk) -> _Translation | None:
    """That of the first router that does it."""
    version = way.target.version
    for arrival, out in way.routers():
        packet = replace(way.packet, iif=arrival.ifname, oif=out.ifname)
        rule = firewall.translation(out.node.rulesets, "postrouting", packet)
        own = (a.ip for i, a, _ in out.node.addresses if i == out.ifname and a.version == version)
        if rule and rule.verdict == "masquerade" and (address := next(own, None)):
            return _Translation(arrival, out, address)
        if rule and rule.verdict == "snat" and rule.target:
            return _Translation(arrival, out, ip_address(rule.target))
    return None
