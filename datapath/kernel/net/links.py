"""Links, addresses and neighbours by netlink (pyroute2).

Every function acts in the network namespace of the calling thread; use netns.run_inside for others.
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
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETNSID,
    RTM_NEWADDR,
    RTM_NEWLINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg

from datapath.errors import AlreadyExists, KernelError, NotFound
from datapath.kernel.net import sysctl
from datapath.kernel.net.netlink import CREATE, DUMP, exchange, nested, new_interface, request

_IFF_UP = 1
_IFA_F_NODAD = 0x02
_LOOPBACK = 1
_NOT_ASSIGNED = 0xFFFFFFFF  # NETNSA_NSID_NOT_ASSIGNED
_SKIP_STATS = 1 << 3  # RTEXT_FILTER_SKIP_STATS: they are most of what the kernel says of a link


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
    """pyroute2's socket for what it has calls for, its errors as KernelError about `operation`."""
    try:
        with IPRoute(ext_ack=True) as netlink:
            yield netlink
    except NetlinkError as error:
        raise KernelError(operation, error.code, detail=str(error)) from error
    except OSError as error:  # as pyroute2 has ENOBUFS, when a table is full
        raise KernelError(operation, error.errno or errno.EIO) from error


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
    dump = request(ifinfmsg, RTM_GETLINK, DUMP, attributes={"IFLA_EXT_MASK": _SKIP_STATS})
    return [_link(message) for message in exchange("listing interfaces", [dump])]


def names() -> dict[int, str]:
    """Names of the interfaces here by ifindex: all that is asked for where there are thousands."""
    return dict(socket.if_nameindex())


def find(name: str) -> Link | None:
    """The interface called `name`, None where there is none."""
    wanted = {"IFLA_IFNAME": name, "IFLA_EXT_MASK": _SKIP_STATS}
    try:
        (message,) = exchange(
            f"looking for {name}", [request(ifinfmsg, RTM_GETLINK, attributes=wanted)]
        )
    except KernelError as error:
        if error.errno != errno.ENODEV:
            raise
        return None
    return _link(message)


def get(name: str) -> Link:
    """The interface called `name`. Raises NotFound."""
    link = find(name)
    if link is None:
        raise NotFound(f"interface {name} does not exist", remedy="see `ip link`")
    return link


def mark_loopback(alias: str) -> None:
    """Bring lo up and note on it whose namespace this is. Raises KernelError."""
    exchange("bringing lo up", [_up(_LOOPBACK, True, {"IFLA_IFALIAS": alias})])


def loopback_mark() -> str:
    """What was noted on lo, "" where nothing was. Raises KernelError."""
    (message,) = exchange("reading lo", [request(ifinfmsg, RTM_GETLINK, index=_LOOPBACK)])
    return str(message.get_attr("IFLA_IFALIAS") or "")


def index_of(name: str) -> int:
    """The ifindex of an interface, without asking netlink for the rest of it. Raises NotFound."""
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise NotFound(f"interface {name} does not exist", remedy="see `ip link`") from error


def addresses(index: int) -> list[IPv4Interface | IPv6Interface]:
    """Addresses of an interface, in the order that the kernel lists them."""
    return [
        ip_interface(
            f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}"
            f"/{message['prefixlen']}"
        )
        for message in exchange(
            "listing addresses", [request(ifaddrmsg, RTM_GETADDR, DUMP, index=index)]
        )
    ]


def nsid(path: Path) -> int | None:
    """The id that this namespace gives the one `path` opens; None where it gave none yet."""
    fd = os.open(path, os.O_RDONLY)
    try:
        (answer,) = exchange(
            f"asking for the id of {path}",
            [request(nsidmsg, RTM_GETNSID, attributes={"NETNSA_FD": fd})],
        )
    finally:
        os.close(fd)
    value: int = answer.get_attr("NETNSA_NSID")
    return None if value == _NOT_ASSIGNED else value


def _up(index: int, up: bool, attributes: Mapping[str, Any] | None = None) -> Any:
    """A request to bring an interface up or down, and to set some attributes before."""
    return request(
        ifinfmsg,
        RTM_NEWLINK,
        index=index,
        flags=_IFF_UP * up,
        change=_IFF_UP,
        attributes=attributes,
    )


