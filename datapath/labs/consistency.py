"""What the parts of a lab say of one another: names that exist, families that match, no loops.

The last thing that is checked before anything is built; see loader.py for what a field may be.
"""

from __future__ import annotations

from typing import Final

from datapath.labs.document import Fields, Item
from datapath.labs.kinds import KINDS
from datapath.labs.model import HOST, VETH, End, Interface, Lab, Node

_MIN_MTU_IPV6: Final = 1280  # RFC 8200


def check(lab: Lab, fields: Fields) -> None:
    """Raises InvalidInput that names file, line and field. `fields` are the document's own."""
    _check_links(lab, fields)
    if lab.ebpf:
        _check_ebpf(lab, lab.ebpf.nodes, fields["ebpf"])
    nodes = fields["nodes"].entries()
    for node in lab.nodes.values():
        items = Fields(nodes[node.name].entries())
        for name, item in items.value("interfaces", Item.entries, {}).items():
            _check_interface(lab, node, node.interfaces[name], item)
        _check_devices(node, items)
        if node.name != HOST:  # which has addresses and routes that no lab knows
            _check_routes(node, items)


def _check_links(lab: Lab, fields: Fields) -> None:
    seen: set[End] = set()
    for link, item in zip(lab.links, fields.value("links", Item.items, []), strict=True):
        for end in link.ends:
            if end.node not in lab.nodes:
                item.refuse(
                    f"there is no node {end.node}",
                    remedy=f"add it below nodes: (there are {', '.join(lab.nodes)})",
                )
            if lab.nodes[end.node].interfaces[end.ifname].kind != VETH:
                kind = lab.nodes[end.node].interfaces[end.ifname].kind
                item.refuse(f"{end} is a {kind}, not the end of a link")
            if end in seen:
                item.refuse(f"{end} is the end of another link already")
            seen.add(end)


def _check_ebpf(lab: Lab, nodes: tuple[str, ...], item: Item) -> None:
    for name in nodes:
        if name == HOST or name not in lab.nodes:
            item.refuse(f"there is no node {name} that could be joined by eBPF")
        there = [
            far.node
            for link in lab.links
            for near, far in (link.ends, link.ends[::-1])
            if near.node == name
        ]
        if len(there) != 1 or there[0] in nodes:
            item.refuse(
                f"{name} has links to {', '.join(there) or 'nobody'}, and programs sit "
                "at the other end of the only one, which is at no member",
                remedy=f"leave one link, such as {name}:eth0 -- {HOST}:{name}",
            )


def _check_interface(lab: Lab, node: Node, interface: Interface, item: Item) -> None:
    fields = item.entries() if item.kind == "a mapping" else {}
    if interface.kind == VETH:
        if not any(End(node.name, interface.name) in link.ends for link in lab.links):
            item.refuse(
                "no link ends here, and it has no type",
                remedy=f"add a link, or type: with one of {', '.join(KINDS)}",
            )
    elif node.name == HOST and not KINDS[interface.kind].has_mac:
        item.refuse(
            f"{interface.kind} on the machine itself could not be told from somebody else's",
            remedy="give a node to it",
        )
    if interface.vlans and not _filters_vlans(node, interface):
        fields["vlans"].refuse(
            "VLANs are for ports of a bridge that filters them",
            remedy="make it a port of a bridge with vlan_filtering: true",
        )
    if len({vlan.vid for vlan in interface.vlans}) < len(interface.vlans):
        fields["vlans"].refuse("a VLAN stands there twice")
    if sum(vlan.pvid for vlan in interface.vlans) > 1:
        fields["vlans"].refuse("only one VLAN can be the pvid")
    # IPv4 has one as often as its masks differ.
    own = [each if each.version == 4 else each.ip for each in interface.addresses]
    if len(set(own)) < len(own):
        item.refuse("an address stands there twice")
    mtu = interface.mtu or next(
        (link.mtu for link in lab.links if End(node.name, interface.name) in link.ends), None
    )
    if mtu and mtu < _MIN_MTU_IPV6 and any(each.version == 6 for each in interface.addresses):
        item.refuse(
            f"IPv6 does without an interface with an MTU of {mtu}",
            remedy=f"make it {_MIN_MTU_IPV6} or more, or leave the address out",
        )
    if interface.parent:
        _check_parent(lab, End(node.name, interface.name), fields["parent"])


