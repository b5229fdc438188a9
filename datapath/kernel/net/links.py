"""Links, addresses and neighbours by netlink (pyroute2).

Every function acts in the network namespace of the calling thread; use netns.run_inside for others.
pyroute2's IPRoute is opened for each call (0.2 ms) and closed with it.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from datapath.errors import AlreadyExists, KernelError, NotFound
from datapath.kernel.net import sysctl

_IFF_UP = 1
_IFA_F_NODAD = 0x02
_ADDR_GEN_MODE_NONE = 1
_AF_INET6 = 10
_LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `peer_index` and `peer_nsid` say where the other end of a veth is: its ifindex,
    and the id that this namespace gives the other one (None: the same namespace).
    """

    index: int
    name: str
    kind: str
    mac: str
    up: bool
    mtu: int
    master: int
    peer_index: int
    peer_nsid: int | None


@contextmanager
def netlink_for(operation: str) -> Iterator[Any]:
    """A netlink socket whose errors come out as KernelError about `operation`."""
    try:
        with IPRoute(ext_ack=True) as netlink:
            yield netlink
    except NetlinkError as error:
        raise KernelError(operation, error.code, detail=str(error)) from error


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        mac=message.get_attr("IFLA_ADDRESS") or "",
        up=bool(message["flags"] & _IFF_UP),
        mtu=message.get_attr("IFLA_MTU") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        peer_index=message.get_attr("IFLA_LINK") or 0,
        peer_nsid=message.get_attr("IFLA_LINK_NETNSID"),
    )


def all_links() -> list[Link]:
    """Every interface here."""
    with netlink_for("listing interfaces") as netlink:
        return [_link(message) for message in netlink.get_links()]


def names() -> dict[int, str]:
    """Names of the interfaces here by ifindex: all that is asked for where there are thousands."""
    return dict(socket.if_nameindex())


def find(name: str) -> Link | None:
    """The interface called `name`, None where there is none."""
    try:
        with IPRoute() as netlink:
            for message in netlink.link("get", ifname=name):
                return _link(message)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise KernelError(f"looking for {name}", error.code) from error
    return None


def get(name: str) -> Link:
    """The interface called `name`. Raises NotFound."""
    link = find(name)
    if link is None:
        raise NotFound(f"interface {name} does not exist", remedy="see `ip link`")
    return link


def mark_loopback(alias: str) -> None:
    """Bring lo up and note on it whose namespace this is. Raises KernelError."""
    with netlink_for("bringing lo up") as netlink:
        netlink.link("set", index=_LOOPBACK, state="up", ifalias=alias)


def loopback_mark() -> str:
    """What was noted on lo, "" where nothing was. Raises KernelError."""
    with netlink_for("reading lo") as netlink:
        for message in netlink.link("get", index=_LOOPBACK):
            return str(message.get_attr("IFLA_IFALIAS") or "")
    return ""


