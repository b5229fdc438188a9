"""The tables of `ebpfnet show`: plain rows for a person or a program, out of the kernel's state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from datapath.kernel.net import ethtool, netns, state
from datapath.kernel.net.netns import Netns
from datapath.kernel.net.state import LinkRow
from datapath.views import nat
from datapath.views.peers import Peers

Rows = list[dict[str, Any]]


def links(node: Netns) -> Rows:
    """Interfaces: peer and bridge by name, the XDP programs there, what their kind adds."""
    found = netns.run_inside(node.path, state.links)
    names = {link.ifindex: link.ifname for link in found}
    peers = Peers(node)
    return [
        {
            "ifindex": link.ifindex,
            "ifname": link.ifname,
            "kind": link.kind,
            "state": "up" if link.up else "down",
            "carrier": link.carrier,
            "mac": link.mac,
            "mtu": link.mtu,
            "bridge": names.get(link.master, ""),
            "peer": peers.name(link.peer_ifindex, link.peer_nsid),
            "promiscuous": link.promiscuous,
            "xdp": list(link.xdp),
            "detail": _detail(link),
        }
        for link in found
    ]


def _detail(link: LinkRow) -> str:
    """What a kind has that others have not, in iproute2's words."""
    words: list[str] = []
    if tunnel := link.tunnel:
        words += ["id", str(tunnel.vni)] if tunnel.vni else []
        words += ["dstport", str(tunnel.port)] if tunnel.port else []
        words += ["local", tunnel.local] if tunnel.local else []
        words += ["remote", tunnel.remote] if tunnel.remote else []
    words += ["id", str(link.vlan)] if link.vlan else []
    words += ["mode", link.macvlan_mode] if link.macvlan_mode else []
    return " ".join(words)


def addresses(node: Netns) -> Rows:
    """Addresses of all interfaces."""
    return [asdict(row) for row in netns.run_inside(node.path, state.addresses)]


def neighbours(node: Netns) -> Rows:
    """The ARP table, and its like of IPv6."""
    return [asdict(row) for row in netns.run_inside(node.path, state.neighbours)]


def fdb(node: Netns) -> Rows:
    """Forwarding entries of bridges, as `brctl showmacs` has them, and of VXLAN devices."""
    return [asdict(row) for row in netns.run_inside(node.path, state.fdb)]


def routes(node: Netns) -> Rows:
    """Routes of all tables but the kernel's own."""
    return [asdict(row) for row in netns.run_inside(node.path, state.routes)]


def stats(node: Netns) -> Rows:
    """Counters of every interface: the common ones, then the driver's (`ethtool -S`) by queue.

    veth gives its peer's ifindex as a counter: it is the peer here.
    """
    peers, rows = Peers(node), []
    for link in netns.run_inside(node.path, state.links):
        counters = {
            name: getattr(link, name)
            for name in ("rx_packets", "tx_packets", "rx_dropped", "tx_dropped")
        }
        name = link.ifname
        driver = netns.run_inside(node.path, partial(ethtool.statistics, name))
        driver.pop("peer_ifindex", None)
        rows += [
            {
                "ifname": name,
                "counter": counter,
                "value": value,
                "peer": peers.name(link.peer_ifindex, link.peer_nsid),
            }
            for counter, value in (counters | driver).items()
        ]
    return rows


# What `ebpfnet show` can show, by its word for it.
VIEWS: Final[dict[str, Callable[[Netns], Rows]]] = {
    "links": links,
    "addr": addresses,
    "neigh": neighbours,
    "fdb": fdb,
    "routes": routes,
    "stats": stats,
    "nat": nat.rules,
}
