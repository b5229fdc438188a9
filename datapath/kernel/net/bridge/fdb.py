"""The forwarding entries of a port that a person added."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from pyroute2.netlink.rtnl import RTM_GETNEIGH, ndmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from datapath.kernel.net.bridge.messages import AF_BRIDGE, DUMP, request


def read(netlink: Any, index: int, own_mac: str) -> list[dict[str, Any]]:
    """Forwarding entries that a person added, see BridgePort; own_mac's are the kernel's."""
    # struct ndmsg would do as well, but the kernel filters by port only with this one.
    query = ifinfmsg()
    query["index"] = index
    found = []
    for answer in request(netlink, query, RTM_GETNEIGH, DUMP):
        flags, state = answer["flags"], answer["state"]
        lasting = state & (ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP) or flags & ndmsg.NTF_EXT_LEARNED
        mac = answer.get_attr("NDA_LLADDR")
        # Entries without a master are the interface's own filter, which stays with it.
        if lasting and answer.get_attr("NDA_MASTER") and mac != own_mac:
            vlan = answer.get_attr("NDA_VLAN") or 0
            kept = flags & (ndmsg.NTF_STICKY | ndmsg.NTF_EXT_LEARNED)
            found.append({"mac": mac, "vlan": vlan, "state": state, "flags": kept})
    return sorted(found, key=itemgetter("vlan", "mac"))


def restore(netlink: Any, index: int, own_mac: str, wanted: list[dict[str, Any]]) -> None:
    """Add what is missing."""
    present = read(netlink, index, own_mac)
    missing = [entry for entry in wanted if entry not in present]
    for entry in missing:
        netlink.neigh(
            "replace",  # another port may have learned the address meanwhile
            family=AF_BRIDGE,
            ifindex=index,
            lladdr=entry["mac"],
            state=entry["state"],
            flags=entry["flags"] | ndmsg.NTF_MASTER,
            **({"vlan": entry["vlan"]} if entry["vlan"] else {}),
        )
    # An address added for no VLAN was given to each VLAN of the port too.
    spread = {entry["mac"] for entry in missing if not entry["vlan"]}
    for entry in read(netlink, index, own_mac) if spread else ():
        if entry["mac"] in spread and entry not in wanted:
            netlink.neigh(
                "del",
                family=AF_BRIDGE,
                ifindex=index,
                lladdr=entry["mac"],
                vlan=entry["vlan"],
                flags=ndmsg.NTF_MASTER,
            )
