"""Bridges on the way: their ports forward, are not isolated, and entries lead to the right one."""

from __future__ import annotations

from collections.abc import Iterator

from datapath.diagnose.causes import Cause
from datapath.diagnose.walk import Leg, Walk
from datapath.diagnose.world import Port, World
from datapath.names import inside


def check(world: World, way: Walk) -> Iterator[Cause]:
    """port-not-forwarding, ports-isolated, wrong-fdb-entry."""
    for leg in way.legs:
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
            and link.master == bridge.link.ifindex
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
    for row in bridge.node.fdb:
        pinned = row.state == "static" or (row.state == "local" and row.port != bridge.ifname)
        if row.bridge == bridge.ifname and row.mac == mac and pinned and row.port != after.ifname:
            yield Cause(
                "wrong-fdb-entry",
                bridge.where,
                f"{bridge.ifname} has {mac} of {leg.arrival.where} pinned to {row.port}, "
                f"but it is behind {after.ifname}",
                inside(bridge.node.netns, "bridge", "fdb", "del", mac, "dev", row.port, "master"),
            )
