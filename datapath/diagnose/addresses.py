"""From which address to which it is tried, and what either node lacks for that."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from itertools import count
from pathlib import Path
from typing import Final

from datapath.diagnose.causes import Cause, see
from datapath.diagnose.segment import segment
from datapath.diagnose.walk import Address
from datapath.diagnose.world import Interface, Node, Port, World
from datapath.errors import InvalidInput
from datapath.kernel.net import netns
from datapath.names import HOST, inside

_BLANK: Final = "ADDRESS/LENGTH"


def chosen(sender: Node, receiver: Node, to: str = "") -> tuple[Address, Address] | None:
    """The pair to try: of one family, IPv4 before IPv6, on one subnet before others.

    With `to`, an address of the receiver: that. None where there is no such pair. Raises
    InvalidInput where `to` is not an address of the receiver.
    """
    theirs = _usable(receiver)
    if to:
        theirs = [address for address in theirs if str(address.ip) == to]
        if not theirs:
            raise InvalidInput(
                f"{to} is no address of {receiver.name}",
                remedy=f"see `ebpfnet show addr {receiver.name}`",
            )
    pairs = [
        (source, target)
        for source in _usable(sender)
        for target in theirs
        if source.version == target.version
        if source.ip != target.ip or sender is receiver
    ]
    # What the sender has itself, too (docker0's address, on many machines), it would not ask for.
    own = [address.ip for address in _usable(sender)]
    pairs = [(s, t) for s, t in pairs if t.ip not in own] or pairs
    near = [(s, t) for s, t in pairs if t.ip in s.network or s.ip in t.network]
    ordered = sorted(near, key=_version) + sorted(pairs, key=_version)
    if not ordered:
        return None
    source, target = min(ordered, key=_version)
    # What the kernel takes for source, where it has a way at all.
    told = sender.lookup(str(target.ip)).source
    if told and told != str(target.ip) and ip_address(told) in own:
        return ip_address(told), target.ip
    return source.ip, target.ip


def _version(pair: tuple[Interface, Interface]) -> int:
    return pair[0].version


def _usable(node: Node) -> list[Interface]:
    return [a for _, a, _ in node.addresses if not a.is_link_local]


def lacking(world: World, node: Node, other: Node) -> Iterator[Cause]:
    """Why nothing can be tried, as far as it is this node's: it has no interface or no address.

    Or it has the other's, of which the one that comes first by name is taken for right. The node
    is assumed to have another one from then on, so that what is wrong besides is found as well.
    """
    if set(node.links) <= {"lo"}:
        yield _without_interface(world, node, other)
    elif version := _missing(node, other):
        yield _without_address(world, node, other, version)
    else:
        for ifname, address, _ in tuple(node.addresses):
            if address.ip in [each.ip for each in _usable(other)] and node.name > other.name:
                free = _free(world, address)
                yield Cause(
                    "duplicate-address",
                    f"{ifname} in {node.name}",
                    f"{address.ip} is an address of {other.name} and of {node.name}",
                    " && ".join(
                        inside(node.netns, "ip", "addr", *words, "dev", ifname)
                        for words in (("del", address), ("add", free or _BLANK))
                    ),
                )
                if free:
                    node.assume(ifname, free, instead_of=address)


def _missing(node: Node, other: Node) -> int:
    """The IP version of which a node should have an address; 0 where it has what it needs."""
    own, theirs = ({address.version for address in _usable(each)} for each in (node, other))
    if own and (not theirs or own & theirs or 4 in own):
        return 0
    return 6 if theirs == {6} else 4


def _without_interface(world: World, node: Node, other: Node) -> Cause:
    for ifname in other.links:
        loose = world.peer(Port(other, ifname))
        # Made as a pair with what the other has, and not moved.
        if loose and loose.node not in (node, other) and not _is_used(world, loose):
            return Cause(
                "no-interface",
                node.name,
                f"{node.name} has no interface but lo; {loose.where}, the other end of {ifname} in "
                f"{other.name}, is nobody's",
                inside(loose.node.netns, "ip", "link", "set", loose.ifname, "netns", _to(node)),
            )
    names = sorted({node.name, other.name})
    if HOST not in names:
        remedy = shlex.join(["ebpfnet", "attach", *names])
    elif node is other:
        remedy = see("ip link show")
    else:  # the host itself is never attached
        made = ("type", "veth", "peer", "name", "eth0", "netns", _to(node))
        remedy = inside(other.netns, "ip", "link", "add", _new(other), *made)
    return Cause("no-interface", node.name, f"{node.name} has no interface but lo", remedy)


def _new(node: Node) -> str:
    """A name for an interface, which the node has not given yet."""
    names = (f"veth{number}" for number in count())
    return next(name for name in names if name not in node.links)


def _to(node: Node) -> str:
    """A namespace as `ip link set netns` takes it: by name, PID, or a path with a slash."""
    if node.netns.inode == netns.host_inode():
        # The shell that it is typed in lives longer than this process.
        lasting = (1, os.getppid(), os.getpid())
        return str(next(pid for pid in lasting if _inode(pid) == node.netns.inode))
    return node.name if node.netns.path.parent == netns.FOLDER else str(node.netns.path)


def _inode(pid: int) -> int:
    """Of the network namespace that a process is in; 0 where that is kept from us."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0


def _is_used(world: World, port: Port) -> bool:
    has_address = any(ifname == port.ifname for ifname, *_ in port.node.addresses)
    return bool(has_address or port.link.master or port.key in world.endpoints)


def _without_address(world: World, node: Node, other: Node, version: int) -> Cause:
    """To be given to the interface that leads to the other node, where one does.

    Of a subnet that somebody on the segment is on, the other node before others.
    """
    found = [(Port(node, name), _near(world, Port(node, name), other)) for name in node.links]
    ports = [
        (port, next((a for a in near if a.version == version), None))
        for port, near in found
        if port.ifname != "lo"
    ]
    port, near = next((each for each in ports if each[1]), ports[0])
    free = _free(world, near) if near else None
    if free:
        node.assume(port.ifname, free)
    return Cause(
        "no-address",
        node.name,
        f"{node.name} has no IPv{version} address",
        inside(node.netns, "ip", "addr", "add", free or _BLANK, "dev", port.ifname),
    )


def _near(world: World, port: Port, other: Node) -> list[Interface]:
    """Addresses on the segment of an interface, those of a certain node first."""
    reached = segment(world, port).ports.values()
    return [
        address
        for each in sorted(reached, key=lambda each: each.node is not other)
        for ifname, address, _ in each.node.addresses
        if ifname == each.ifname and not address.is_link_local
    ]


def _free(world: World, near: Interface) -> Interface | None:
    """An address of a subnet that nobody has, with its length; None where there is none."""
    taken = {a.ip for node in world.nodes.values() for _, a, _ in node.addresses}
    free = next((ip for ip in near.network.hosts() if ip not in taken), None)
    return ip_interface(f"{free}/{near.network.prefixlen}") if free else None
