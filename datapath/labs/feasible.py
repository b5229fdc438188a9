"""What the kernel would not make, or make and lose, of a lab whose parts agree with one another.

It would say so halfway, in a word, and not where that is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from datapath.labs.document import Fields, Item
from datapath.labs.model import HOST, End, Interface, Lab, Node

NO_FRAMES: Final = ("tun", "ipip")  # kinds that carry packets alone
_MIN_MTU_IPV6: Final = 1280  # RFC 8200
_USUAL_MTU: Final = 1500
_MAX_MTU_TAP: Final = 65521  # with the header of Ethernet, 65535


def check(lab: Lab, node: Node, items: Fields) -> None:
    """Raises InvalidInput that names file, line and field. `items` are the node's own."""
    for name, item in items.value("interfaces", Item.entries, {}).items():
        _check_interface(lab, End(node.name, name), item)
    for neighbour, item in zip(node.neighbours, _written(items, "neighbours"), strict=True):
        if neighbour.address.version == 6:
            _check_ipv6(lab, End(node.name, neighbour.dev), item)
    for entry, item in zip(node.fdb, _written(items, "fdb"), strict=True):
        if entry.dst and entry.dst.version != _version(node.interfaces[entry.dev]):
            item.refuse(f"{entry.dst} is of another family than the tunnel {entry.dev}")
    if node.name != HOST:  # which has addresses and routes that no lab knows
        _check_routes(node, items)


def _written(items: Fields, name: str) -> tuple[Item, ...]:
    return items.each(name, lambda item: item)


def _check_interface(lab: Lab, end: End, item: Item) -> None:
    node = lab.nodes[end.node]
    interface = node.interfaces[end.ifname]
    # IPv4 has one as often as its masks differ.
    own = [each if each.version == 4 else each.ip for each in interface.addresses]
    if len(set(own)) < len(own):
        item.refuse("an address stands there twice")
    if any(each.version == 6 for each in interface.addresses):
        _check_ipv6(lab, end, item)
    if interface.kind == "tap" and (interface.mtu or 0) > _MAX_MTU_TAP:
        item.refuse(f"a tap has an MTU of at most {_MAX_MTU_TAP}")
    local, remote = (str(interface.options.get(name, "")) for name in ("local", "remote"))
    if local and remote and (":" in local) != (":" in remote):
        item.refuse(f"{local} and {remote} are one IPv4, the other IPv6")
    if parent := lab.parent_of(end):
        _check_stand(lab, end, parent, item.entries()["parent"])


def _version(tunnel: Interface) -> int:
    """Of the addresses that a vxlan sends to."""
    ends = (str(tunnel.options.get(name, "")) for name in ("local", "remote"))
    return 6 if any(":" in end for end in ends) else 4


def _check_ipv6(lab: Lab, end: End, item: Item) -> None:
    """That an interface has IPv6 at all: once it has been too small, it stays without."""
    mtu = min(_mtus(lab, end, set()), default=_USUAL_MTU)
    if mtu < _MIN_MTU_IPV6:
        item.refuse(
            f"IPv6 does without an interface with an MTU of {mtu}",
            remedy=f"make it {_MIN_MTU_IPV6} or more, or leave the address out",
        )
    sysctls = lab.nodes[end.node].sysctls
    for name in ("all", end.ifname.replace(".", "/")):
        if sysctls.get(f"net.ipv6.conf.{name}.disable_ipv6") == "1":
            item.refuse(f"a sysctl takes IPv6 from {end.ifname}", remedy="leave one of them out")


def _mtus(lab: Lab, end: End, passed: set[End]) -> Iterator[int]:
    """All that an interface may have at a time: its own, its ports', of what it stands on."""
    if end not in passed:
        passed.add(end)
        yield from lab.mtus_of(end)
        ports = lab.nodes[end.node].interfaces.values()
        below = [End(end.node, port.name) for port in ports if port.master == end.ifname]
        for other in filter(None, (lab.parent_of(end), *below)):
            yield from _mtus(lab, other, passed)


def _check_stand(lab: Lab, end: End, parent: End, item: Item) -> None:
    """What an interface stands on carries frames, as long ones, and gives them to nobody else."""
    interface = lab.nodes[end.node].interfaces[end.ifname]
    below: Interface = lab.nodes[parent.node].interfaces[parent.ifname]
    if below.kind in NO_FRAMES:
        item.refuse(f"{parent} is a {below.kind}, which carries no frames")
    if below.master and interface.kind != "vlan":
        item.refuse(f"{parent} is a port of {below.master}, which takes all that comes in there")
    if End(end.node, interface.master) == parent:
        item.refuse(f"{end.ifname} is a port of {parent.ifname}, and would stand on itself")
    modes = [
        each.options.get("mode")
        for node, each in lab.interfaces()
        if each.kind == "macvlan" and lab.parent_of(End(node.name, each.name)) == parent
    ]
    if len(modes) > 1 and "passthru" in modes:
        item.refuse(f"{parent} has another macvlan, and one with mode passthru has it to itself")
    mtu = next(iter(lab.mtus_of(parent)), _USUAL_MTU)
    if interface.mtu and interface.mtu > mtu:
        item.refuse(f"its MTU of {interface.mtu} is more than that of {parent}, {mtu}")


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
    for route, item in zip(node.routes, _written(items, "routes"), strict=True):
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
