"""What a lab declares of who reaches whom."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from datapath.labs.document import Item
from datapath.labs.model import Node, Target


def who_reaches_what(
    nodes: Mapping[str, Node], declared: Mapping[str, Item]
) -> tuple[tuple[Target, ...], dict[str, frozenset[Target]]]:
    """What each source tries, and what it is to reach; by default everything of the other nodes."""
    of_nodes = [
        Target(each.ip, node=node.name)
        for node in nodes.values()
        for each in node.addresses()
        if not each.ip.is_link_local
    ]
    listed: dict[str, list[Target]] = {}
    for source, item in declared.items():
        if source not in nodes:
            item.refuse(f"there is no node {source}", remedy=f"nodes: {', '.join(nodes)}")
        if not any(nodes[source].addresses()):
            item.refuse(f"{source} has no address, so it can reach nobody")
        if not item.empty and item.kind == "a single value":
            if item.choice(("all", "none")) == "none":
                listed[source] = []
        else:
            listed[source] = [t for each in item.items() for t in _targets(each, of_nodes, nodes)]
    ports = [target for targets in listed.values() for target in targets if target.port]
    targets = tuple(dict.fromkeys([*of_nodes, *ports]))
    sources = [node.name for node in nodes.values() if any(node.addresses())]
    everything = frozenset(targets)
    return targets, {name: frozenset(listed.get(name, everything)) for name in sources}


def _targets(item: Item, of_nodes: list[Target], nodes: Mapping[str, Node]) -> list[Target]:
    """A node's addresses, one address, or ADDRESS:PORT."""
    text = item.text()
    if text in nodes:
        return [target for target in of_nodes if target.node == text]
    host, colon, port = text.rpartition(":")
    if not colon or (text.count(":") > 1 and not host.startswith("[")):
        host, port = text, ""
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        item.refuse(
            f"{text!r} is neither a node nor an address",
            remedy="write ns1, 10.1.1.3 or 10.1.1.3:80",
        )
    owners = [target for target in of_nodes if target.address == address]
    if not colon or not port:
        if not owners:
            item.refuse(f"no node has the address {address}")
        return owners
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
        item.refuse(f"{port!r} is not a port", remedy="write one of 1 to 65535")
    return [Target(address, int(port), owners[0].node if owners else "")]