def address_request(
    command: int, index: int, address: IPv4Interface | IPv6Interface, flags: int = 0
) -> Any:
    """A request to add or remove an address."""
    return request(
        ifaddrmsg,
        command,
        CREATE if command == RTM_NEWADDR else 0,
        family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
        index=index,
        prefixlen=address.network.prefixlen,
        flags=flags,
        attributes={"IFA_LOCAL": str(address.ip), "IFA_ADDRESS": str(address.ip)},
    )


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
    optional = {"IFLA_MTU": mtu} if mtu else {}
    fd = os.open(peer_netns, os.O_RDONLY)
    peer = {
        "IFLA_IFNAME": peer_ifname,
        "IFLA_ADDRESS": peer_mac,
        "IFLA_NET_NS_FD": fd,
        **optional,
    }
    kind = {"IFLA_INFO_KIND": "veth", "IFLA_INFO_DATA": nested({"VETH_INFO_PEER": nested(peer)})}
    near = {
        "IFLA_IFNAME": ifname,
        "IFLA_ADDRESS": mac,
        **optional,
        "IFLA_LINKINFO": nested(kind),
    }
    try:
        with new_interface(f"{ifname} or {peer_ifname}"):
            exchange(
                f"making veth {ifname} - {peer_ifname}",
                [request(ifinfmsg, RTM_NEWLINK, CREATE, attributes=near)],
            )
    finally:
        os.close(fd)
    configure(ifname, addresses)


def configure(ifname: str, addresses: Sequence[IPv4Interface | IPv6Interface]) -> None:
    """Give an interface of ours its addresses and bring it up. Raises NotFound, KernelError."""
    index = index_of(ifname)
    try:
        # They are unique by construction, the link-local one that the kernel would make too, and
        # the datapath answers for them: none need be tentative for a second or two.
        exchange(
            f"giving {ifname} IPv6",
            [
                address_request(RTM_NEWADDR, index, address, _IFA_F_NODAD)
                for address in addresses
                if address.version == 6
            ],
        )
    except KernelError as error:
        if error.errno not in (errno.EACCES, errno.EOPNOTSUPP):
            raise  # IPv6 is switched off there, or not in this kernel: it does without
    settled = [address_request(RTM_NEWADDR, index, each) for each in addresses if each.version == 4]
    exchange(f"configuring {ifname}", [*settled, _up(index, True)])


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
    """Bring a host end up without IPv6: the host has no business on the segment.

    Switched off rather than left without an address: then the host's routing table has no multicast
    route for it, and the kernel, which walks the whole table whenever an interface comes up or
    goes, does so in no time. Raises NotFound, KernelError.
    """
    index = index_of(name)
    setting = f"net/ipv6/conf/{name}/disable_ipv6"
    if sysctl.read(setting) == "0":
        sysctl.write(setting, "1")
    exchange(f"bringing {name} up", [_up(index, True)])


def set_up(name: str, up: bool) -> None:
    """Bring an interface up or down. Raises NotFound, KernelError."""
    index = index_of(name)
    exchange(f"bringing {name} {'up' if up else 'down'}", [_up(index, up)])


def add_address(name: str, address: IPv4Interface | IPv6Interface) -> None:
    """Give an interface an address; no error where it has it. Raises NotFound, KernelError."""
    link = get(name)
    if address in addresses(link.index):
        return
    exchange(f"adding {address} to {name}", [address_request(RTM_NEWADDR, link.index, address)])


def remove_address(name: str, address: IPv4Interface | IPv6Interface) -> None:
    """Take an address away; no error where it or the interface is gone. Raises KernelError."""
    link = find(name)
    if link is None or address not in addresses(link.index):
        return
    exchange(f"removing {address} from {name}", [address_request(RTM_DELADDR, link.index, address)])


def delete(name: str, mac: str) -> None:
    """Delete the interface with this name and MAC; no error where there is none such.

    The MAC tells ours from somebody else's under the same name. Raises KernelError.
    """
    link = find(name)
    if link is None or link.mac != mac:
        return
    try:
        exchange(f"deleting {name}", [request(ifinfmsg, RTM_DELLINK, index=link.index)])
    except KernelError as error:
        if error.errno != errno.ENODEV:
            raise


def delete_all(wanted: Mapping[str, str]) -> None:
    """Delete interfaces, given as names with their MACs, in one go, skipping those that are gone.

    Deleting one veth waits for RCU several times (some 10 ms); a group of them waits as often as
    one. Raises KernelError.
    """
    there = [link for link in all_links() if wanted.get(link.name) == link.mac]
    if not there:
        return
    group = {"IFLA_GROUP": secrets.randbits(31) | 1}
    grouped = [request(ifinfmsg, RTM_NEWLINK, index=link.index, attributes=group) for link in there]
    exchange("deleting interfaces", [*grouped, request(ifinfmsg, RTM_DELLINK, attributes=group)])


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
