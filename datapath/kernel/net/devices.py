"""Interfaces of any kind, and what is set on them: for labs, which declare both.

Functions act in the network namespace of the calling thread. What a kernel cannot make is found out
by making one in a namespace that nobody sees.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, Final, cast
from zlib import crc32

from pyroute2.netlink.rtnl import RTM_NEWADDR, RTM_NEWLINK, ndmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from datapath.errors import EbpfnetError, KernelError
from datapath.kernel.net import links, netns, tools, tuntap
from datapath.kernel.net.netlink import exchange, new_interface, request

_IFA_F_NODAD: Final = 0x02
_RTNH_F_ONLINK: Final = 4
_RTPROT_BOOT: Final = 3  # what `ip route add` says of its routes
_SCOPE_LINK: Final = 253
_IFF_UP: Final = 0x1
_IFF_PROMISC: Final = 0x100
_BRIDGE_VLAN_INFO_PVID: Final = 2
_BRIDGE_VLAN_INFO_UNTAGGED: Final = 4
_DEFAULT_VLAN: Final = 1  # which a filtering bridge gives each new port

# A kind's options, as labs name them, by the names that pyroute2 has for the kernel's attributes.
_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "bridge": {"vlan_filtering": "br_vlan_filtering", "ageing_time": "br_ageing_time"},
    "vxlan": {
        "id": "vxlan_id",
        "local": "vxlan_local",
        "remote": "vxlan_group",
        "port": "vxlan_port",
        "learning": "vxlan_learning",
    },
    "macvlan": {"mode": "macvlan_mode"},
    "ipvlan": {"mode": "ipvlan_mode"},
    "vlan": {"id": "vlan_id"},
    "ipip": {"local": "ipip_local", "remote": "ipip_remote", "ttl": "ipip_ttl"},
}
_IPVLAN_MODES: Final = {"l2": 0, "l3": 1, "l3s": 2}  # which pyroute2 takes as numbers

_THIS_NETNS: Final = Path("/proc/thread-self/ns/net")
_TRIAL_MACS: Final = ("02:00:00:00:00:01", "02:00:00:00:00:02")
_TRIAL_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "vxlan": {"id": 1, "port": 4789},
    "vlan": {"id": 1},
    "ipip": {"local": "127.0.0.1", "remote": "127.0.0.2"},
}


def _attributes(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    names = _ATTRIBUTES.get(kind, {})
    values = {names[name]: value for name, value in options.items()}
    if "ipvlan_mode" in values:
        values["ipvlan_mode"] = _IPVLAN_MODES[values["ipvlan_mode"]]
    if ":" in str(values.get("vxlan_local", "")):
        values["vxlan_local6"] = values.pop("vxlan_local")
    if ":" in str(values.get("vxlan_group", "")):
        values["vxlan_group6"] = values.pop("vxlan_group")
    return {
        name: int(value) if isinstance(value, bool) else value for name, value in values.items()
    }


def create(
    ifname: str,
    kind: str,
    options: Mapping[str, Any],
    *,
    mac: str = "",
    parent: str = "",
    target: Path | None = None,
) -> None:
    """Make an interface, down, and put it into the namespace that `target` opens (None: this one).

    `parent`, an interface here, is what macvlan, ipvlan and vlan stand on. Raises AlreadyExists
    where the name is taken, NotFound without the parent, KernelError.
    """
    if kind in ("tap", "tun"):
        tuntap.make(ifname, cast(tuntap.Mode, kind))
        if mac:
            with links.netlink_for(f"giving {ifname} a MAC") as netlink:
                netlink.link("set", index=links.index_of(ifname), address=mac)
        return
    made_as = passing_name(ifname, target) if target else ifname
    wanted = {
        "ifname": made_as,
        "kind": kind,
        **_attributes(kind, options),
        **({"address": mac} if mac else {}),
        **({"link": links.index_of(parent)} if parent else {}),
    }
    _add(ifname, f"making {kind} {ifname}", wanted)
    if target:
        _move(made_as, ifname, target)


def passing_name(ifname: str, target: Path) -> str:
    """What an interface is called here on its way to another namespace.

    Before 6.14 the kernel makes none under a name that is taken here, wherever it is to be.
    """
    return f"eb{crc32(f'{target} {ifname}'.encode()):08x}"


def _move(made_as: str, ifname: str, target: Path) -> None:
    index = links.index_of(made_as)
    try:
        with (
            new_interface(f"{ifname} in {target.name}"),
            _netns_fd(target) as where,
            links.netlink_for(f"moving {ifname}") as netlink,
        ):
            netlink.link("set", index=index, ifname=ifname, **where)
    except EbpfnetError:
        with links.netlink_for(f"deleting {made_as}") as netlink:
            netlink.link("del", index=index)
        raise


@contextmanager
def _netns_fd(path: Path) -> Iterator[dict[str, int]]:
    """The attribute that puts an interface into another namespace."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield {"net_ns_fd": fd}
    finally:
        os.close(fd)


def _add(names: str, operation: str, wanted: Mapping[str, Any]) -> None:
    with new_interface(names), links.netlink_for(operation) as netlink:
        netlink.link("add", **wanted)