def _filters_vlans(node: Node, interface: Interface) -> bool:
    bridge = node.interfaces.get(interface.master)
    return bool(bridge and bridge.options.get("vlan_filtering"))


def _check_parent(lab: Lab, start: End, item: Item) -> None:
    """The parent is there, and nobody is its own ancestor."""
    end, passed = start, {start}
    while parent := parent_of(lab, end):
        if parent.node not in lab.nodes or parent.ifname not in lab.nodes[parent.node].interfaces:
            item.refuse(
                f"there is no interface {parent}", remedy="write INTERFACE or NODE:INTERFACE"
            )
        if parent in passed:
            item.refuse(f"{parent} stands on itself")
        if parent.node != end.node and end.node == HOST:
            item.refuse("what stands on a node's interface cannot be the machine's own")
        if (
            parent.node == HOST
            and not KINDS[lab.nodes[end.node].interfaces[end.ifname].kind].has_mac
        ):
            item.refuse("on the machine itself it could not be told from somebody else's")
        passed.add(parent)
        end = parent


def parent_of(lab: Lab, end: End) -> End | None:
    """What an interface stands on, None for one that stands by itself."""
    parent = lab.nodes[end.node].interfaces[end.ifname].parent
    return End(parent.node or end.node, parent.ifname) if parent else None


def _check_devices(node: Node, items: Fields) -> None:
    """Routes, neighbours and forwarding entries name interfaces of their node."""

    def written(name: str) -> tuple[Item, ...]:
        return items.each(name, lambda item: item)

    devices = [
        *zip((route.dev for route in node.routes), written("routes"), strict=True),
        *zip((entry.dev for entry in node.neighbours), written("neighbours"), strict=True),
        *zip((entry.dev for entry in node.fdb), written("fdb"), strict=True),
    ]
    for dev, item in devices:
        if dev and dev not in node.interfaces:
            item.refuse(
                f"{node.name} has no interface {dev}",
                remedy=f"it has {', '.join(node.interfaces) or 'none'}",
            )
    for entry, item in zip(node.fdb, written("fdb"), strict=True):
        interface = node.interfaces[entry.dev]
        if interface.kind == "vxlan" and entry.dst is None:
            item.refuse(f"an entry of {entry.dev}, a vxlan, has a dst", remedy="add dst ADDRESS")
        if interface.kind != "vxlan" and entry.dst:
            item.refuse(f"{entry.dev} is no vxlan, so its entries have no dst")
        if entry.dst is None and not interface.master:
            item.refuse(f"{entry.dev} is no port of a bridge")


def _check_routes(node: Node, items: Fields) -> None:
    """Each is there once, and its gateway on a network that the node has by then."""
    connected = [
        (address.network, interface.name)
        for interface in node.interfaces.values()
        if interface.up
        for address in interface.addresses
    ]
    # Those of IPv4 that the kernel makes have no metric either.
    taken: set[tuple[object, int | None]] = {
        (network, None)
        for network, _ in connected
        if network.version == 4 and network.num_addresses > 1
    }
    own = {address.ip for address in node.addresses()}
    for route, item in zip(node.routes, items.each("routes", lambda item: item), strict=True):
        if (route.to, route.metric) in taken:
            item.refuse(
                f"there is a route to {route.to} already",
                remedy="leave it out (the kernel makes those to an interface's own network), "
                "or add metric NUMBER",
            )
        taken.add((route.to, route.metric))
        if route.src and route.src not in own:
            item.refuse(f"{node.name} has no address {route.src} to send from")
        if route.dev and not node.interfaces[route.dev].up:
            item.refuse(f"{route.dev} is down", remedy="leave its up: false out")
        if route.via and route.via.version == 6 and route.via.is_link_local and not route.dev:
            item.refuse(f"{route.via} may be on any link", remedy="add dev INTERFACE")
        if route.via is None:
            connected.append((route.to, route.dev))
        elif route.via.version == 6 and route.via in own:
            item.refuse(f"{route.via} is {node.name}'s own address", remedy="name another's")
        elif not route.onlink and not (route.via.version == 6 and route.via.is_link_local):
            devices = [dev for network, dev in connected if route.via in network]
            if not devices or (route.dev and route.dev not in devices):
                over = f" over {route.dev}" if route.dev else ""
                item.refuse(
                    f"{node.name} does not reach the gateway {route.via} directly{over}",
                    remedy="give it an address on that network, or a route there before: "
                    f"{route.via} dev INTERFACE",
                )
