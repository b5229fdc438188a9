"""The VLANs of a port, where a bridge keeps them apart."""

from __future__ import annotations

import errno
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_DELVLAN, RTM_GETVLAN, RTM_NEWVLAN
from pyroute2.netlink.rtnl.br_vlan import br_vlan_msg, br_vlan_query
from pyroute2.netlink.rtnl.ifinfmsg import BRIDGE_VLAN_INFO_ONLY_OPTS

from datapath.kernel.net.bridge.messages import DUMP, SET, request

_OPTIONS: Final = frozenset(
    f"BRIDGE_VLANDB_ENTRY_{name}"
    for name in ("STATE", "MCAST_ROUTER", "MCAST_MAX_GROUPS", "NEIGH_SUPPRESS")
)


def read(netlink: Any, index: int) -> list[dict[str, Any]]:
    """The port's VLANs in the kernel's ranges, see BridgePort."""
    query = br_vlan_query()
    query["ifindex"] = index
    try:
        answers = request(netlink, query, RTM_GETVLAN, DUMP)
    except NetlinkError as error:
        if error.code == errno.EOPNOTSUPP:
            return []  # a kernel without VLAN filtering
        raise
    found = []
    for answer in answers:
        for entry in answer.get_attrs("BRIDGE_VLANDB_ENTRY"):
            info = entry.get_attr("BRIDGE_VLANDB_ENTRY_INFO")
            tunnel = ("BRIDGE_VLANDB_ENTRY_TUNNEL_INFO", "BRIDGE_VLANDB_TINFO_ID")
            found.append(
                {
                    "first": info["vid"],
                    "last": entry.get_attr("BRIDGE_VLANDB_ENTRY_RANGE") or info["vid"],
                    "flags": info["flags"],
                    "tunnel": entry.get_nested(*tunnel) or 0,
                    "options": {name: value for name, value in entry["attrs"] if name in _OPTIONS},
                }
            )
    return found


def by_vid(vlans: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The entry of each VLAN, with the tunnel of its own."""
    return {
        vid: {**entry, "tunnel": entry["tunnel"] and entry["tunnel"] + vid - entry["first"]}
        for entry in vlans
        for vid in _vids(entry)
    }


def add(netlink: Any, index: int, vids: range, flags: int = 0, *options: Any) -> None:
    """Let a range of VLANs through, or set options of theirs."""
    _change(netlink, index, RTM_NEWVLAN, vids, flags, *options)


def remove(netlink: Any, index: int, vids: range) -> None:
    """No longer let a range of VLANs through."""
    _change(netlink, index, RTM_DELVLAN, vids, 0)


def restore(netlink: Any, index: int, wanted: list[dict[str, Any]]) -> None:
    """Add VLANs and set their options; none is removed."""
    if read(netlink, index) == wanted:
        return
    for entry in wanted:
        add(netlink, index, _vids(entry), entry["flags"])
    present = by_vid(read(netlink, index))
    for entry in wanted:
        vids = _vids(entry)
        options = [
            [name, value]
            for name, value in entry["options"].items()
            # One that the kernel does not show it does not know.
            if any(present[vid]["options"].get(name, value) != value for vid in vids)
        ]
        if options:
            add(netlink, index, vids, BRIDGE_VLAN_INFO_ONLY_OPTS, *options)
    for vid, entry in by_vid(wanted).items():
        if entry["tunnel"] not in (0, present[vid]["tunnel"]):
            tunnel = {"vid": vid, "id": entry["tunnel"]}
            netlink.vlan_filter("add", index=index, vlan_tunnel_info=tunnel)


def _vids(entry: dict[str, Any]) -> range:
    return range(entry["first"], entry["last"] + 1)


def _change(netlink: Any, index: int, kind: int, vids: range, flags: int, *options: Any) -> None:
    """RTM_NEWVLAN or RTM_DELVLAN for a range of VLANs."""
    entry = [["BRIDGE_VLANDB_ENTRY_INFO", {"flags": flags, "vid": vids[0]}], *options]
    if len(vids) > 1:
        entry.append(["BRIDGE_VLANDB_ENTRY_RANGE", vids[-1]])
    message = br_vlan_msg()
    message["ifindex"] = index
    message["attrs"] = [["BRIDGE_VLANDB_ENTRY", {"attrs": entry}]]
    request(netlink, message, kind, SET)
