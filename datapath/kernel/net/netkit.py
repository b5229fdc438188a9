"""netkit pairs (Linux 6.7), which pyroute2 0.9 does not know.

Functions act in the network namespace of the calling thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl import RTM_NEWLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg, ifinfveth

from datapath.kernel.net.netlink import CREATE, exchange, nested, new_interface, request

_MODE_L2: Final = 0  # enum netkit_mode: frames have Ethernet headers


class _Data(nla):  # type: ignore[misc]
    """Attributes of linux/if_link.h."""

    nla_map = (
        ("IFLA_NETKIT_UNSPEC", "none"),
        ("IFLA_NETKIT_PEER_INFO", "peer"),
        ("IFLA_NETKIT_PRIMARY", "uint8"),
        ("IFLA_NETKIT_POLICY", "uint32"),
        ("IFLA_NETKIT_PEER_POLICY", "uint32"),
        ("IFLA_NETKIT_MODE", "uint32"),
    )

    @staticmethod
    def peer(*_: object, **__: object) -> object:
        """As a veth's peer: a message of its own."""
        return ifinfveth


ifinfmsg.ifinfo.register_link_kind(module={"netkit": _Data})


def create(ifname: str, mac: str, peer_ifname: str, peer_netns: Path, *, peer_mac: str) -> None:
    """Make a pair, both ends down: the primary end here, its peer in `peer_netns`.

    In mode l2, so that programs see the frames that they see at a veth; what no program judges
    passes. Raises AlreadyExists where one of the names is taken, KernelError.
    """
    fd = os.open(peer_netns, os.O_RDONLY)
    peer = {"IFLA_IFNAME": peer_ifname, "IFLA_ADDRESS": peer_mac, "IFLA_NET_NS_FD": fd}
    data = {"IFLA_NETKIT_PEER_INFO": nested(peer), "IFLA_NETKIT_MODE": _MODE_L2}
    info = {"IFLA_INFO_KIND": "netkit", "IFLA_INFO_DATA": nested(data)}
    primary = {"IFLA_IFNAME": ifname, "IFLA_ADDRESS": mac, "IFLA_LINKINFO": nested(info)}
    try:
        with new_interface(f"{ifname} or {peer_ifname}"):
            exchange(
                f"making netkit {ifname} - {peer_ifname}",
                [request(ifinfmsg, RTM_NEWLINK, CREATE, attributes=primary)],
            )
    finally:
        os.close(fd)