def index_of(name: str) -> int:
    """The ifindex of an interface, without asking netlink for the rest of it. Raises NotFound."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise NotFound(f"interface {name} does not exist", remedy="see `ip link`") from error


def addresses(index: int) -> list[IPv4Interface | IPv6Interface]:
    """Addresses of an interface, in the order that the kernel lists them."""
    with netlink_for("listing addresses") as netlink:
        return [
            ip_interface(
                f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}"
                f"/{message['prefixlen']}"
            )
            for message in netlink.get_addr(index=index)
        ]


def nsid(path: Path) -> int | None:
    """The id that this namespace gives the one `path` opens; None where it gave none yet."""
    fd = os.open(path, os.O_RDONLY)
    try:
        with netlink_for(f"asking for the id of {path}") as netlink:
            answer = netlink.get_netnsid(fd=fd)
    finally:
        os.close(fd)
    value: int | None = answer["nsid"]
    return None if value in (None, 0xFFFFFFFF) else value  # NETNSA_NSID_NOT_ASSIGNED


def ipv6_enabled() -> bool:
    """Whether new interfaces here get IPv6."""
    try:
        return Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").read_text().strip() == "0"
    except OSError:
        return False


def create_veth(
    ifname: str,
    mac: str,
    peer_ifname: str,
    peer_netns: Path,
    addresses: Sequence[IPv4Interface | IPv6Interface],
    *,
    peer_mac: str,
    mtu: int | None = None,
) -> None:
    """Make a veth here whose other end is in `peer_netns`, give it addresses, bring it up.

    The other end stays down. Raises AlreadyExists where one of the names is taken; KernelError, and
    then what was made until then stays (delete `ifname`).
    """
    optional = {"mtu": mtu} if mtu else {}
    fd = os.open(peer_netns, os.O_RDONLY)
    try:
        with netlink_for(f"making veth {ifname} - {peer_ifname}") as netlink:
            netlink.link(
                "add",
                ifname=ifname,
                kind="veth",
                address=mac,
                peer={"ifname": peer_ifname, "address": peer_mac, "net_ns_fd": fd, **optional},
                **optional,
            )
    except KernelError as error:
        if error.errno == errno.EEXIST:
            raise AlreadyExists(
                f"interface {ifname} or {peer_ifname} exists already", remedy="see `ip link`"
            ) from error
        raise
    finally:
        os.close(fd)
    # Addresses of ours are unique by construction, and the datapath answers for them: an IPv6 one
    # need not be tentative for a second or two.
    setting = f"net/ipv6/conf/{ifname}/accept_dad"
    if sysctl.read(setting) not in (None, "0"):
        sysctl.write(setting, "0")
    index = index_of(ifname)
    with netlink_for(f"configuring {ifname}") as netlink:
        for address in addresses:
            flags = {"flags": _IFA_F_NODAD} if address.version == 6 else {}
            netlink.addr(
                "add",
                index=index,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                **flags,
            )
        netlink.link("set", index=index, state="up")


def create_bridge(name: str, mac: str) -> None:
    """Make a bridge without STP and bring it up. Raises AlreadyExists, KernelError."""
    if find(name):
        raise AlreadyExists(f"interface {name} exists already", remedy="see `ip link`")
    with netlink_for(f"making bridge {name}") as netlink:
        netlink.link("add", ifname=name, kind="bridge", address=mac, br_stp_state=0)
        netlink.link("set", index=netlink.link_lookup(ifname=name)[0], state="up")


def enslave(name: str, master: str) -> None:
    """Plug an interface into a bridge. Raises NotFound, KernelError."""
    port, bridge = get(name), get(master)
    with netlink_for(f"plugging {name} into {master}") as netlink:
        netlink.link("set", index=port.index, master=bridge.index)


def bring_up_silently(name: str) -> None:
    """Bring a host end up without an IPv6 address: the host has no business on the segment.

    Raises NotFound, KernelError.
    """
    index = index_of(name)
    with netlink_for(f"bringing {name} up") as netlink:
        if ipv6_enabled():
            netlink.link(
                "set",
                index=index,
                IFLA_AF_SPEC={
                    "attrs": [
                        [
                            "AF_INET6",
                            {"attrs": [["IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE]]},
                        ]
                    ]
                },
            )
        netlink.link("set", index=index, state="up")


def set_up(name: str, up: bool) -> None:
    """Bring an interface up or down. Raises NotFound, KernelError."""
    index = index_of(name)
    with netlink_for(f"bringing {name} {'up' if up else 'down'}") as netlink:
        netlink.link("set", index=index, state="up" if up else "down")


def add_address(name: str, address: IPv4Interface | IPv6Interface) -> None:
    """Give an interface an address; no error where it has it. Raises NotFound, KernelError."""
    link = get(name)
    if address in addresses(link.index):
        return
    with netlink_for(f"adding {address} to {name}") as netlink:
        netlink.addr(
            "add", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen
        )


def remove_address(name: str, address: IPv4Interface | IPv6Interface) -> None:
    """Take an address away; no error where it or the interface is gone. Raises KernelError."""
    link = find(name)
    if link is None or address not in addresses(link.index):
        return
    with netlink_for(f"removing {address} from {name}") as netlink:
        netlink.addr(
            "del", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen
        )


def delete(name: str, mac: str) -> None:
    """Delete the interface with this name and MAC; no error where there is none such.

    The MAC tells ours from somebody else's under the same name. Raises KernelError.
    """
    link = find(name)
    if link is None or link.mac != mac:
        return
    with netlink_for(f"deleting {name}") as netlink:
        try:
            netlink.link("del", index=link.index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise


def delete_all(wanted: Mapping[str, str]) -> None:
    """Delete interfaces, given as names with their MACs, in one go, skipping those that are gone.

    Deleting one veth waits for RCU several times (some 10 ms); a group of them waits as often as
    one. Raises KernelError.
    """
    there = [link for link in all_links() if wanted.get(link.name) == link.mac]
    if not there:
        return
    group = secrets.randbits(31) | 1
    with netlink_for("deleting interfaces") as netlink:
        for link in there:
            netlink.link("set", index=link.index, group=group)
        netlink.link("del", group=group)


def neighbour(name: str, address: str) -> str | None:
    """The MAC that an address is known by on an interface, None where it is not known."""
    link = get(name)
    with netlink_for("listing neighbours") as netlink:
        for message in netlink.get_neighbours(ifindex=link.index):
            if message.get_attr("NDA_DST") == address:
                return str(message.get_attr("NDA_LLADDR") or "") or None
    return None


def add_route(destination: str, *, device: str, gateway: str = "", onlink: bool = False) -> None:
    """Add a route over a device. Raises NotFound, KernelError."""
    link = get(device)
    with netlink_for(f"adding a route to {destination} by {device}") as netlink:
        via = {"gateway": gateway} if gateway else {"scope": 253}  # scope link
        flags = {"flags": 4} if onlink else {}  # RTNH_F_ONLINK
        netlink.route("add", dst=destination, oif=link.index, **via, **flags)
