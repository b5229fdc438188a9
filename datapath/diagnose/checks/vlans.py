"""VLANs: the tag of a frame, put on and taken off by sub-interfaces and bridges that filter."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from datapath.diagnose import anew
from datapath.diagnose.causes import Cause
from datapath.diagnose.walk import Leg, Walk
from datapath.diagnose.world import Port, World
from datapath.kernel.net import bridge as bridges
from datapath.names import inside

_PVID: Final = 2  # BRIDGE_VLAN_INFO_ of linux/if_bridge.h
_UNTAGGED: Final = 4


def check(world: World, way: Walk) -> Iterator[Cause]:
    """vlan-mismatch: the first on each leg."""
    for leg in way.legs:
        found = next(_along(world, leg), None)
        if found:
            yield found


def _along(world: World, leg: Leg) -> Iterator[Cause]:
    tag = 0  # that the frame carries, 0: none
    last = leg.out  # that put it on
    for at, port in enumerate(leg.way):
        before = leg.way[at - 1] if at else None
        after = leg.way[at + 1] if at + 1 < len(leg.way) else None
        if port.link.kind == "vlan":
            if before and _stands_on(world, port, before):
                if tag != port.link.vlan:
                    yield _of_another(world, last, before, port, tag)
                tag = 0
            elif after and _stands_on(world, port, after):
                tag, last = port.link.vlan, port
        elif before and after and _are_ports(port, before, after) and _filters(port):
            enters, leaves = (
                each.node.run(partial(bridges.vlans, each.ifname)) for each in (before, after)
            )
            vlan = tag or next((vid for vid, flags in enters.items() if flags & _PVID), 0)
            if not vlan or vlan not in enters:
                what = f"frames of VLAN {tag}" if tag else "untagged frames"
                words = ("vid", tag) if tag else ("vid", 1, "pvid", "untagged")
                yield _of_port(before, f"{before.where} takes no {what} at {port.ifname}", words)
            if vlan not in leaves:
                said = f"{before.where} puts frames in VLAN {vlan}, of which {after.where} is"
                yield _of_port(after, f"{said} no member", ("vid", vlan, "pvid", "untagged"))
            tag, last = (0 if leaves.get(vlan, 0) & _UNTAGGED else vlan), after
    if tag:
        said = f"{last.where} sends VLAN {tag} tagged, and {leg.arrival.where} knows no VLANs"
        if last.link.kind == "vlan":
            yield Cause("vlan-mismatch", last.where, said, f"give {leg.arrival.where} VLAN {tag}")
        else:
            yield _of_port(last, said, ("vid", tag, "pvid", "untagged"))


def _of_another(world: World, last: Port, below: Port, port: Port, tag: int) -> Cause:
    """For a sub-interface that is not for the tag that comes: which of two ends is wrong."""
    if last.link.kind == "vlan":
        # Both ways find the two; the one that is named after its VLAN is taken for right.
        right, wrong = sorted((last, port), key=lambda end: (not _is_named_after(end), end.where))
        return Cause(
            "vlan-mismatch",
            wrong.where,
            f"{wrong.where} is for VLAN {wrong.link.vlan}, but {right.where}, which it is to speak "
            f"to, for VLAN {right.link.vlan}",
            anew.vlan(world, wrong, right.link.vlan),
        )
    vid = port.link.vlan
    said = f"with the tag of VLAN {tag}" if tag else "without a tag"
    return Cause(
        "vlan-mismatch",
        port.where,
        f"frames arrive {said} at {below.where}, but {port.where} is for VLAN {vid}",
        anew.vlan(world, port, tag) if tag else f"put {last.where} in VLAN {vid}",
    )


def _are_ports(bridge: Port, *ports: Port) -> bool:
    """Of this bridge: one that is to become one has no VLANs yet."""
    return bridge.link.kind == "bridge" and all(
        port.node is bridge.node and port.link.master == bridge.link.ifindex for port in ports
    )


def _is_named_after(port: Port) -> bool:
    return port.ifname.endswith(str(port.link.vlan))


def _stands_on(world: World, port: Port, other: Port) -> bool:
    parent = world.parent(port)
    return bool(parent and parent.key == other.key)


def _filters(bridge: Port) -> bool:
    return bridge.node.run(partial(bridges.filters_vlans, bridge.ifname))


def _of_port(port: Port, sentence: str, words: tuple[object, ...]) -> Cause:
    remedy = inside(port.node.netns, "bridge", "vlan", "add", "dev", port.ifname, *words)
    return Cause("vlan-mismatch", port.where, sentence, remedy)
