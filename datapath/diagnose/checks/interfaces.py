"""Interfaces on the way: there, up, asking for neighbours, and of one size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from datapath.diagnose.causes import Cause
from datapath.diagnose.walk import Walk
from datapath.diagnose.world import PAIRS, Port, World
from datapath.names import inside

# Kinds that ask for neighbours unless somebody tells them not to.
_ASKING: Final = {"veth", "bridge", "macvlan", "vlan", "vxlan"}


def check(world: World, way: Walk) -> Iterator[Cause]:
    """link-down, lo-down, no-arp, mtu-mismatch, macvlan-parent, -mode, -passthru."""
    if way.sender is way.receiver and not way.sender.links["lo"].up:
        yield Cause(
            "lo-down",
            f"lo in {way.sender.name}",
            f"lo in {way.sender.name} is down, and what a namespace sends to itself goes by lo",
            inside(way.sender.netns, "ip", "link", "set", "lo", "up"),
        )
    for port in _ports(world, way):
        if not port.link.up:
            yield Cause(
                "link-down",
                port.where,
                f"{port.where} is down",
                inside(port.node.netns, "ip", "link", "set", port.ifname, "up"),
            )
    for leg in way.legs:
        for port in (leg.out, leg.arrival):
            if not port.link.arp and port.link.kind in _ASKING:
                yield Cause(
                    "no-arp",
                    port.where,
                    f"{port.where} has ARP off: nobody learns its MAC, nor it another's",
                    inside(port.node.netns, "ip", "link", "set", port.ifname, "arp", "on"),
                )
        yield from _sizes(leg.way)
        yield from _macvlans(leg.way)
        yield from _passed_through(world, leg.way)


def _ports(world: World, way: Walk) -> list[Port]:
    """All on the way; where it leads nowhere what the two nodes have, as far as their bridges."""
    found = {port.key: port for leg in way.legs for port in leg.way}
    if not way.whole:
        for node, address in ((way.sender, way.source), (way.receiver, way.target)):
            for ifname, own, _ in node.addresses:
                if own.ip == address:
                    port = Port(node, ifname)
                    peer = world.peer(port)
                    bridge = peer.node.by_index.get(peer.link.master) if peer else None
                    above = Port(peer.node, bridge.ifname) if peer and bridge else None
                    found |= {each.key: each for each in (port, peer, above) if each}
    return list(found.values())


def _sizes(way: list[Port]) -> Iterator[Cause]:
    """A frame longer than an interface's MTU is dropped there without a word: it is layer 2."""
    first, last = way[0], way[-1]
    most = first.link.mtu
    for port in way[1:]:
        # What a bridge forwards is measured at its ports, not at the bridge.
        if port.link.mtu < most and port.link.kind != "bridge":
            # A cable between two that agree is as wide as they are; else the lesser one counts.
            wider = port.link.kind in PAIRS and port is not last and last.link.mtu >= most
            wrong, size = (port, most) if wider else (first, port.link.mtu)
            yield Cause(
                "mtu-mismatch",
                wrong.where,
                f"{first.where} sends packets of up to {most} bytes, "
                f"but {port.where} takes {port.link.mtu}: the long ones vanish",
                inside(wrong.node.netns, "ip", "link", "set", wrong.ifname, "mtu", size),
            )
            return


def _macvlans(way: list[Port]) -> Iterator[Cause]:
    """Only two in bridge mode reach each other over their parent, and never the parent itself."""
    for upper, parent in ((way[0], way[1]), (way[-1], way[-2])) if len(way) == 2 else ():
        kind = upper.link.kind
        if kind in ("macvlan", "ipvlan") and parent.link.kind != kind:
            yield Cause(
                "macvlan-parent",
                upper.where,
                f"{upper.where} is {'a' if kind == 'macvlan' else 'an'} {kind} of {parent.where}, "
                "and the two never reach each other",
                f"give {parent.node.name} one of its own on {parent.ifname}",
            )
    for before, parent, after in zip(way, way[1:], way[2:], strict=False):
        both = [port for port in (before, after) if port.link.kind == "macvlan"]
        apart = [port for port in both if port.link.macvlan_mode != "bridge"]
        if len(both) == 2 and apart and parent.link.kind != "macvlan":
            mode = apart[0].link.macvlan_mode
            yield Cause(
                "macvlan-mode",
                apart[0].where,
                f"{apart[0].where} is a macvlan in mode {mode}, "
                f"which reaches no other macvlan of {parent.ifname}",
                inside(
                    apart[0].node.netns,
                    *("ip", "link", "set", apart[0].ifname, "type", "macvlan", "mode", "bridge"),
                ),
            )


def _passed_through(world: World, way: list[Port]) -> Iterator[Cause]:
    """What comes in by the parent of a macvlan in mode passthru is the macvlan's, all of it."""
    for end in (way[0], way[-1]):
        for macvlan in world.stacked(end):
            if macvlan.link.macvlan_mode == "passthru":
                yield Cause(
                    "macvlan-passthru",
                    macvlan.where,
                    f"{macvlan.where} is a macvlan in mode passthru, "
                    f"and takes all that comes in by {end.where}",
                    inside(macvlan.node.netns, "ip", "link", "del", macvlan.ifname),
                )
