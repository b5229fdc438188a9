"""Bridge ports: taking an interface out of its bridge, and putting it back as it was.

The kernel forgets all about a port that leaves, so what a person had set is read before. The record
holds plain values only: `BridgePort(**json.loads(json.dumps(asdict(port))))` is the same port.
Functions act in the network namespace of the calling thread.

Left out: what traffic teaches the bridge again (learned addresses, joined groups), lists of sources
(IGMPv3), MRP and CFM instances, and that another port names this one as its backup.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

from pyroute2.netlink import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    nlmsg,
)
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import (
    RTM_DELVLAN,
    RTM_GETMDB,
    RTM_GETNEIGH,
    RTM_GETVLAN,
    RTM_NEWMDB,
    RTM_NEWVLAN,
    ndmsg,
)
from pyroute2.netlink.rtnl.br_vlan import br_vlan_msg, br_vlan_query
from pyroute2.netlink.rtnl.ifinfmsg import BRIDGE_VLAN_INFO_ONLY_OPTS, ifinfmsg

from datapath.errors import NotFound
from datapath.kernel.net import links

_AF_BRIDGE = 7
_DUMP = NLM_F_REQUEST | NLM_F_DUMP
_SET = NLM_F_REQUEST | NLM_F_ACK

_STATE, _BACKUP_PORT = "IFLA_BRPORT_STATE", "IFLA_BRPORT_BACKUP_PORT"
_STATE_FORWARDING = 3
# What `bridge link set` sets, apart from the two above, which have rules of their own.
_SETTABLE: Final = frozenset(
    f"IFLA_BRPORT_{name}"
    for name in (
        *("PRIORITY", "COST", "MODE", "GUARD", "PROTECT", "FAST_LEAVE", "LEARNING", "LOCKED"),
        *("UNICAST_FLOOD", "MCAST_FLOOD", "BCAST_FLOOD", "MCAST_TO_UCAST", "PROXYARP", "MAB"),
        *("PROXYARP_WIFI", "MULTICAST_ROUTER", "VLAN_TUNNEL", "GROUP_FWD_MASK", "ISOLATED"),
        *("NEIGH_SUPPRESS", "NEIGH_VLAN_SUPPRESS", "MCAST_EHT_HOSTS_LIMIT"),
        *("MCAST_MAX_GROUPS", "BACKUP_NHID"),
    )
)
_VLAN_OPTIONS: Final = frozenset(
    f"BRIDGE_VLANDB_ENTRY_{name}"
    for name in ("STATE", "MCAST_ROUTER", "MCAST_MAX_GROUPS", "NEIGH_SUPPRESS")
)

# struct br_mdb_entry: ifindex, state, flags, VLAN, address and EtherType.
_GROUP = struct.Struct("=IBBH18s2x")
_GROUP_HEADERS = 24  # struct nlmsghdr and br_port_msg
_GROUP_PERMANENT = 1
_MDBA_MDB_EATTR_SOURCE, _MDBE_ATTR_SOURCE = 4, 1  # when read, when set


@dataclass(frozen=True, slots=True)
class BridgePort:
    """A port as it was in its bridge.

    number: the kernel gives the lowest free one, so ports of a bridge rejoin in order of it
    attributes: kernel's name (IFLA_BRPORT_...) to value; the state only where a person set it
    backup: the name of its backup port, "" for none
    vlans: ranges {first, last, flags (BRIDGE_VLAN_INFO_...), tunnel (id of the first, 0 none),
        options (BRIDGE_VLANDB_ENTRY_... to value)}
    addresses: forwarding entries that a person added {mac, vlan (0 none), state (NUD_...),
        flags (NTF_...)}
    groups: permanent multicast entries {vlan, group (address and EtherType as in struct
        br_mdb_entry, hex), source (hex, "" any)}
    """

    bridge: str
    ifname: str
    number: int
    attributes: dict[str, int]
    backup: str
    vlans: list[dict[str, Any]]
    addresses: list[dict[str, Any]]
    groups: list[dict[str, Any]]


class _GroupMessage(nlmsg):  # type: ignore[misc]
    """struct br_port_msg and the attributes of RTM_NEWMDB, which pyroute2 does not know."""

    fields = (("family", "B"), ("__pad", "3x"), ("ifindex", "I"))
    nla_map = (
        ("MDBA_SET_ENTRY_UNSPEC", "none"),
        ("MDBA_SET_ENTRY", "cdata"),
        ("MDBA_SET_ENTRY_ATTRS", "cdata"),
    )


def vlans(ifname: str) -> dict[int, int]:
    """The VLANs of a port of a bridge that filters them, with BRIDGE_VLAN_INFO_ flags by VLAN."""
    port = read_port(ifname)
    return {vid: entry["flags"] for entry in (port.vlans if port else []) for vid in _vids(entry)}


def filters_vlans(ifname: str) -> bool:
    """Whether a bridge keeps VLANs apart. Raises NotFound, KernelError."""
    index = links.get(ifname).index
    with links.netlink_for(f"reading bridge {ifname}") as netlink:
        info = _link(netlink, index).get_attr("IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_DATA") if info else None
        return bool(data and data.get_attr("IFLA_BR_VLAN_FILTERING"))


def read_port(ifname: str) -> BridgePort | None:
    """The interface as a bridge's port; None where it is in no bridge.

    Raises NotFound where there is no such interface, KernelError.
    """
    index = links.get(ifname).index
    with links.netlink_for(f"reading bridge port {ifname}") as netlink:
        message = _link(netlink, index)
        values = _port_values(message)
        if values is None:
            return None
        bridge = _link(netlink, message.get_attr("IFLA_MASTER"))
        backup = values.get(_BACKUP_PORT)
        attributes = {name: value for name, value in values.items() if name in _SETTABLE}
        if _state_is_free(message, bridge) and values[_STATE] != _STATE_FORWARDING:
            attributes[_STATE] = values[_STATE]
        return BridgePort(
            bridge=bridge.get_attr("IFLA_IFNAME"),
            ifname=ifname,
            number=values["IFLA_BRPORT_NO"],
            attributes=attributes,
            backup=_link(netlink, backup).get_attr("IFLA_IFNAME") if backup else "",
            vlans=_vlans(netlink, index),
            addresses=_addresses(netlink, index, message.get_attr("IFLA_ADDRESS")),
            groups=_groups(netlink, index),
        )


def leave(ifname: str) -> None:
    """Take the interface out of its bridge; no error where it is in none.

    Raises NotFound, KernelError.
    """
    index = links.get(ifname).index
    with links.netlink_for(f"taking {ifname} out of its bridge") as netlink:
        netlink.link("set", index=index, master=0)


def rejoin(port: BridgePort) -> None:
    """Put the interface back in its bridge as recorded; only what differs is set.

    Harmless to repeat. What this kernel does not know is left out. A backup port that is not in the
    bridge itself is left out as well: rejoin again once it is. Raises NotFound where the interface
    or the bridge is gone, KernelError.
    """
    index = links.get(port.ifname).index
    bridge = links.find(port.bridge)
    if bridge is None or bridge.kind != "bridge":
        raise NotFound(
            f"bridge {port.bridge}, which {port.ifname} belongs in, does not exist",
            remedy=f"make it again: `ip link add {port.bridge} type bridge`",
        )
    with links.netlink_for(f"putting {port.ifname} back in bridge {port.bridge}") as netlink:
        if _link(netlink, index).get_attr("IFLA_MASTER") != bridge.index:
            netlink.link("set", index=index, master=bridge.index)
        message = _link(netlink, index)
        fresh = _port_values(message) or {}
        _set_port(netlink, index, _differences(fresh, port.attributes, _SETTABLE))
        _restore_backup(netlink, index, bridge.index, fresh.get(_BACKUP_PORT, 0), port.backup)
        _restore_vlans(netlink, index, port.vlans)
        # An address outlives the VLAN it was added for, but can only be added while that is there.
        for vid in {entry["vlan"] for entry in port.addresses} - {0, *_by_vid(port.vlans)}:
            _set_vlans(netlink, index, RTM_NEWVLAN, range(vid, vid + 1), 0)
        _restore_addresses(netlink, index, message.get_attr("IFLA_ADDRESS"), port.addresses)
        for vid in _by_vid(_vlans(netlink, index)).keys() - _by_vid(port.vlans).keys():
            _set_vlans(netlink, index, RTM_DELVLAN, range(vid, vid + 1), 0)
        if _state_is_free(message, _link(netlink, bridge.index)):
            _set_port(netlink, index, _differences(fresh, port.attributes, {_STATE}))
        _restore_groups(netlink, index, bridge.index, port.groups)


def commands(port: BridgePort) -> list[str]:
    """What a person would type to take the port out of its bridge."""
    return [f"ip link set {port.ifname} nomaster"]


def _request(netlink: Any, message: Any, kind: int, flags: int) -> list[Any]:
    """Send a message for which pyroute2 has no call, and return the answers."""
    message["family"] = _AF_BRIDGE
    message["header"]["type"], message["header"]["flags"] = kind, flags
    answers: list[Any] = netlink.nlm_request_batch([message])
    return answers


def _link(netlink: Any, index: int) -> Any:
    return netlink.link("get", index=index)[0]


def _port_values(message: Any) -> dict[str, Any] | None:
    """Every attribute of a bridge port by the kernel's name; None where it is in no bridge."""
    info = message.get_attr("IFLA_LINKINFO")
    if info is None or info.get_attr("IFLA_INFO_SLAVE_KIND") != "bridge":
        return None
    return dict(info.get_attr("IFLA_INFO_SLAVE_DATA")["attrs"])


