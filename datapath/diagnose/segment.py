"""Layer 2: which interfaces a frame could reach from another, if everything on the way were well.

Veth pairs, bridges, macvlans on one parent, and the kit's own networks join interfaces. What is
down, filtered or blocked on the way is for the checks to find: a segment is what somebody meant to
build.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from datapath.diagnose.world import Port, World
from datapath.records import Otherwise


@dataclass(frozen=True, slots=True)
class Segment:
    """Everything that a frame could reach from `start`, and the way there."""

    start: Port
    before: dict[tuple[int, str], Port | None]  # by key: the port that leads to it
    ports: dict[tuple[int, str], Port]

    def way(self, to: Port) -> list[Port]:
        """The interfaces from the start to `to`, both included; empty where it is not reached."""
        found: list[Port] = []
        at: Port | None = self.ports.get(to.key)
        while at is not None:
            found.append(at)
            at = self.before[at.key]
        return found[::-1]


def segment(world: World, start: Port) -> Segment:
    """Breadth first, so that the way is the shortest."""
    before: dict[tuple[int, str], Port | None] = {start.key: None}
    ports = {start.key: start}
    waiting = deque([start])
    while waiting:
        at = waiting.popleft()
        for following in _joined(world, at):
            if following.key not in before:
                before[following.key] = at
                ports[following.key] = following
                waiting.append(following)
    return Segment(start, before, ports)


def _joined(world: World, at: Port) -> Iterator[Port]:
    link = at.link
    peer = world.peer(at)
    if peer:
        yield peer
    if at.key in world.endpoints:
        network, _ = world.endpoints[at.key]
        yield from (
            Port(at.node, endpoint.host_ifname)
            for other, endpoint in world.endpoints.values()
            if other is network and endpoint.host_ifname in at.node.links
        )
    if link.master and (bridge := at.node.by_index.get(link.master)) and _bridged(world, at):
        yield Port(at.node, bridge.ifname)
    if link.kind == "bridge":
        yield from (
            Port(at.node, row.ifname)
            for row in at.node.links.values()
            if row.master == link.ifindex and _bridged(world, Port(at.node, row.ifname))
        )
    yield from _macvlans(world, at)


def _bridged(world: World, port: Port) -> bool:
    """Whether a bridge sees what its port is sent: all, or what the kit's program leaves to it."""
    network, _ = world.endpoints.get(port.key, (None, None))
    return not network or network.otherwise is Otherwise.KERNEL


def _macvlans(world: World, at: Port) -> Iterator[Port]:
    """A macvlan leads to its parent, a parent to its macvlans."""
    if parent := world.parent(at):
        yield parent
    for macvlan in world.macvlans:
        on = world.parent(macvlan)
        if on and on.key == at.key:
            yield macvlan
