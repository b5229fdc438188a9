"""The way of a packet, as the kernels on it would choose it: route by route, segment by segment.

Where something stops it the walk says so and goes on as if it were mended, as far as what was meant
can be told: a second fault behind the first is found as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from datapath.diagnose.causes import Cause, inside
from datapath.diagnose.segment import Segment, segment
from datapath.diagnose.world import Interface, Node, Port, World

Address = IPv4Address | IPv6Address

_MOST_ROUTERS: Final = 16


@dataclass(frozen=True, slots=True)
class Leg:
    """From one node's interface to the next node's: `way` has every interface between them."""

    out: Port
    arrival: Port
    way: list[Port]
    hop: Address  # whom the sender of this leg asks the neighbour table for
    segment: Segment


@dataclass(slots=True)
class Walk:
    """One direction: from `sender`'s address to `receiver`'s."""

    sender: Node
    receiver: Node
    source: Address
    target: Address
    reply: bool = False  # whether it is the way of the answers
    legs: list[Leg] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)

    def routers(self) -> list[tuple[Port, Port]]:
        """The interfaces by which each node on the way takes the packet in and sends it on."""
        return [
            (before.arrival, after.out)
            for before, after in zip(self.legs, self.legs[1:], strict=False)
        ]


def walk(world: World, done: Walk) -> Walk:
    """Go as far as it leads; it is whole where the last leg arrives at the receiver."""
    node = done.sender
    if node is done.receiver:
        return done  # by lo
    for _ in range(_MOST_ROUTERS):
        leg = _leg(world, done, node)
        if leg is None:
            break
        done.legs.append(leg)
        if leg.arrival.node is done.receiver:
            break
        node = leg.arrival.node
    else:
        done.causes.append(
            Cause(
                "routing-loop",
                f"{node.name}",
                f"packets to {done.target} go from router to router without arriving",
                inside(node.netns, "ip", "route", "get", done.target),
            )
        )
    return done


def _leg(world: World, done: Walk, node: Node) -> Leg | None:
    lookup = node.lookup(str(done.target))
    ifname, gateway = lookup.ifname, lookup.gateway
    if lookup.refused or lookup.local:
        meant = _meant(world, done, node)
        done.causes += _refused(done, node, lookup.refused, meant)
        if meant is None:
            return None
        ifname, gateway = meant.ifname, ""
    out = Port(node, ifname)
    hop = ip_address(gateway) if gateway else done.target
    reached = segment(world, out)
    arrival = _owner(done, reached, hop)
    if arrival is None:
        done.causes += _unreached(world, done, out, hop, gateway)
        return None
    return Leg(out, arrival, reached.way(arrival), hop, reached)


def _owner(done: Walk, reached: Segment, hop: Address) -> Port | None:
    """Who answers for an address on a segment: the receiver if it may be, else another."""
    owners = [
        port
        for port in reached.ports.values()
        if port is not reached.start
        and any(ifname == port.ifname and a.ip == hop for ifname, a, _ in port.node.addresses)
    ]
    owners.sort(key=lambda port: port.node is not done.receiver)
    if owners:
        return owners[0]
    others = [port for port in reached.ports.values() if port is not reached.start]
    # A node answers for what it has at another of its interfaces, too (the weak host model).
    elsewhere = (
        port
        for port in others
        if not port.link.master
        and any(a.ip == hop for _, a, _ in port.node.addresses)
        and port.node.setting(f"net/ipv4/conf/{port.ifname}/arp_ignore") == "0"
    )
    proxies = (
        port
        for port in others
        if port.node.setting(f"net/ipv4/conf/{port.ifname}/proxy_arp") == "1"
    )
    return next(elsewhere, None) or next(proxies, None)


def _meant(world: World, done: Walk, node: Node) -> Port | None:
    """The interface that should lead to the target: on its segment, else the only one there is."""
    target = {
        port.key
        for ifname, address, _ in done.receiver.addresses
        if address.ip == done.target
        for port in (Port(done.receiver, ifname),)
    }
    ports = [Port(node, name) for name in node.links if name != "lo"]
    for port in ports:
        if target & segment(world, port).ports.keys():
            return port
    return None


def _own(node: Node, done: Walk) -> list[tuple[str, Interface]]:
    return [(i, a) for i, a, _ in node.addresses if a.version == done.target.version]


def _refused(done: Walk, node: Node, refused: str, meant: Port | None) -> list[Cause]:
    """Why a node has no way to the target; nothing where its interface being down explains it."""
    target, own = done.target, _own(node, done)
    if not refused:
        return [
            Cause(
                "duplicate-address",
                node.name,
                f"{target} is an address of {node.name} itself, so that nothing for it leaves",
                inside(node.netns, "ip", "addr", "show", "to", target),
            )
        ]
    if refused != "no route":
        row = next((r for r in node.routes if r.type == refused), None)
        shown = row.destination if row else f"{target}"
        return [
            Cause(
                "refusing-route",
                node.name,
                f"{node.name} has a route of type {refused} for {shown}",
                inside(node.netns, "ip", "route", "del", refused, shown),
            )
        ]
    if any(not node.links[i].up and target in a.network for i, a in own):
        return []
    if not own:
        return []  # said by the check of addresses
    if meant:
        near = [(i, a) for i, a in own if i == meant.ifname]
        if near:
            ifname, address = near[0]
            wide = next((a for _, a, _ in done.receiver.addresses if a.ip == target), None)
            length = wide.network.prefixlen if wide and address.ip in wide.network else None
            if length is not None:
                return [
                    Cause(
                        "wrong-prefix-length",
                        f"{ifname} in {node.name}",
                        f"{address} of {ifname} in {node.name} does not cover {target}, "
                        "which is on the same segment",
                        inside(
                            node.netns,
                            *("ip", "addr", "change", f"{address.ip}/{length}", "dev", ifname),
                        ),
                    )
                ]
    return [
        Cause(
            "no-route",
            node.name,
            f"{node.name} has no route to {target}",
            inside(
                node.netns,
                *(
                    "ip",
                    "route",
                    "add",
                    target,
                    *(("dev", meant.ifname) if meant else ("via", "GATEWAY")),
                ),
            ),
        )
    ]


def _unreached(world: World, done: Walk, out: Port, hop: Address, gateway: str) -> list[Cause]:
    """Why the next hop is on no segment that the interface leads to."""
    if gateway:
        return [
            Cause(
                "gateway-unreachable",
                out.where,
                f"the gateway {hop} of {out.node.name} is nobody's address behind {out.ifname}",
                inside(out.node.netns, "ip", "route", "show", "via", hop),
            )
        ]
    elsewhere = _meant(world, done, out.node)
    if elsewhere and elsewhere.ifname != out.ifname:
        return [
            Cause(
                "wrong-device",
                out.where,
                f"{out.node.name} sends packets to {done.target} out of {out.ifname}, "
                f"but {done.receiver.name} is behind {elsewhere.ifname}",
                inside(
                    out.node.netns, "ip", "route", "replace", done.target, "dev", elsewhere.ifname
                ),
            )
        ]
    return [_not_joined(world, done, out)]


def _not_joined(world: World, done: Walk, out: Port) -> Cause:
    """Two namespaces with nothing between them: where the cable ends, and where it should go."""
    near, far = world.peer(out), None
    for ifname, address, _ in done.receiver.addresses:
        if address.ip == done.target:
            far = world.peer(Port(done.receiver, ifname))
    if near is None:
        return Cause(
            "no-peer",
            out.where,
            f"{out.where} leads nowhere: the other end of it is in no namespace that is known",
            inside(out.node.netns, "ip", "-d", "link", "show", out.ifname),
        )
    bridge = far.node.by_index.get(far.link.master) if far else None
    remedy = f"ebpfnet attach {done.sender.name} {done.receiver.name}"
    if bridge and far and far.node is near.node:
        remedy = inside(near.node.netns, "ip", "link", "set", near.ifname, "master", bridge.ifname)
    own = near.node.by_index.get(near.link.master)
    state = (
        f"a port of {own.ifname}" if own else "a port of no bridge, and no eBPF program is there"
    )
    to = (
        f"; {done.receiver.name} is at {far.where}"
        + (f", a port of {bridge.ifname}" if bridge else "")
        if far
        else ""
    )
    return Cause(
        "not-joined",
        " and ".join(sorted((done.sender.name, done.receiver.name))),
        f"nothing joins {done.sender.name} to {done.receiver.name}: {near.where} is {state}{to}",
        remedy,
    )