def _state_is_free(port: Any, bridge: Any) -> bool:
    """Whether the port's state is a person's to set: both up, and no spanning tree."""
    stp = bridge.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_BR_STP_STATE")
    up = port.get_attr("IFLA_OPERSTATE") == "UP" and bridge["state"] == "up"
    return up and not stp


def _differences(
    present: dict[str, Any], wanted: dict[str, int], names: frozenset[str] | set[str]
) -> dict[str, int]:
    return {
        name: value
        for name, value in wanted.items()
        if name in names and present.get(name, 0) != value
    }


def _set_port(netlink: Any, index: int, attributes: dict[str, int]) -> None:
    """Set port attributes in one request: some are refused without another (MAB, locked)."""
    if attributes:
        netlink.link(
            "set",
            index=index,
            IFLA_LINKINFO={
                "attrs": [
                    ["IFLA_INFO_SLAVE_KIND", "bridge"],
                    ["IFLA_INFO_SLAVE_DATA", {"attrs": list(attributes.items())}],
                ]
            },
        )


def _restore_backup(netlink: Any, index: int, bridge: int, present: int, backup: str) -> None:
    link = links.find(backup) if backup else None
    wanted = link.index if link and link.master == bridge else 0
    if wanted != present:
        _set_port(netlink, index, {_BACKUP_PORT: wanted})


