"""Tunnels on the way: both ends speak of the same thing, and each was told where the other is."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from datapath.diagnose import anew, overlay
from datapath.diagnose.causes import Cause
from datapath.diagnose.overlay import Crossing
from datapath.diagnose.walk import Leg, Walk
from datapath.diagnose.world import World
from datapath.names import inside

_EVERYBODY = "00:00:00:00:00:00"  # of entries for what a VXLAN device floods


def check(world: World, way: Walk) -> Iterator[Cause]:
    """vxlan-id, vxlan-port, vxlan-destination, vxlan-flooding, tunnel-local, tunnel-remote."""
    for leg in way.legs:
        for each in way.crossings:
            if each.near in leg.way and each.near.link.tunnel and each.far.link.tunnel:
                yield from _local(each)
                if each.near.link.kind == "vxlan":
                    yield from _alike(each)
                    yield from _entries(leg, each)
                else:
                    yield from _remote(each)
    yield from _unread(world, way)


def _unread(world: World, way: Walk) -> Iterator[Cause]:
    """no-reader: tun and tap interfaces that no process has the other end of."""
    for port in (*way.taps, *(each for leg in way.legs for each in leg.way)):
        attached = port.link.carrier or not port.link.up or world.readers(port)
        if port.link.kind == "tun" and not attached:
            yield Cause(
                "no-reader",
                port.where,
                f"no process has the other end of {port.where}: what goes out there is lost",
                f"start the program that reads {port.ifname} in {port.node.name}",
            )


def _local(each: Crossing) -> Iterator[Cause]:
    """The outer source is the machine's own, and one from which the far end takes packets."""
    near, far, tunnel = each.near, each.far, each.near.link.tunnel
    if not tunnel or not tunnel.local:
        return
    wanted = far.link.tunnel.remote if far.link.tunnel and far.link.kind != "vxlan" else ""
    own = [str(address.ip) for _, address, _ in near.node.addresses]
    if tunnel.local not in own:
        better, why = str(each.source), f"which is no address of {near.node.name}"
    elif wanted and wanted != tunnel.local and wanted in own:
        better, why = wanted, f"but {far.where} takes only what is from {wanted}"
    else:
        return
    words = ("id", tunnel.vni) if tunnel.vni else ("remote", tunnel.remote)
    change = ("ip", "link", "set", near.ifname, "type", near.link.kind, *words, "local", better)
    yield Cause(
        "tunnel-local",
        near.where,
        f"{near.where} sends from {tunnel.local}, {why}",
        inside(near.node.netns, *change),
    )


def _alike(each: Crossing) -> Iterator[Cause]:
    """Both ways find the two; the one that comes first by name is taken for right."""
    first, second = sorted((each.near, each.far), key=lambda port: port.where)
    right, wrong = first.link.tunnel, second.link.tunnel
    if not right or not wrong:
        return
    remedy = anew.vxlan(second, vni=right.vni, dstport=right.port)
    both = f"{first.where} and {second.where} are ends of one VXLAN, but"
    if right.vni != wrong.vni:
        sentence = f"{both} with the ids {right.vni} and {wrong.vni}: each drops the other's frames"
        yield Cause("vxlan-id", second.where, sentence, remedy)
    if right.port != wrong.port:
        sentence = f"{both} at the UDP ports {right.port} and {wrong.port}: neither hears the other"
        yield Cause("vxlan-port", second.where, sentence, remedy)


def _entries(leg: Leg, each: Crossing) -> Iterator[Cause]:
    """Where the near end sends what is for the arrival's MAC, or for everybody."""
    near, far, node = each.near, each.far, each.near.node
    tunnel, mac = near.link.tunnel, leg.arrival.link.mac
    homes = [str(address) for address in overlay.homes(far)]
    rows = [row for row in node.fdb if row.port == near.ifname and row.destination]
    known = [row.destination for row in rows if row.mac == mac]
    flooded = [row.destination for row in rows if row.mac == _EVERYBODY]
    if tunnel and tunnel.remote:
        flooded.append(tunnel.remote)
    groups = [address for address in flooded if ip_address(address).is_multicast]
    if known and not set(known) & set(homes):
        yield Cause(
            "vxlan-destination",
            near.where,
            f"{near.where} sends what is for {mac} of {leg.arrival.where} to {known[0]}, "
            f"but it is behind {each.target} in {far.node.name}",
            inside(
                node.netns, "bridge", "fdb", "replace", mac, "dev", near.ifname, "dst", each.target
            ),
        )
    # Unless the sender was told the MAC it has to ask everybody for it.
    told = any(
        row.mac == mac and row.state == "permanent" and row.address == str(leg.hop)
        for row in leg.out.node.neighbours
    )
    if not groups and not set(flooded) & set(homes) and not (told and known):
        to = f"only to {', '.join(flooded)}" if flooded else "to nobody"
        yield Cause(
            "vxlan-flooding",
            near.where,
            f"{near.where} sends what is for everybody, ARP too, {to}: {far.node.name} at "
            f"{each.target} never gets it",
            inside(
                node.netns,
                *("bridge", "fdb", "append", _EVERYBODY, "dev", near.ifname, "dst", each.target),
            ),
        )


def _remote(each: Crossing) -> Iterator[Cause]:
    near, far, tunnel = each.near, each.far, each.near.link.tunnel
    if not tunnel or not tunnel.remote or overlay.aims_at(near, far):
        return
    source = ("local", tunnel.local) if tunnel.local else ()
    words = ("type", near.link.kind, *source, "remote", each.target)
    yield Cause(
        "tunnel-remote",
        near.where,
        f"{near.where} sends to {tunnel.remote}, which is no address of {far.node.name}",
        inside(near.node.netns, "ip", "link", "set", near.ifname, *words),
    )
