"""What a network namespace holds, read by netlink: links, addresses, neighbours, FDB, routes.

Typed rows in the words of iproute2. Every function acts in the network namespace of the calling
thread; use netns.run_inside for others.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import rt_proto, rt_scope, rt_type

from datapath.errors import KernelError
from datapath.kernel.net.links import index_of, netlink_for

# linux/rtnetlink.h, linux/if_addr.h, linux/neighbour.h, linux/if.h
_IFF_NOARP, _IFF_PROMISC = 0x80, 0x100
_PORT_STATES: Final = ("disabled", "listening", "learning", "forwarding", "blocking")
_IFA_F_DADFAILED, _IFA_F_TENTATIVE, _IFA_F_PERMANENT = 0x08, 0x40, 0x80
_NUD: Final = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_NTF_SELF, _NTF_MASTER, _NTF_ROUTER = 0x02, 0x04, 0x80
_TABLES: Final = {253: "default", 254: "main", 255: "local"}
_SCOPES: Final = {**rt_scope, 0: "global"}  # iproute2's word for it
_USER_HZ: Final = 100  # in which the kernel gives the age of entries
_FAMILIES: Final = {socket.AF_INET: 4, socket.AF_INET6: 6}
_ANY: Final = "0.0.0.0"  # noqa: S104 - for a tunnel: none


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What an interface that wraps packets puts around them: VXLAN (RFC 7348), IP in IP, GRE."""

    vni: int  # of a VXLAN, else 0
    port: int  # of UDP, else 0
    local: str  # outer source, "" for whichever the route gives
    remote: str  # outer destination, "" where another table says it
    learning: bool  # whether a VXLAN learns which MAC is behind which machine


@dataclass(frozen=True, slots=True)
class LinkRow:
    """An interface. `peer_ifindex` is the other end of a veth or what a macvlan, an ipvlan or the
    sub-interface of a VLAN sits on (0: none), in the namespace that has the id `peer_nsid` here
    (None: in this one).
    """

    ifindex: int
    ifname: str
    kind: str  # "" for what no driver of rtnetlink made
    up: bool  # as an administrator has set it
    operstate: str
    carrier: bool
    mac: str
    mtu: int
    arp: bool  # whether it asks for neighbours and answers them
    master: int  # ifindex of the bridge that it is a port of, 0: none
    port_state: str  # of a bridge's port: "forwarding", "disabled", ...; else ""
    isolated: bool  # a port that is kept from other isolated ones
    macvlan_mode: str  # "bridge", "private", "vepa", ...; "" for other kinds
    vlan: int  # the tag of an 802.1Q sub-interface, 0 for other kinds
    tunnel: Tunnel | None
    promiscuous: bool
    xdp: tuple[int, ...]  # ids of programs there
    peer_ifindex: int
    peer_nsid: int | None
    rx_packets: int
    tx_packets: int
    rx_dropped: int
    tx_dropped: int


@dataclass(frozen=True, slots=True)
class AddressRow:
    """An address. `state`: "permanent", "dynamic", "tentative", or "dadfailed": a duplicate."""

    ifname: str
    family: int  # 4 or 6
    address: str  # with its prefix length
    scope: str
    state: str


@dataclass(frozen=True, slots=True)
class NeighbourRow:
    """What an interface knows of a neighbour; `mac` is "" for as long as it knows none."""

    ifname: str
    address: str
    mac: str
    state: str
    router: bool


