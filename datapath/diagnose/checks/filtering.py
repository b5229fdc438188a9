"""Firewalls on the way: the sender's output, wherever it is forwarded, the receiver's input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from datapath.diagnose import firewall
from datapath.diagnose.causes import Cause, Guess
from datapath.diagnose.firewall import Packet
from datapath.diagnose.walk import Walk
from datapath.diagnose.world import Node, World
from datapath.names import inside


def check(world: World, way: Walk) -> Iterator[Cause]:
    """firewall and bridge-firewall, for the packet that the way is of."""
    yield from refusals(way, way.packet)


def refusals(way: Walk, packet: Packet) -> Iterator[Cause]:
    """What drops a packet, chain by chain on its way."""
    families = {"inet", "ip" if way.target.version == 4 else "ip6"}
    for position, leg in enumerate(way.legs):
        leaving = replace(packet, oif=leg.out.ifname)
        if position == 0 and way.came_in:
            through = replace(packet, saddr=way.came_in.saddr, iif=way.came_in.iif)
            yield from _at(way.sender, "forward", families, replace(through, oif=leg.out.ifname))
        elif position == 0:
            yield from _at(way.sender, "output", families, leaving)
        yield from _at(leg.out.node, "postrouting", families, leaving)
        for before, bridge, after in zip(leg.way, leg.way[1:], leg.way[2:], strict=False):
            if bridge.link.kind != "bridge":
                continue
            ports = replace(packet, iif=before.ifname, oif=after.ifname)
            yield from _at(bridge.node, "forward", {"bridge"}, ports)
            if bridge.node.setting("net/bridge/bridge-nf-call-iptables") == "1":
                through = replace(packet, iif=bridge.ifname, oif=bridge.ifname)
                for cause in _at(bridge.node, "forward", families, through):
                    yield replace(
                        cause,
                        cause="bridge-firewall",
                        sentence=f"{cause.sentence}; bridged frames get there since "
                        "net.bridge.bridge-nf-call-iptables is 1",
                    )
        arrival = leg.arrival
        local = arrival.node is way.receiver
        came = replace(packet, iif=arrival.ifname, local=local)
        if arrival.node is way.receiver and way.goes_on:
            pass  # forwarded, which is for the way on from there
        elif arrival.node is way.receiver:
            yield from _at(way.receiver, "input", families, came)
        elif position + 1 < len(way.legs):
            onward = replace(came, oif=way.legs[position + 1].out.ifname)
            yield from _at(arrival.node, "forward", families, onward)
        yield from _at(arrival.node, "ingress", {"netdev", "inet"}, came)
        yield from _at(arrival.node, "prerouting", families, came)


def _at(node: Node, hook: str, families: set[str], packet: Packet) -> Iterator[Cause]:
    for refused in firewall.refusals(node.rulesets, hook, families, packet):
        doubt = ", unless a rule before it that cannot be read here lets it through"
        yield (Guess if refused.perhaps else Cause)(
            "firewall",
            f"{hook} in {node.name}, chain {refused.chain}",
            f"the firewall of {node.name} drops what {packet.saddr} sends to {packet.daddr} "
            f"at {hook}, chain {refused.chain}: {refused.text}{doubt if refused.perhaps else ''}",
            inside(node.netns, *refused.remedy),
        )
