"""Two interfaces with nothing between them: where the cables end, and the way if joined."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

from datapath.diagnose.causes import Cause, see
from datapath.diagnose.segment import Segment, segment
from datapath.diagnose.walk import Address, Leg, Walk
from datapath.diagnose.world import PAIRS, Node, Port, World
from datapath.names import HOST, inside

_LOOSE: Final = "a port of no bridge, and no eBPF program is there"


@dataclass(frozen=True, slots=True)
class Gap:
    """Why one interface leads to no other; and the leg between them, were it mended."""

    cause: Cause
    leg: Leg | None


def gap(world: World, done: Walk, reached: Segment, hop: Address) -> Gap:
    """For a target that should be on the segment of an interface."""
    out, wanted = reached.start, _of(done, hop)
    base = _base(world, out)
    near = world.peer(base)
    if near is None and base.link.kind in PAIRS:
        cause = Cause(
            "no-peer",
            base.where,
            f"{base.where} leads nowhere: the other end of it is in no namespace that is known",
            see(inside(base.node.netns, "ip", "-d", "link", "show", base.ifname)),
        )
        return Gap(cause, None)
    near = near or base
    far = world.peer(_base(world, wanted)) if wanted else None
    own, bridge = _bridge(world, near), _bridge(world, far or wanted)
    names = (out.node.name, done.receiver.name)
    if out.node is done.sender and not {*names} & {HOST}:
        remedy = shlex.join(["ebpfnet", "attach", *names])
    else:
        remedy = see(shlex.join(["ebpfnet", "show", "links", out.node.name]))
    if bridge and bridge.node is near.node and near != own:
        remedy = _into(near, bridge)
    elif far and own and far.node is own.node:
        remedy = _into(far, own)
    cause = Cause(
        "not-joined",
        " and ".join(sorted(names)),
        f"nothing joins {names[0]} to {names[1]}: {_placed(near, own)}"
        + _at(done.receiver, far or wanted, bridge),
        remedy,
    )
    if wanted is None:
        return Gap(cause, None)
    between = [port for port in (out, base, near, bridge or own, far, wanted) if port]
    return Gap(cause, _leg(world, reached, list(dict.fromkeys(between)), hop))


def _base(world: World, port: Port) -> Port:
    """What an interface stands on in the end: itself, where that is nothing."""
    below = world.parent(port)
    return _base(world, below) if below else port


def _bridge(world: World, port: Port | None) -> Port | None:
    """The one that an interface is a port of, or is."""
    if port is None:
        return None
    return port if port.link.kind == "bridge" else world.bridge(port)


def _placed(port: Port, bridge: Port | None) -> str:
    if bridge is None:
        return f"{port.where} is {_LOOSE}"
    if port == bridge:
        return f"{port.where} has no port that leads there"
    return f"{port.where} is a port of {bridge.ifname}"


def _at(node: Node, port: Port | None, bridge: Port | None) -> str:
    """Where a node's cable ends, for the end of a sentence."""
    if port is None:
        return ""
    joined = f", a port of {bridge.ifname}" if bridge and bridge != port else ""
    return f"; {node.name} is at {port.where}{joined}"


def to_gateway(world: World, reached: Segment, hop: Address) -> Gap | None:
    """For a gateway that has its address at a bridge, of which the cable's end is no port."""
    out = reached.start
    near = world.peer(out)
    if near is None or near.key in world.endpoints:
        return None
    for ifname, address, _ in near.node.addresses:
        bridge = Port(near.node, ifname)
        if address.ip == hop and bridge.link.kind == "bridge":
            own = world.bridge(near)
            cause = Cause(
                "not-joined",
                near.where,
                f"nothing joins {out.node.name} to its gateway {hop}: {_placed(near, own)}; "
                f"{hop} is at {bridge.where}",
                _into(near, bridge),
            )
            return Gap(cause, _leg(world, reached, [out, near, bridge], hop))
    return None


def to_another(done: Walk, there: Port) -> Cause:
    """For a target that is another's address as well, and that one alone is joined to."""
    sender, receiver = done.sender.name, done.receiver.name
    return Cause(
        "not-joined",
        " and ".join(sorted((sender, receiver))),
        f"nothing joins {sender} to {receiver}: {done.target}, as {sender} sees it, is "
        f"{there.where}",
        see(shlex.join(["ebpfnet", "diagnose", sender, there.node.name])),
    )


def _of(done: Walk, target: Address) -> Port | None:
    """The receiver's interface that has the target's address."""
    if target != done.target:
        return None
    own = (ifname for ifname, address, _ in done.receiver.addresses if address.ip == target)
    return next((Port(done.receiver, ifname) for ifname in own), None)


def _into(port: Port, bridge: Port) -> str:
    return inside(port.node.netns, "ip", "link", "set", port.ifname, "master", bridge.ifname)


def _leg(world: World, reached: Segment, way: list[Port], hop: Address) -> Leg:
    there = segment(world, way[-1])
    joined = Segment(reached.start, there.before | reached.before, {**there.ports, **reached.ports})
    return Leg(reached.start, way[-1], way, hop, joined)
