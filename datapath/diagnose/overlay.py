"""Segments over other networks: which ends of tunnels belong together, and what lies under them.

Two ends belong together where one of them was told to send to a machine of the other. Of tun and
tap interfaces, whose other ends are processes, nobody can know that; where those of two have the
same UDP port open, they are taken for the ends of one tunnel, as Flannel's UDP backend has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from datapath.diagnose.world import Interface, Port, World

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Crossing:
    """How packets get from one end of a tunnel to the other: the outer ones."""

    near: Port
    far: Port
    source: Address
    target: Address
    protocol: str  # "udp", or what /etc/protocols calls the others
    port: int  # of UDP, else 0


def is_tunnel(port: Port) -> bool:
    """Whether what is sent out by it is put into other packets, by the kernel or a process."""
    return port.link.tunnel is not None or port.link.kind == "tun"


def ends(world: World, port: Port) -> Iterator[Port]:
    """The other ends of a tunnel; of several at one machine, those with the same VNI if any."""
    if not is_tunnel(port):
        return
    others = [
        other
        for other in world.ports
        if other.link.kind == port.link.kind and other.node is not port.node
        if _belong(world, port, other)
    ]
    for other in others:
        same = [each for each in others if each.node is other.node and _vni(each) == _vni(port)]
        if not same or other in same:
            yield other


def _vni(port: Port) -> int:
    return port.link.tunnel.vni if port.link.tunnel else 0


def _belong(world: World, one: Port, other: Port) -> bool:
    if one.link.tunnel:
        return aims_at(one, other) or aims_at(other, one) or bool(_groups(one) & _groups(other))
    return bool(_udp_ports(world, one) & _udp_ports(world, other))


def _udp_ports(world: World, port: Port) -> frozenset[int]:
    return frozenset().union(*(reader.udp_ports for reader in world.readers(port)))


def destinations(port: Port) -> set[Address]:
    """Where the kernel was told to send what goes out by a tunnel: its remote, FDB and gateways."""
    tunnel, node = port.link.tunnel, port.node
    told = {tunnel.remote} if tunnel else set()
    told |= {row.destination for row in node.fdb if row.port == port.ifname}
    if tunnel and not tunnel.vni and not tunnel.remote:
        told |= {row.gateway for row in node.routes if row.ifname == port.ifname}
    return {ip_address(each) for each in told if each}


def _groups(port: Port) -> set[Address]:
    return {each for each in destinations(port) if each.is_multicast}


def homes(port: Port) -> list[Address]:
    """Addresses at which a tunnel's outer packets may reach its machine."""
    return [address.ip for address in _outer(port)]


def _outer(port: Port) -> list[Interface]:
    return [a for ifname, a, _ in port.node.addresses if ifname != port.ifname]


def aims_at(near: Port, far: Port) -> bool:
    """Whether the near end was told of the far end's machine."""
    return bool(destinations(near) & set(homes(far)))


def crossing(world: World, near: Port, far: Port) -> Crossing | None:
    """The way of the outer packets, as it is meant; None where no pair of addresses fits.

    That is: to where the near end was told, from what it was told to use, or else from where the
    far end was told to answer to, or else from an address on the same subnet.
    """
    tunnel = near.link.tunnel
    there, back = destinations(near), destinations(far)
    networks = {a.ip: a.network for a in _outer(near)}

    def unlikely(pair: tuple[Address, Address]) -> tuple[bool, ...]:
        source, target = pair
        given = bool(tunnel and tunnel.local == str(source))
        return (target not in there, not given, source not in back, target not in networks[source])

    pairs = [(s, t) for t in homes(far) for s in networks if s.version == t.version]
    if not pairs:
        return None
    source, target = min(pairs, key=unlikely)
    if tunnel is None:
        ports = _udp_ports(world, near) & _udp_ports(world, far)
        return Crossing(near, far, source, target, "udp", min(ports))
    return Crossing(near, far, source, target, "udp" if tunnel.port else "ipencap", tunnel.port)
