"""Addresses: each node has one, nobody else on a segment has it too, nor the same MAC."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from datapath.diagnose.causes import Cause
from datapath.diagnose.walk import Leg, Walk
from datapath.diagnose.world import Node, Port, World
from datapath.kernel.net import bridge as bridges
from datapath.names import inside


def check(world: World, way: Walk) -> Iterator[Cause]:
    """duplicate-address, duplicate-mac, dad-failed, tentative-address."""
    for leg in way.legs:
        yield from _twice(leg)
    for node in (way.sender, way.receiver):
        yield from _states(node, way)


def _twice(leg: Leg) -> Iterator[Cause]:
    """On a segment that a packet passes, who else claims the next hop's address, or its MAC."""
    others = [port for port in leg.segment.ports.values() if port.key != leg.arrival.key]
    for port in others:
        for ifname, address, _ in port.node.addresses:
            claims = ifname == port.ifname and address.ip == leg.hop and port.link.up
            if claims and not _is_in_vlans(leg.segment.way(port)):
                yield Cause(
                    "duplicate-address",
                    port.where,
                    f"{leg.hop} is an address of {port.where} and of {leg.arrival.where}: "
                    "whoever answers first gets the packets",
                    inside(port.node.netns, "ip", "addr", "del", address, "dev", ifname),
                )
    mac = leg.arrival.link.mac
    for port in others:
        # Ports of bridges are never spoken to.
        speaks = any(ifname == port.ifname for ifname, *_ in port.node.addresses)
        shared = port.link.master or _shares_mac(port) or _shares_mac(leg.arrival)
        if speaks and mac and port.link.mac == mac and not shared:
            # Both ways find the two; the second of them is told of, and gets another.
            first, second = sorted((port, leg.arrival), key=lambda each: each.where)
            other = inside(
                second.node.netns, "ip", "link", "set", second.ifname, "address", _another(mac)
            )
            yield Cause(
                "duplicate-mac",
                second.where,
                f"{first.where} and {second.where} have the same MAC {mac}: "
                "a bridge sends to the one that it heard last",
                other,
            )


def _is_in_vlans(way: list[Port]) -> bool:
    """Whether tags may keep the two ends apart, as far as a segment knows."""
    return any(
        port.link.kind == "vlan"
        or (
            port.link.kind == "bridge"
            and port.node.run(partial(bridges.filters_vlans, port.ifname))
        )
        for port in way
    )


def _shares_mac(port: Port) -> bool:
    """Whether it has the MAC of what it stands on, or of one of its ports."""
    return port.link.kind in ("ipvlan", "vlan", "bridge") or port.link.macvlan_mode == "passthru"


def _another(mac: str) -> str:
    """A MAC beside it: the last bit is flipped."""
    return f"{mac[:-2]}{int(mac[-2:], 16) ^ 1:02x}"


def _states(node: Node, way: Walk) -> Iterator[Cause]:
    for ifname, address, state in node.addresses:
        if address.ip not in (way.source, way.target) or state not in ("dadfailed", "tentative"):
            continue
        port = Port(node, ifname)
        if state == "dadfailed":
            yield Cause(
                "dad-failed",
                port.where,
                f"{address.ip} of {port.where} is not used: somebody on the segment had it before",
                inside(node.netns, "ip", "addr", "del", address, "dev", ifname),
            )
        elif port.link.up:
            yield Cause(
                "tentative-address",
                port.where,
                f"{address.ip} of {port.where} is not used yet: "
                "the kernel still asks whether somebody has it",
                "wait two seconds",
            )