def create_pair(names: Sequence[str], macs: Sequence[str], peer: Path, mtu: int | None) -> None:
    """Make a veth pair, both ends down: the first here, the second in the namespace of `peer`.

    Raises AlreadyExists where one of the names is taken, KernelError.
    """
    both = {"mtu": mtu} if mtu else {}
    near = {"ifname": names[0], "kind": "veth", "address": macs[0], **both}
    far = {"ifname": names[1], "address": macs[1], **both}
    with _netns_fd(peer) as where:
        _add(
            f"{names[0]} or {names[1]}",
            f"making veth {names[0]} - {names[1]}",
            near | {"peer": far | where},
        )


def configure(
    ifname: str,
    addresses: Sequence[IPv4Interface | IPv6Interface],
    *,
    mtu: int | None,
    master: str,
    promisc: bool,
    up: bool,
) -> None:
    """Give an interface an MTU, a bridge, addresses and a state. Raises NotFound, KernelError."""
    index = links.index_of(ifname)
    attributes = {
        **({"IFLA_MTU": mtu} if mtu else {}),
        **({"IFLA_MASTER": links.index_of(master)} if master else {}),
    }
    flags = _IFF_UP * up | _IFF_PROMISC * promisc
    # Addresses of a lab are unique by declaration, and are wanted at once.
    no_dad = {4: 0, 6: _IFA_F_NODAD}
    exchange(
        f"configuring {ifname}",
        [
            *(
                links.address_request(RTM_NEWADDR, index, address, no_dad[address.version])
                for address in addresses
            ),
            request(
                ifinfmsg,
                RTM_NEWLINK,
                index=index,
                flags=flags,
                change=flags,
                attributes=attributes,
            ),
        ],
    )


def add_route(to: str, *, via: str, dev: str, src: str, onlink: bool, metric: int | None) -> None:
    """Add a route as `ip route add` does. Raises NotFound, KernelError."""
    wanted: dict[str, Any] = {"dst": to, "proto": _RTPROT_BOOT}
    if via:
        wanted["gateway"] = via
    elif ":" not in to:
        wanted["scope"] = _SCOPE_LINK
    if dev:
        wanted["oif"] = links.index_of(dev)
    if src:
        wanted["prefsrc"] = src
    if onlink:
        wanted["flags"] = _RTNH_F_ONLINK
    if metric is not None:
        wanted["priority"] = metric
    with links.netlink_for(f"adding a route to {to}") as netlink:
        netlink.route("add", **wanted)


def add_neighbour(address: str, ifname: str, mac: str) -> None:
    """Add a permanent neighbour; without a MAC, an address to answer for by proxy.

    Raises NotFound, KernelError.
    """
    entry = (
        {"lladdr": mac, "state": ndmsg.NUD_PERMANENT}
        if mac
        else {"flags": ndmsg.NTF_PROXY, "state": ndmsg.NUD_PERMANENT}
    )
    with links.netlink_for(f"adding neighbour {address}") as netlink:
        netlink.neigh("add", dst=address, ifindex=links.index_of(ifname), **entry)


def append_forwarding(mac: str, ifname: str, destination: str) -> None:
    """Add a forwarding entry: of a VXLAN device to `destination`, else of a bridge port.

    Raises NotFound, KernelError.
    """
    where = {"dst": destination, "flags": ndmsg.NTF_SELF} if destination else {}
    state = ndmsg.NUD_PERMANENT if destination else ndmsg.NUD_NOARP
    with links.netlink_for(f"adding forwarding entry {mac}") as netlink:
        netlink.fdb(
            "append" if destination else "add",
            ifindex=links.index_of(ifname),
            lladdr=mac,
            state=state,
            **(where or {"flags": ndmsg.NTF_MASTER}),
        )


def set_vlans(ifname: str, vlans: Mapping[int, tuple[bool, bool]]) -> None:
    """Give a bridge port these VLANs (number to pvid, untagged) in place of the one it came with.

    Raises NotFound, KernelError.
    """
    index = links.index_of(ifname)
    with links.netlink_for(f"setting VLANs of {ifname}") as netlink:
        if _DEFAULT_VLAN not in vlans:
            netlink.vlan_filter("del", index=index, vlan_info={"vid": _DEFAULT_VLAN})
        for vid, (pvid, untagged) in vlans.items():
            flags = _BRIDGE_VLAN_INFO_PVID * pvid | _BRIDGE_VLAN_INFO_UNTAGGED * untagged
            netlink.vlan_filter("add", index=index, vlan_info={"vid": vid, "flags": flags})


@cache
def supports(kind: str, options: tuple[tuple[str, Any], ...] = ()) -> bool:
    """Whether this kernel makes interfaces of a kind, with options that not every kernel has.

    Tried in a namespace of its own; a module that would have to be loaded is taken at its word.
    Raises KernelError where there can be no namespace at all.
    """
    if kind not in ("tap", "tun") and tools.loads_on_demand(f"rtnl-link-{kind}"):
        return True
    parent = "parent" if kind in ("macvlan", "ipvlan", "vlan") else ""

    def make() -> bool:
        with suppress(KernelError):
            if parent:
                create_pair((parent, "peer"), _TRIAL_MACS, _THIS_NETNS, None)
            create("trial", kind, {**_TRIAL_OPTIONS.get(kind, {}), **dict(options)}, parent=parent)
            return True
        return False

    return netns.scratch(make)
