"""The way of a packet, as the kernels on it would choose it: route by route, segment by segment.

Where something stops it the walk says so and goes on as if it were mended, as far as what was meant
can be told: a second fault behind the first is found as well.
"""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise
from typing import Final

from datapath.diagnose import astray, overlay
from datapath.diagnose.firewall import Packet
from datapath.diagnose.segment import Segment, segment
from datapath.diagnose.walk import Address, Leg, Walk
from datapath.diagnose.world import Node, Port, World

_MOST_ROUTERS: Final = 16
_MOST_TUNNELS: Final = 4  # one in another


def walk(world: World, done: Walk, depth: int = 0) -> Walk:
    """Go as far as it leads; it is whole where the last leg arrives at the receiver."""
    node = done.sender
    if node is done.receiver:
        return done  # by lo
    for _ in range(_MOST_ROUTERS):
        came_before = node in [each.out.node for each in done.legs]
        leg = _turned(world, done) if came_before else _leg(world, done, node)
        if leg is None:
            break
        done.legs.append(leg)
        if depth < _MOST_TUNNELS:
            _under(world, done, leg, depth)
        node = leg.arrival.node
        if node is done.receiver:
            break
    return done


def _under(world: World, done: Walk, leg: Leg, depth: int) -> None:
    """Walk the ways of the packets that tunnels of a leg put around the packet."""
    for near, far in pairwise(leg.way):
        if overlay.is_tunnel(near) and overlay.is_tunnel(far):
            crossing = overlay.crossing(world, near, far)
            if crossing:
                outer = Packet(
                    crossing.source, crossing.target, crossing.protocol, dport=crossing.port
                )
                done.crossings.append(crossing)
                done.under.append(walk(world, Walk(near.node, far.node, outer), depth + 1))


def _turned(world: World, done: Walk) -> Leg | None:
    """Go on from the node that turns the packet round as it should; None where none should."""
    cause, meant = astray.loop(world, done)
    done.causes.append(cause)
    if meant is None:
        return None
    at = next(i for i, leg in enumerate(done.legs) if leg.out.node is meant.out.node)
    del done.legs[at:]
    return _arrived(world, done, meant.out, "")


def _leg(world: World, done: Walk, node: Node) -> Leg | None:
    lookup = done.lookup(node, done.legs[-1].arrival.ifname if done.legs else "")
    ifname, gateway = lookup.ifname, lookup.gateway
    if lookup.refused or lookup.local:
        meant = astray.meant(world, done, node)
        done.impostor = node if lookup.local else done.impostor
        done.causes += astray.refused(world, done, node, lookup.refused, meant)
        if meant is None:
            return None
        ifname, gateway = meant.out.ifname, meant.gateway
    return _arrived(world, done, Port(node, ifname), gateway)


def _arrived(world: World, done: Walk, out: Port, gateway: str) -> Leg | None:
    hop = ip_address(gateway) if gateway else done.target
    reached = segment(world, out)
    arrival = _owner(done, reached, hop)
    if arrival is None and (proxy := astray.silent_proxy(done, reached, hop)):
        arrival, cause = proxy
        done.causes.append(cause)
    if arrival is None:
        done.taps = [each for each in reached.ports.values() if each.link.kind == "tun"]
        return None if done.taps else _gone_on(world, done, reached, hop, gateway)
    return Leg(out, arrival, reached.way(arrival), hop, reached)


def _gone_on(world: World, done: Walk, reached: Segment, hop: Address, gateway: str) -> Leg | None:
    """The leg as it would be if what keeps the next hop from being reached were mended."""
    cause, onward = astray.unreached(world, done, reached, hop, gateway)
    done.causes.append(cause)
    if not isinstance(onward, astray.Meant):
        return onward
    if (onward.out.key, onward.gateway) == (reached.start.key, gateway):
        return None
    return _arrived(world, done, onward.out, onward.gateway)


def _owner(done: Walk, reached: Segment, hop: Address) -> Port | None:
    """Who answers for an address on a segment: the receiver if it may be, else another."""
    others = [port for port in reached.ports.values() if port is not reached.start]
    owners = [
        port
        for port in others
        if any(ifname == port.ifname and a.ip == hop for ifname, a, _ in port.node.addresses)
    ]
    owners.sort(key=lambda port: port.node is not done.receiver)
    if owners:
        return owners[0]
    if not reached.start.link.arp:  # nobody is asked: whatever is at the other end takes it
        ends = [port for port in others if port.link.kind == reached.start.link.kind]
        return next((port for port in ends if _takes_on(done, port)), None)
    # A node answers for what it has at another of its interfaces, too (the weak host model). Where
    # that is a bridge, of which the cable's end is no port, it is not meant to.
    elsewhere = (
        port
        for port in others
        if not port.link.master
        and any(
            address.ip == hop and not (port.is_loose and port.node.links[ifname].kind == "bridge")
            for ifname, address, _ in port.node.addresses
        )
        and port.node.setting(f"net/ipv4/conf/{port.ifname}/arp_ignore") == "0"
    )
    proxies = (port for port in others if port.node.has_set("proxy_arp", port.ifname))
    return next(elsewhere, None) or next(proxies, None)


def _takes_on(done: Walk, port: Port) -> bool:
    """Whether the node of a tunnel's end is the receiver, or would send the packet further."""
    if port.node is done.receiver:
        return True
    onward = done.lookup(port.node, port.ifname)
    return not onward.refused and onward.ifname != port.ifname
