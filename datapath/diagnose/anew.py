"""Commands that make an interface anew, where the kernel lets nobody change what is wrong of it."""

from __future__ import annotations

from datapath.diagnose.world import Port, World
from datapath.names import inside

_LEARNED = "learned"


def vxlan(port: Port, *, vni: int, dstport: int) -> str:
    """A VXLAN device as it is, but for its VNI and its UDP port."""
    tunnel = port.link.tunnel
    words: list[object] = ["type", "vxlan", "id", vni, "dstport", dstport]
    if tunnel:
        words += ["local", tunnel.local] if tunnel.local else []
        words += ["remote", tunnel.remote] if tunnel.remote else []
        words += [] if tunnel.learning else ["nolearning"]
    return _anew(port, words)


def vlan(world: World, port: Port, vid: int) -> str:
    """The sub-interface of a VLAN as it is, but for the VLAN."""
    parent = world.parent(port)
    link = ["link", parent.ifname] if parent else []
    return _anew(port, ["type", "vlan", "id", vid], link)


def _anew(port: Port, words: list[object], link: list[str] | None = None) -> str:
    """With its MAC, MTU, bridge, state, addresses, entries and routes."""
    node, name, row = port.node, port.ifname, port.link
    bridge = node.by_index.get(row.master)
    commands: list[tuple[object, ...]] = [
        ("ip", "link", "del", name),
        ("ip", "link", "add", *(link or ()), name, "address", row.mac, "mtu", row.mtu, *words),
        *([("ip", "link", "set", name, "master", bridge.ifname)] if bridge else []),
        *([("ip", "link", "set", name, "up")] if row.up else []),
        *(
            ("ip", "addr", "add", address, "dev", name)
            for ifname, address, _ in node.addresses
            if ifname == name and not address.is_link_local
        ),
        *(
            ("bridge", "fdb", "append", entry.mac, "dev", name, "dst", entry.destination)
            for entry in node.fdb
            if entry.port == name and entry.destination and entry.state != _LEARNED
        ),
        *(
            ("ip", "neigh", "add", near.address, "lladdr", near.mac, "dev", name)
            for near in node.neighbours
            if near.ifname == name and near.state == "permanent"
        ),
        *(
            ("ip", "route", "add", each.destination, "via", each.gateway, "dev", name, "onlink")
            for each in node.routes
            if each.ifname == name and each.gateway
        ),
    ]
    return " && ".join(inside(node.netns, *command) for command in commands)
