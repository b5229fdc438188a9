"""Layer 2: which interfaces a frame could reach from another, if everything on the way were well.

Veth pairs, bridges, interfaces on one parent, tunnels and the kit's own networks join interfaces.
What is down, filtered or blocked on the way is for the checks to find: a segment is what somebody
meant to build.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from datapath.diagnose import overlay
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


def segment(world: World, start: Port, *, tunnels: bool = True) -> Segment:
    """Breadth first, so that the way is the shortest; without `tunnels` by cables alone."""
    before: dict[tuple[int, str], Port | None] = {start.key: None}
    ports = {start.key: start}
    waiting = deque([start])
    joined: set[str] = set()  # networks of the kit whose endpoints are in already
    while waiting:
        at = waiting.popleft()
        through = _far_ends(world, at) if tunnels else ()
        for following in (*_joined(world, at, joined), *through):
            if following.key not in before:
                before[following.key] = at
                ports[following.key] = following
                waiting.append(following)
    return Segment(start, before, ports)


def _joined(world: World, at: Port, joined: set[str]) -> Iterator[Port]:
    link = at.link
    peer = world.peer(at)
    if peer:
        yield peer
    network, _ = world.endpoints.get(at.key, (None, None))
    if network and network.name not in joined:
        joined.add(network.name)
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
    if parent := world.parent(at):
        yield parent
    yield from world.stacked(at)


def _far_ends(world: World, near: Port) -> list[Port]:
    """Other ends of a tunnel: those whose machines are on one segment with its own, else any.

    Namespaces that have nothing to do with each other may have the same addresses.
    """
    ends = list(overlay.ends(world, near))
    if len({end.node for end in ends}) > 1:
        cabled = {
            inode
            for name in near.node.links
            if name != near.ifname
            for inode, _ in segment(world, Port(near.node, name), tunnels=False).ports
        }
        ends = [end for end in ends if end.node.netns.inode in cabled] or ends
    return ends


def _bridged(world: World, port: Port) -> bool:
    """Whether a bridge sees what its port is sent: all, or what the kit's program leaves to it."""
    network, _ = world.endpoints.get(port.key, (None, None))
    return not network or network.otherwise is Otherwise.KERNEL
