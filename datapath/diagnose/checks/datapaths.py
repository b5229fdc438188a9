"""The kit's own networks on the way: maps, programs and offloads are as they have to be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from datapath import modes
from datapath.diagnose.causes import Cause
from datapath.diagnose.walk import Walk
from datapath.diagnose.world import World
from datapath.kernel.net import ethtool
from datapath.names import inside


def check(world: World, way: Walk) -> Iterator[Cause]:
    """datapath-entry, xdp-offload."""
    passed = {port.key for leg in way.legs for port in leg.way} & world.endpoints.keys()
    for network in world.networks:
        if not any(world.endpoints[key][0] is network for key in passed):
            continue
        for finding in world.findings(network):
            yield Cause(
                "datapath-entry",
                f"network {network.name}, {finding.map} {finding.key}",
                f"network {network.name}: {finding.map} {finding.key}: {finding.problem}",
                finding.remedy,
            )
        wanted = modes.by_id(network.mode).offloads
        for port in (leg_port for leg in way.legs for leg_port in (leg.out, leg.arrival)):
            peer = world.peer(port)
            if not wanted or peer is None or peer.key not in passed:
                continue
            there = port.node.run(partial(ethtool.get_features, port.ifname, wanted))
            for name, value in wanted.items():
                if there.get(name, value) != value:
                    yield Cause(
                        "xdp-offload",
                        port.where,
                        f"{port.where} has {name} {'off' if value else 'on'}, "
                        f"with which frames of mode {modes.by_id(network.mode).name} are lost",
                        inside(
                            port.node.netns, *ethtool.command(port.ifname, {name: value}).split()
                        ),
                    )