@dataclass(frozen=True, slots=True)
class FdbRow:
    """A forwarding entry: which port leads to a MAC. `age` in seconds since it was last seen."""

    mac: str
    port: str
    bridge: str  # "" for an entry of the device's own, such as a VXLAN's
    vlan: int  # 0: none
    destination: str  # of a VXLAN tunnel, else ""
    state: str  # "learned", "static", or "local": the MAC of the port itself
    age: float


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route; the default one is 0.0.0.0/0 or ::/0. "" and 0 for what it does not have."""

    family: int
    destination: str
    gateway: str
    ifname: str
    source: str
    metric: int
    table: str
    scope: str
    protocol: str
    type: str


def links() -> list[LinkRow]:
    """Every interface here."""
    with netlink_for("listing interfaces") as netlink:
        return [_link(message) for message in netlink.get_links()]


def _link(message: Any) -> LinkRow:
    info: Any = message.get_attr("IFLA_LINKINFO")
    xdp = message.get_attr("IFLA_XDP")
    counters = message.get_attr("IFLA_STATS64") or {}
    programs = (
        [
            xdp.get_attr(f"IFLA_XDP_{kind}PROG_ID")
            for kind in ("", "SKB_", "DRV_", "HW_")
            if xdp.get_attr("IFLA_XDP_ATTACHED")
        ]
        if xdp
        else []
    )
    data: Any = info.get_attr("IFLA_INFO_DATA") if info else None
    port: Any = info.get_attr("IFLA_INFO_SLAVE_DATA") if info else None
    is_port = bool(port) and info.get_attr("IFLA_INFO_SLAVE_KIND") == "bridge"
    kind = (info.get_attr("IFLA_INFO_KIND") or "") if info else ""
    return LinkRow(
        ifindex=message["index"],
        ifname=message.get_attr("IFLA_IFNAME"),
        kind=kind,
        up=message["state"] == "up",
        operstate=str(message.get_attr("IFLA_OPERSTATE") or "unknown").lower(),
        carrier=bool(message.get_attr("IFLA_CARRIER")),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        arp=not message["flags"] & _IFF_NOARP,
        master=message.get_attr("IFLA_MASTER") or 0,
        port_state=_PORT_STATES[port.get_attr("IFLA_BRPORT_STATE")] if is_port else "",
        isolated=bool(is_port and port.get_attr("IFLA_BRPORT_ISOLATED")),
        macvlan_mode=str(data.get_attr("IFLA_MACVLAN_MODE") or "") if kind == "macvlan" else "",
        vlan=data.get_attr("IFLA_VLAN_ID") if kind == "vlan" else 0,
        tunnel=_tunnel(kind, data) if data else None,
        # The flag is what `ip link set promisc on` sets; a bridge's port has the count alone.
        promiscuous=bool(message["flags"] & _IFF_PROMISC),
        xdp=tuple(dict.fromkeys(filter(None, programs))),
        peer_ifindex=message.get_attr("IFLA_LINK") or 0,
        peer_nsid=message.get_attr("IFLA_LINK_NETNSID"),
        **{
            name: counters.get(name, 0)
            for name in ("rx_packets", "tx_packets", "rx_dropped", "tx_dropped")
        },
    )


def _tunnel(kind: str, data: Any) -> Tunnel | None:
    if kind == "vxlan":
        near, far = (
            next(filter(None, (data.get_attr(f"IFLA_VXLAN_{end}{v}") for v in ("", "6"))), "")
            for end in ("LOCAL", "GROUP")
        )
        vni, port = data.get_attr("IFLA_VXLAN_ID") or 0, data.get_attr("IFLA_VXLAN_PORT") or 0
        return Tunnel(vni, port, near, far, bool(data.get_attr("IFLA_VXLAN_LEARNING")))
    prefix = {"ipip": "IPIP", "gre": "GRE", "gretap": "GRE"}.get(kind)
    if prefix is None:
        return None
    ends = (data.get_attr(f"IFLA_{prefix}_{end}") or "" for end in ("LOCAL", "REMOTE"))
    near, far = ("" if end == _ANY else end for end in ends)
    return Tunnel(0, 0, near, far, learning=False)


def addresses() -> list[AddressRow]:
    """Every address here, in the kernel's order."""
    names = dict(socket.if_nameindex())
    with netlink_for("listing addresses") as netlink:
        return [_address(message, names) for message in netlink.get_addr()]


def _address(message: Any, names: dict[int, str]) -> AddressRow:
    # An attribute has room for the flags that the header has none for.
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    state = "permanent" if flags & _IFA_F_PERMANENT else "dynamic"
    if flags & _IFA_F_TENTATIVE:
        state = "tentative"
    if flags & _IFA_F_DADFAILED:
        state = "dadfailed"
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return AddressRow(
        ifname=names.get(message["index"], str(message["index"])),
        family=_FAMILIES[message["family"]],
        address=f"{address}/{message['prefixlen']}",
        scope=_name(_SCOPES, message["scope"]),
        state=state,
    )


def neighbours() -> list[NeighbourRow]:
    """IPv4 and IPv6 neighbours here, without those that need no asking (multicast)."""
    names = dict(socket.if_nameindex())
    with netlink_for("listing neighbours") as netlink:
        return [
            NeighbourRow(
                ifname=names.get(message["ifindex"], str(message["ifindex"])),
                address=message.get_attr("NDA_DST"),
                mac=message.get_attr("NDA_LLADDR") or "",
                state=_NUD.get(message["state"], "none"),
                router=bool(message["flags"] & _NTF_ROUTER),
            )
            for message in netlink.get_neighbours()
            if message["family"] in _FAMILIES and message["state"] != _NUD_NOARP
        ]


def fdb() -> list[FdbRow]:
    """Forwarding entries of bridges and VXLAN devices here, without multicast addresses."""
    names = dict(socket.if_nameindex())
    with netlink_for("listing forwarding entries") as netlink:
        # Entries without a master or a destination are addresses that a device listens to itself.
        return [
            _fdb(message, names)
            for message in netlink.fdb("dump")
            if message.get_attr("NDA_MASTER") or message.get_attr("NDA_DST")
        ]


