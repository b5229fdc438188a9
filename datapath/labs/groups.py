"""Which nodes of a lab can be joined by eBPF: those that hang from one place by a veth each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from datapath.labs.model import HOST, End, Interface, Lab
from datapath.names import MAX_NAME

_DEFAULT_PVID: Final = 1  # of a bridge port that says nothing


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that are joined, or can be: the `network` they make, and the node they hang from."""

    network: str
    node: str
    members: tuple[str, ...]


def declared(lab: Lab) -> list[Group]:
    """What a lab says is joined by eBPF."""
    places: dict[str, list[str]] = {}
    for name in lab.ebpf.nodes if lab.ebpf else ():
        for near, far in _ends(lab):
            if far.node == name:
                places.setdefault(near.node, []).append(name)
    return _named(lab, list(places.items()))


def switchable(lab: Lab) -> list[Group]:
    """What can be switched: two nodes and more with a veth each to one bridge, or to one router.

    They are at the end of the line: one link to there, which is in no bridge of theirs; nothing
    that they forward for, nothing that stands on their interface. Links that are shaped are left to
    the kernel, whose queues do that; so is what crosses a router with rules, and what is joined by
    eBPF anyway.
    """
    if lab.ebpf:
        return []
    links = Counter(frozenset(end.node for end in link.ends) for link in lab.links)
    parents = {
        interface.parent.node or node.name
        for node, interface in lab.interfaces()
        if interface.parent
    }
    places: dict[tuple[str, str, int], list[str]] = {}
    for near, far in _ends(lab):
        alone = links[frozenset((near.node, far.node))] == 1 and far.node not in parents
        if alone and _is_leaf(lab, far) and (segment := _segment(lab, near)):
            places.setdefault((near.node, *segment), []).append(far.node)
    return _named(lab, [(node, each) for (node, _, _), each in places.items() if len(each) > 1])


def subnet(lab: Lab, group: Group) -> IPv4Network | None:
    """The least that all IPv4 addresses of the members there are hosts of; None without any.

    That of the first where it will do: where a router forwards, addresses may come alone (/32).
    """
    found = [
        address
        for near, far in _ends(lab)
        if near.node == group.node and far.node in group.members
        for address in lab.nodes[far.node].interfaces[far.ifname].addresses
        if isinstance(address, IPv4Interface)
    ]
    network = found[0].network if found else None
    while network and not all(_is_host(each.ip, network) for each in found):
        network = network.supernet()
    return network


def _is_host(address: IPv4Address, network: IPv4Network) -> bool:
    return address in network and address not in (
        network.network_address,
        network.broadcast_address,
    )


def _ends(lab: Lab) -> Iterator[tuple[End, End]]:
    """Each link from both sides: near and far end."""
    for link in lab.links:
        if link.shape is None:
            one, other = link.ends
            yield from ((one, other), (other, one))


def _segment(lab: Lab, near: End) -> tuple[str, int] | None:
    """What carries frames on from an interface: a bridge with a VLAN, or ("", 0) the router."""
    node = lab.nodes[near.node]
    interface = node.interfaces[near.ifname]
    if interface.master:
        filters = node.interfaces[interface.master].options.get("vlan_filtering")
        return interface.master, _pvid(interface) if filters else 0
    has_rules = node.nft or node.iptables
    return ("", 0) if _forwards(lab, near.node) and not has_rules else None


def _pvid(interface: Interface) -> int:
    return next((vlan.vid for vlan in interface.vlans if vlan.pvid), _DEFAULT_PVID)


def _is_leaf(lab: Lab, end: End) -> bool:
    interface = lab.nodes[end.node].interfaces[end.ifname]
    alone = end.node != HOST and not _forwards(lab, end.node)
    return alone and bool(interface.addresses) and not interface.master


def _forwards(lab: Lab, node: str) -> bool:
    return lab.nodes[node].sysctls.get("net.ipv4.ip_forward") == "1"


def _named(lab: Lab, places: list[tuple[str, list[str]]]) -> list[Group]:
    """With names of networks: the lab's, numbered where there are several; short enough."""
    several = len(places) > 1
    found = []
    for number, (node, members) in enumerate(places, 1):
        suffix = f"-{number}" if several else ""
        name = lab.name[: MAX_NAME - len(suffix)] + suffix
        found.append(Group(name, node, tuple(members)))
    return found
