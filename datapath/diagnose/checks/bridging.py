"""Bridges on the way: their ports forward, are not isolated, and entries lead to the right one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from datapath.diagnose.causes import Cause, inside
from datapath.diagnose.walk import Leg, Walk
from datapath.diagnose.world import Port, World
from datapath.kernel.net import bridge as bridges
from datapath.kernel.net import state

_PVID, _UNTAGGED = 2, 4  # BRIDGE_VLAN_INFO_ of linux/if_bridge.h


def check(world: World, way: Walk) -> Iterator[Cause]:
    """port-not-forwarding, ports-isolated, wrong-fdb-entry, vlan-mismatch."""
    for leg in way.legs:
        yield from _vlans(leg)
        for before, bridge, after in zip(leg.way, leg.way[1:], leg.way[2:], strict=False):
            if bridge.link.kind == "bridge":
                yield from _ports(bridge, before, after)
                yield from _entries(leg, bridge, after)


def _ports(bridge: Port, before: Port, after: Port) -> Iterator[Cause]:
    for port in (before, after):
        link = port.link
        # One that is not operational is disabled: it is down, which is said elsewhere, or it has a
        # carrier since so short a time that the kernel has not opened it yet.
        if (
            link.port_state not in ("", "forwarding")
            and link.operstate in ("up", "unknown")
            and bridge.link.up
        ):
            yield Cause(
                "port-not-forwarding",
                port.where,
                f"{port.where} is in state {link.port_state} at {bridge.ifname}, "
                "which forwards nothing there",
                inside(port.node.netns, "bridge", "link", "set", "dev", port.ifname, "state", 3),
            )
    if before.link.isolated and after.link.isolated:
        yield Cause(
            "ports-isolated",
            bridge.where,
            f"{before.ifname} and {after.ifname} are both isolated at {bridge.ifname}, "
            "and isolated ports reach none of their kind",
            inside(
                after.node.netns, "bridge", "link", "set", "dev", after.ifname, "isolated", "off"
            ),
        )


def _entries(leg: Leg, bridge: Port, after: Port) -> Iterator[Cause]:
    mac = leg.arrival.link.mac
    for row in bridge.node.run(state.fdb):
        pinned = row.state == "static" or (row.state == "local" and row.port != bridge.ifname)
        if row.bridge == bridge.ifname and row.mac == mac and pinned and row.port != after.ifname:
            yield Cause(
                "wrong-fdb-entry",
                bridge.where,
                f"{bridge.ifname} has {mac} of {leg.arrival.where} pinned to {row.port}, "
                f"but it is behind {after.ifname}",
                inside(bridge.node.netns, "bridge", "fdb", "del", mac, "dev", row.port, "master"),
            )


def _vlans(leg: Leg) -> Iterator[Cause]:
    """A frame goes untagged into its first port, and is in one VLAN from there to its last."""
    tag = 0  # that it carries between two bridges, 0: none
    last = leg.out
    for before, bridge, after in zip(leg.way, leg.way[1:], leg.way[2:], strict=False):
        if bridge.link.kind != "bridge" or not bridge.node.run(
            partial(bridges.filters_vlans, bridge.ifname)
        ):
            continue
        enters, leaves = (
            port.node.run(partial(bridges.vlans, port.ifname)) for port in (before, after)
        )
        vlan = tag or next((vid for vid, flags in enters.items() if flags & _PVID), 0)
        if not vlan or vlan not in enters:
            what = f"frames of VLAN {tag}" if tag else "untagged frames"
            words = ("vid", tag) if tag else ("vid", 1, "pvid", "untagged")
            yield _mismatch(before, f"{before.where} takes no {what} at {bridge.ifname}", words)
            return
        if vlan not in leaves:
            said = f"{before.where} puts frames in VLAN {vlan}, of which {after.where} is no member"
            yield _mismatch(after, said, ("vid", vlan, "pvid", "untagged"))
            return
        tag, last = (0 if leaves[vlan] & _UNTAGGED else vlan), after
    if tag:
        said = f"{last.where} sends VLAN {tag} tagged, and {leg.arrival.where} knows no VLANs"
        yield _mismatch(last, said, ("vid", tag, "pvid", "untagged"))


def _mismatch(port: Port, sentence: str, words: tuple[object, ...]) -> Cause:
    remedy = inside(port.node.netns, "bridge", "vlan", "add", "dev", port.ifname, *words)
    return Cause("vlan-mismatch", port.where, sentence, remedy)