def _vlans(netlink: Any, index: int) -> list[dict[str, Any]]:
    """The port's VLANs in the kernel's ranges, see BridgePort."""
    query = br_vlan_query()
    query["ifindex"] = index
    try:
        answers = _request(netlink, query, RTM_GETVLAN, _DUMP)
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
                    "options": {
                        name: value for name, value in entry["attrs"] if name in _VLAN_OPTIONS
                    },
                }
            )
    return found


def _vids(entry: dict[str, Any]) -> range:
    return range(entry["first"], entry["last"] + 1)


def _by_vid(vlans: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {
        vid: {**entry, "tunnel": entry["tunnel"] and entry["tunnel"] + vid - entry["first"]}
        for entry in vlans
        for vid in _vids(entry)
    }


def _set_vlans(netlink: Any, index: int, kind: int, vids: range, flags: int, *options: Any) -> None:
    """RTM_NEWVLAN or RTM_DELVLAN for a range of VLANs."""
    entry = [["BRIDGE_VLANDB_ENTRY_INFO", {"flags": flags, "vid": vids[0]}], *options]
    if len(vids) > 1:
        entry.append(["BRIDGE_VLANDB_ENTRY_RANGE", vids[-1]])
    message = br_vlan_msg()
    message["ifindex"] = index
    message["attrs"] = [["BRIDGE_VLANDB_ENTRY", {"attrs": entry}]]
    _request(netlink, message, kind, _SET)


def _restore_vlans(netlink: Any, index: int, wanted: list[dict[str, Any]]) -> None:
    """Add VLANs and set their options; none is removed."""
    if _vlans(netlink, index) == wanted:
        return
    for entry in wanted:
        _set_vlans(netlink, index, RTM_NEWVLAN, _vids(entry), entry["flags"])
    present = _by_vid(_vlans(netlink, index))
    for entry in wanted:
        vids = _vids(entry)
        options = [
            [name, value]
            for name, value in entry["options"].items()
            # One that the kernel does not show it does not know.
            if any(present[vid]["options"].get(name, value) != value for vid in vids)
        ]
        if options:
            _set_vlans(netlink, index, RTM_NEWVLAN, vids, BRIDGE_VLAN_INFO_ONLY_OPTS, *options)
    for vid, entry in _by_vid(wanted).items():
        if entry["tunnel"] not in (0, present[vid]["tunnel"]):
            tunnel = {"vid": vid, "id": entry["tunnel"]}
            netlink.vlan_filter("add", index=index, vlan_tunnel_info=tunnel)


def _addresses(netlink: Any, index: int, own_mac: str) -> list[dict[str, Any]]:
    """Forwarding entries that a person added, see BridgePort; own_mac's are the kernel's."""
    # struct ndmsg would do as well, but the kernel filters by port only with this one.
    query = ifinfmsg()
    query["index"] = index
    found = []
    for answer in _request(netlink, query, RTM_GETNEIGH, _DUMP):
        flags, state = answer["flags"], answer["state"]
        lasting = state & (ndmsg.NUD_PERMANENT | ndmsg.NUD_NOARP) or flags & ndmsg.NTF_EXT_LEARNED
        mac = answer.get_attr("NDA_LLADDR")
        # Entries without a master are the interface's own filter, which stays with it.
        if lasting and answer.get_attr("NDA_MASTER") and mac != own_mac:
            vlan = answer.get_attr("NDA_VLAN") or 0
            kept = flags & (ndmsg.NTF_STICKY | ndmsg.NTF_EXT_LEARNED)
            found.append({"mac": mac, "vlan": vlan, "state": state, "flags": kept})
    return sorted(found, key=itemgetter("vlan", "mac"))


def _restore_addresses(
    netlink: Any, index: int, own_mac: str, wanted: list[dict[str, Any]]
) -> None:
    present = _addresses(netlink, index, own_mac)
    missing = [entry for entry in wanted if entry not in present]
    for entry in missing:
        netlink.neigh(
            "replace",  # another port may have learned the address meanwhile
            family=_AF_BRIDGE,
            ifindex=index,
            lladdr=entry["mac"],
            state=entry["state"],
            flags=entry["flags"] | ndmsg.NTF_MASTER,
            **({"vlan": entry["vlan"]} if entry["vlan"] else {}),
        )
    # An address added for no VLAN was given to each VLAN of the port too.
    spread = {entry["mac"] for entry in missing if not entry["vlan"]}
    for entry in _addresses(netlink, index, own_mac) if spread else ():
        if entry["mac"] in spread and entry not in wanted:
            netlink.neigh(
                "del",
                family=_AF_BRIDGE,
                ifindex=index,
                lladdr=entry["mac"],
                vlan=entry["vlan"],
                flags=ndmsg.NTF_MASTER,
            )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The netlink attributes in `data`, one after the other: type and content."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        yield kind & ~NLA_F_NESTED, data[offset + 4 : offset + length]
        offset += (max(length, 4) + 3) & ~3


def _groups(netlink: Any, index: int) -> list[dict[str, Any]]:
    """The port's permanent multicast entries, see BridgePort."""
    entries = (
        info
        for answer in _request(netlink, _GroupMessage(), RTM_GETMDB, _DUMP)
        for kind, table in _attributes(answer.data[answer.offset + _GROUP_HEADERS :])
        if kind == 1  # the other lists routers
        for _, entry in _attributes(table)
        for _, info in _attributes(entry)
    )
    found = []
    for info in entries:
        port, state, _, vlan, group = _GROUP.unpack_from(info)
        if port == index and state == _GROUP_PERMANENT:
            source = dict(_attributes(info[_GROUP.size :])).get(_MDBA_MDB_EATTR_SOURCE, b"")
            found.append({"vlan": vlan, "group": group.hex(), "source": source.hex()})
    return sorted(found, key=itemgetter("vlan", "group", "source"))


def _restore_groups(netlink: Any, index: int, bridge: int, wanted: list[dict[str, Any]]) -> None:
    present = _groups(netlink, index) if wanted else []
    for entry in wanted:
        if entry in present:
            continue
        group, source = bytes.fromhex(entry["group"]), bytes.fromhex(entry["source"])
        message = _GroupMessage()
        message["ifindex"] = bridge
        message["attrs"] = [
            ["MDBA_SET_ENTRY", _GROUP.pack(index, _GROUP_PERMANENT, 0, entry["vlan"], group)]
        ]
        if source:
            header = struct.pack("=HH", len(source) + 4, _MDBE_ATTR_SOURCE)
            message["attrs"].append(("MDBA_SET_ENTRY_ATTRS", header + source, NLA_F_NESTED))
        try:
            _request(netlink, message, RTM_NEWMDB, _SET | NLM_F_CREATE | NLM_F_REPLACE)
        except NetlinkError as error:
            # The namespace joined meanwhile; before 6.2 the kernel lets nobody replace that.
            if error.code != errno.EEXIST:
                raise
