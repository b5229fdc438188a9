"""Why a way ends before the receiver, and where it was meant to go on.

No route or one that refuses, a gateway that is nobody, a cable that leads elsewhere, a router that
does not answer for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from datapath.diagnose import joining
from datapath.diagnose.causes import Cause, see
from datapath.diagnose.segment import Segment, segment
from datapath.diagnose.walk import Address, Leg, Walk
from datapath.diagnose.world import Interface, Node, Port, World
from datapath.names import inside


@dataclass(frozen=True, slots=True)
class Meant:
    """How a node should send packets: the interface, and the router behind it, "" for none."""

    out: Port
    gateway: str


def meant(world: World, done: Walk, node: Node) -> Meant | None:
    """The interface on whose segment the target is; else a router that knows the way.

    Else the interface on whose subnet it is: the cable behind it may lead elsewhere.
    """
    target = _ports_of(done)
    # What is a port of a bridge sends nothing of the node itself.
    names = [name for name, row in node.links.items() if name != "lo" and not row.master]
    segments = [segment(world, Port(node, name)) for name in names]
    for reached in segments:
        if target & reached.ports.keys():
            return Meant(reached.start, "")
    for reached in segments:
        if gateway := next(_gateways(world, done, reached), None):
            return Meant(reached.start, str(gateway))
    networks = [a.network for _, a, _ in done.receiver.addresses if a.ip == done.target]
    for ifname, address, _ in node.addresses:
        near = done.target in address.network or any(address.ip in each for each in networks)
        if near and address.ip != done.target and ifname != "lo":
            return Meant(Port(node, ifname), "")
    return None


def _gateways(world: World, done: Walk, reached: Segment) -> Iterator[Address]:
    """Addresses of routers to the target, on subnets that the start of a segment is on, too.

    Those that know the way first, then those that only need to be told: the target is behind them.
    """
    start = reached.start
    networks = [
        address.network
        for ifname, address, _ in start.node.addresses
        if ifname == start.ifname and address.version == done.target.version
    ]
    found: list[tuple[bool, Address]] = []
    for port in reached.ports.values():
        if port.node is start.node:
            continue
        for ifname, address, _ in port.node.addresses:
            if ifname == port.ifname and any(address.ip in network for network in networks):
                if _forwards(done, port):
                    found.append((False, address.ip))
                elif port.node is done.receiver or _is_before(world, done, port):
                    found.append((True, address.ip))
    yield from (address for _, address in sorted(found, key=lambda each: each[0]))


def _forwards(done: Walk, port: Port) -> bool:
    """Whether a node sends what comes in by an interface on to the target, by another."""
    family = f"ipv{done.target.version}"
    onward = done.lookup(port.node, port.ifname)
    return (
        port.node.setting(f"net/{family}/conf/{port.ifname}/forwarding") == "1"
        and not (onward.refused or onward.local)
        and onward.ifname != port.ifname
    )


def _is_before(world: World, done: Walk, port: Port) -> bool:
    """Whether the target is on a segment of another interface of a node."""
    others = (Port(port.node, name) for name in port.node.links if name not in ("lo", port.ifname))
    target = _ports_of(done)
    return any(target & segment(world, other).ports.keys() for other in others)


def _ports_of(done: Walk) -> set[tuple[int, str]]:
    return {
        (done.receiver.netns.inode, ifname)
        for ifname, address, _ in done.receiver.addresses
        if address.ip == done.target
    }


def refused(
    world: World, done: Walk, node: Node, refusal: str, way_out: Meant | None
) -> list[Cause]:
    """Why a node has no way to the target; nothing where its interface being down explains it."""
    target = done.target
    own = [(i, a) for i, a, _ in node.addresses if a.version == target.version]
    if not refusal:
        ifname, address = next((i, a) for i, a in own if a.ip == target)
        if not way_out and node is not done.sender:
            return [joining.to_another(done, Port(node, ifname))]
        return [
            Cause(
                "duplicate-address",
                node.name,
                f"{target} is an address of {node.name} itself, so that nothing for it leaves",
                inside(node.netns, "ip", "addr", "del", address, "dev", ifname),
            )
        ]
    if refusal != "no route":
        return [_refusing(node, refusal, target)]
    if any(not node.links[i].up and target in a.network for i, a in own):
        return []
    if not own:
        return []  # said by the check of addresses
    theirs = next((a for _, a, _ in done.receiver.addresses if a.ip == target), None)
    if way_out and not way_out.gateway and theirs:
        port = way_out.out
        near = next((a for i, a in own if i == port.ifname and a.ip in theirs.network), None)
        if near and target not in near.network:
            return [
                Cause(
                    "wrong-prefix-length",
                    port.where,
                    f"{near} of {port.where} does not cover {target}, which is on the same segment",
                    inside(
                        node.netns,
                        *("ip", "addr", "change", f"{near.ip}/{theirs.network.prefixlen}"),
                        *("dev", port.ifname),
                    ),
                )
            ]
    return [
        Cause(
            "no-route",
            node.name,
            f"{node.name} has no route to {target}",
            inside(node.netns, "ip", "route", "add", *_route(target, theirs, way_out)),
        )
    ]


def _refusing(node: Node, refusal: str, target: Address) -> Cause:
    rows = [r for r in node.routes if r.type == refusal and target in ip_network(r.destination)]
    if not rows:
        return Cause(
            "refusing-route",
            node.name,
            f"{node.name} has a rule of type {refusal} for {target} (`ip rule`)",
            see(inside(node.netns, "ip", f"-{target.version}", "rule", "show")),
        )
    row = max(rows, key=lambda row: ip_network(row.destination).prefixlen)
    table = ("table", row.table) if row.table != "main" else ()
    return Cause(
        "refusing-route",
        node.name,
        f"{node.name} has a route of type {refusal} for {row.destination}",
        inside(node.netns, "ip", "route", "del", refusal, row.destination, *table),
    )


def _route(target: Address, theirs: Interface | None, way_out: Meant | None) -> tuple[str, ...]:
    """The words of a route to the target: by a router to its whole subnet."""
    if way_out is None:
        return (str(target), "via", "GATEWAY")
    if not way_out.gateway:
        own = (a for i, a, _ in way_out.out.node.addresses if i == way_out.out.ifname)
        near = next((str(a.network) for a in own if target in a.network), str(target))
        return (near, "dev", way_out.out.ifname)
    return (str(theirs.network if theirs else target), "via", way_out.gateway)


def _by(way_out: Meant) -> tuple[str, str]:
    """The words of a route that say by which way."""
    return ("via", way_out.gateway) if way_out.gateway else ("dev", way_out.out.ifname)


def unreached(
    world: World, done: Walk, reached: Segment, hop: Address, gateway: str
) -> tuple[Cause, Meant | Leg | None]:
    """Why the next hop is on no segment that the interface leads to, and how to go on."""
    out = reached.start
    node, elsewhere = out.node, meant(world, done, out.node)
    if gateway:
        if unjoined := joining.to_gateway(world, reached, hop):
            return unjoined.cause, unjoined.leg
        by = (row for row in node.routes if (row.gateway, row.ifname) == (gateway, out.ifname))
        row = next(by, None)
        remedy = see(inside(node.netns, "ip", "route", "show", "via", hop))
        if elsewhere and (row or not elsewhere.gateway):
            covered = row.destination if row and elsewhere.gateway else done.target
            remedy = inside(node.netns, "ip", "route", "replace", covered, *_by(elsewhere))
        return Cause(
            "gateway-unreachable",
            out.where,
            f"the gateway {hop} of {node.name} is nobody's address behind {out.ifname}",
            remedy,
        ), elsewhere
    other = elsewhere.out if elsewhere and not elsewhere.gateway else out
    if other != out and not (out.link.kind == "bridge" and other.is_loose):
        right = other.ifname
        return Cause(
            "wrong-device",
            out.where,
            f"{node.name} sends packets to {done.target} out of {out.ifname}, "
            f"but {done.receiver.name} is behind {right}",
            inside(node.netns, "ip", "route", "replace", done.target, "dev", right),
        ), elsewhere
    unjoined = joining.gap(world, done, reached, hop)
    return unjoined.cause, unjoined.leg


def silent_proxy(done: Walk, reached: Segment, hop: Address) -> tuple[Port, Cause] | None:
    """A router that should answer ARP for others (proxy_arp) and was not told to.

    It is one that has no address of its own on the segment, and a route to the target.
    """
    start = reached.start
    for port in reached.ports.values():
        node = port.node
        if hop.version != 4 or node is start.node or port.link.master:
            continue
        addressed = any(i == port.ifname for i, a, _ in node.addresses if a.version == 4)
        onward = done.lookup(node, port.ifname)
        if addressed or onward.refused or onward.ifname == port.ifname or onward.local:
            continue
        if port.is_loose and any(
            hop in a.network for i, a, _ in node.addresses if node.links[i].kind == "bridge"
        ):
            continue  # it is to be a port of that bridge
        setting = f"net.ipv4.conf.{port.ifname}.proxy_arp"
        cause = Cause(
            "proxy-arp-off",
            port.where,
            f"{node.name} has the route to {done.target}, but does not answer ARP for {hop}, whom "
            f"{start.node.name} asks for: {setting} is 0",
            inside(node.netns, "sysctl", "-w", f"{setting}=1"),
        )
        return port, cause
    return None


def loop(world: World, done: Walk) -> tuple[Cause, Meant | None]:
    """For packets that come back: which router turns them round, and how it should send them."""
    sentence = f"packets to {done.target} go from router to router without arriving"
    for leg in done.legs:
        node, way_out = leg.out.node, meant(world, done, leg.out.node)
        if way_out and not way_out.gateway:
            right = way_out.out.ifname
            cause = Cause(
                "routing-loop",
                node.name,
                f"{sentence}: {node.name} sends them to {leg.hop}, but {done.receiver.name} is "
                f"behind its {right}",
                inside(node.netns, "ip", "route", "replace", done.target, "dev", right),
            )
            return cause, way_out
    node = done.legs[-1].out.node
    shown = see(inside(node.netns, "ip", "route", "get", done.target))
    return Cause("routing-loop", node.name, sentence, shown), None
