"""What the parts of a lab say of one another: names that exist, families that match, no loops.

The last thing that is checked before anything is built; see loader.py for what a field may be.
"""

from __future__ import annotations

from datapath.labs import feasible
from datapath.labs.document import Fields, Item
from datapath.labs.kinds import KINDS
from datapath.labs.model import HOST, VETH, End, Interface, Lab, Node


def check(lab: Lab, fields: Fields) -> None:
    """Raises InvalidInput that names file, line and field. `fields` are the document's own."""
    _check_links(lab, fields)
    if lab.ebpf:
        _check_ebpf(lab, lab.ebpf.nodes, fields["ebpf"])
    nodes = fields["nodes"].entries()
    linked = {end for link in lab.links for end in link.ends}
    for node in lab.nodes.values():
        items = Fields(nodes[node.name].entries())
        for name, item in items.value("interfaces", Item.entries, {}).items():
            _check_interface(lab, node, node.interfaces[name], item, linked)
        _check_devices(node, items)
        feasible.check(lab, node, items)


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


def _check_interface(
    lab: Lab, node: Node, interface: Interface, item: Item, linked: set[End]
) -> None:
    fields = item.entries() if item.kind == "a mapping" else {}
    if interface.kind == VETH:
        if End(node.name, interface.name) not in linked:
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
    if interface.parent:
        _check_parent(lab, End(node.name, interface.name), fields["parent"])


def _filters_vlans(node: Node, interface: Interface) -> bool:
    bridge = node.interfaces.get(interface.master)
    return bool(bridge and bridge.options.get("vlan_filtering"))


def _check_parent(lab: Lab, start: End, item: Item) -> None:
    """The parent is there, and nobody is its own ancestor."""
    end, passed = start, {start}
    while parent := lab.parent_of(end):
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
