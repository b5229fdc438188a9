"""Why a way ends before the receiver, and where it was meant to go on.

No route or one that refuses, a gateway that is nobody, a cable that leads elsewhere, a router that
does not answer for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from datapath.diagnose.causes import Cause
from datapath.diagnose.segment import Segment, segment
from datapath.diagnose.walk import Address, Walk
from datapath.diagnose.world import Interface, Node, Port, World
from datapath.names import inside


@dataclass(frozen=True, slots=True)
class Meant:
    """How a node should send packets: the interface, and the router behind it, "" for none."""

    out: Port
    gateway: str


def meant(world: World, done: Walk, node: Node) -> Meant | None:
    """The interface on whose segment the target is; else a router that knows the way."""
    target = {
        (done.receiver.netns.inode, ifname)
        for ifname, address, _ in done.receiver.addresses
        if address.ip == done.target
    }
    segments = [segment(world, Port(node, name)) for name in node.links if name != "lo"]
    for reached in segments:
        if target & reached.ports.keys():
            return Meant(reached.start, "")
    for reached in segments:
        if gateway := next(_gateways(done, reached), None):
            return Meant(reached.start, str(gateway))
    return None


def _gateways(done: Walk, reached: Segment) -> Iterator[Address]:
    """Addresses of routers to the target, on subnets that the start of a segment is on, too."""
    start = reached.start
    networks = [a.network for ifname, a, _ in start.node.addresses if ifname == start.ifname]
    for port in reached.ports.values():
        node = port.node
        family = f"ipv{done.target.version}"
        if node is start.node or node.setting(f"net/{family}/conf/{port.ifname}/forwarding") != "1":
            continue
        onward = node.lookup(str(done.target))
        if onward.refused or onward.local or onward.ifname == port.ifname:
            continue
        for ifname, address, _ in node.addresses:
            if ifname == port.ifname and any(address.ip in network for network in networks):
                yield address.ip


def refused(
    world: World, done: Walk, node: Node, refusal: str, way_out: Meant | None
) -> list[Cause]:
    """Why a node has no way to the target; nothing where its interface being down explains it."""
    target = done.target
    own = [(i, a) for i, a, _ in node.addresses if a.version == target.version]
    if not refusal:
        ifname, address = next((i, a) for i, a in own if a.ip == target)
        return [
            Cause(
                "duplicate-address",
                node.name,
                f"{target} is an address of {node.name} itself, so that nothing for it leaves",
                inside(node.netns, "ip", "addr", "del", address, "dev", ifname),
            )
        ]
    if refusal != "no route":
        rows = [r for r in node.routes if r.type == refusal and target in ip_network(r.destination)]
        shown = rows[0].destination if rows else f"{target}"
        return [
            Cause(
                "refusing-route",
                node.name,
                f"{node.name} has a route of type {refusal} for {shown}",
                inside(node.netns, "ip", "route", "del", refusal, shown),
            )
        ]
    if any(not node.links[i].up and target in a.network for i, a in own):
        return []
    if not own:
        return []  # said by the check of addresses
    theirs = next((a for _, a, _ in done.receiver.addresses if a.ip == target), None)
    if way_out and not way_out.gateway and theirs:
        port = way_out.out
        near = next((a for i, a in own if i == port.ifname and a.ip in theirs.network), None)
        if near:
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


def _route(target: Address, theirs: Interface | None, way_out: Meant | None) -> tuple[str, ...]:
    """The words of a route to the target: by a router to its whole subnet."""
    if way_out is None:
        return (str(target), "via", "GATEWAY")
    if not way_out.gateway:
        return (str(target), "dev", way_out.out.ifname)
    return (str(theirs.network if theirs else target), "via", way_out.gateway)


def unreached(world: World, done: Walk, out: Port, hop: Address, gateway: str) -> list[Cause]:
    """Why the next hop is on no segment that the interface leads to."""
    node, elsewhere = out.node, meant(world, done, out.node)
    if gateway:
        by = (row for row in node.routes if (row.gateway, row.ifname) == (gateway, out.ifname))
        row, better = next(by, None), elsewhere.gateway if elsewhere else ""
        return [
            Cause(
                "gateway-unreachable",
                out.where,
                f"the gateway {hop} of {node.name} is nobody's address behind {out.ifname}",
                inside(node.netns, "ip", "route", "replace", row.destination, "via", better)
                if row and better
                else inside(node.netns, "ip", "route", "show", "via", hop),
            )
        ]
    if elsewhere and not elsewhere.gateway and elsewhere.out.ifname != out.ifname:
        right = elsewhere.out.ifname
        return [
            Cause(
                "wrong-device",
                out.where,
                f"{node.name} sends packets to {done.target} out of {out.ifname}, "
                f"but {done.receiver.name} is behind {right}",
                inside(node.netns, "ip", "route", "replace", done.target, "dev", right),
            )
        ]
    return [_not_joined(world, done, out)]


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
        onward = node.lookup(str(done.target))
        if addressed or onward.refused or onward.ifname == port.ifname or onward.local:
            continue
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
    shown = inside(node.netns, "ip", "route", "get", done.target)
    return Cause("routing-loop", node.name, sentence, shown), None


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
    own = near.node.by_index.get(near.link.master)
    remedy = f"ebpfnet attach {done.sender.name} {done.receiver.name}"
    if far and far.node is near.node and (bridge or own):
        port, wanted = (near, bridge) if bridge else (far, own)
        master = wanted.ifname if wanted else ""
        remedy = inside(port.node.netns, "ip", "link", "set", port.ifname, "master", master)
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