def _fdb(message: Any, names: dict[int, str]) -> FdbRow:
    times = message.get_attr("NDA_CACHEINFO") or {}
    if message["state"] & _NUD_PERMANENT and not message.get_attr("NDA_DST"):
        state = "local"
    elif message["state"] & (_NUD_NOARP | _NUD_PERMANENT):
        state = "static"
    else:
        state = "learned"
    return FdbRow(
        mac=message.get_attr("NDA_LLADDR") or "",
        port=names.get(message["ifindex"], str(message["ifindex"])),
        bridge=names.get(message.get_attr("NDA_MASTER") or 0, ""),
        vlan=message.get_attr("NDA_VLAN") or 0,
        destination=message.get_attr("NDA_DST") or "",
        state=state,
        age=times.get("ndm_updated", 0) / _USER_HZ,
    )


def routes() -> list[RouteRow]:
    """Every route of every table here, apart from the kernel's own (table local)."""
    names = dict(socket.if_nameindex())
    with netlink_for("listing routes") as netlink:
        return [
            row
            for message in netlink.get_routes()
            if message["family"] in _FAMILIES and (row := _route(message, names)).table != "local"
        ]


def _route(message: Any, names: dict[int, str]) -> RouteRow:
    anywhere = "0.0.0.0" if message["family"] == socket.AF_INET else "::"  # noqa: S104
    via = message.get_attr("RTA_VIA")
    table = message.get_attr("RTA_TABLE") or message["table"]
    device = message.get_attr("RTA_OIF") or 0
    return RouteRow(
        family=_FAMILIES[message["family"]],
        destination=f"{message.get_attr('RTA_DST') or anywhere}/{message['dst_len']}",
        gateway=message.get_attr("RTA_GATEWAY") or (str(via["addr"]) if via else ""),
        ifname=names.get(device, str(device) if device else ""),
        source=message.get_attr("RTA_PREFSRC") or "",
        metric=message.get_attr("RTA_PRIORITY") or 0,
        table=_TABLES.get(table, str(table)),
        scope=_name(_SCOPES, message["scope"]),
        protocol=_name(rt_proto, message["proto"]),
        type=_name(rt_type, message["type"]),
    )


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the kernel's route lookup says. `refused`: "", "no route", "unreachable", "prohibit",
    "blackhole" or "no way back"; with one of these the rest is empty.
    """

    refused: str
    ifname: str
    gateway: str
    source: str
    local: bool  # the address is one of this namespace's own


# What a route of these types, or none at all, makes of a lookup (net/ipv4/fib_semantics.c).
_REFUSALS: Final = {
    errno.ENETUNREACH: "no route",
    errno.EHOSTUNREACH: "unreachable",
    errno.EACCES: "prohibit",
    errno.EINVAL: "blackhole",
    errno.EXDEV: "no way back",  # by which it came in (rp_filter)
}


def lookup(destination: str, source: str = "", arrival: str = "") -> Lookup:
    """Ask the kernel for the way to an address, as `ip route get` does. Raises KernelError.

    From a source, which is to be an address of this namespace, or came in by an interface.
    """
    asked: dict[str, Any] = {"dst": destination}
    if source:
        asked["src"] = source
    if arrival:
        asked["iif"] = socket.if_nametoindex(arrival)
    try:
        with IPRoute() as netlink:
            (answer,) = netlink.route("get", **asked)
    except NetlinkError as error:
        if error.code not in _REFUSALS:
            raise KernelError(f"looking for the way to {destination}", error.code) from error
        return Lookup(_REFUSALS[error.code], "", "", "", False)
    names = dict(socket.if_nameindex())
    return Lookup(
        refused="",
        ifname=names.get(answer.get_attr("RTA_OIF") or 0, ""),
        gateway=answer.get_attr("RTA_GATEWAY") or "",
        source=answer.get_attr("RTA_PREFSRC") or "",
        local=_name(rt_type, answer["type"]) == "local",
    )


def _name(numbers: Any, value: int) -> str:
    """iproute2's name for a number, as pyroute2 knows it; the number itself for others."""
    return str(numbers.get(value, value))


def flush_neighbours(ifname: str = "", address: str = "") -> int:
    """Forget neighbours, all or those of an interface or address; how many.

    Raises NotFound, KernelError. Permanent entries stay, as with `ip neigh flush`.
    """
    forgotten, wanted = 0, index_of(ifname) if ifname else 0
    with netlink_for("forgetting neighbours") as netlink:
        for message in netlink.get_neighbours():
            known, index, kept = message.get_attr("NDA_DST"), message["ifindex"], message["state"]
            if (
                message["family"] in _FAMILIES
                and not kept & (_NUD_NOARP | _NUD_PERMANENT)
                and (not wanted or index == wanted)
                and (not address or known == address)
            ):
                netlink.neigh("del", dst=known, ifindex=index, family=message["family"])
                forgotten += 1
    return forgotten


def set_promiscuous(ifname: str, on: bool) -> None:
    """Have an interface take frames for others too, or not. Raises NotFound, KernelError."""
    index = index_of(ifname)
    with netlink_for(f"setting {ifname} promiscuous") as netlink:
        netlink.link("set", index=index, flags=_IFF_PROMISC if on else 0, change=_IFF_PROMISC)
