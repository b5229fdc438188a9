"""A port of a bridge: read, taken out, and put back as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from datapath.errors import NotFound
from datapath.kernel.net import links
from datapath.kernel.net.bridge import fdb, mdb, vlandb

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


def vlans(ifname: str) -> dict[int, int]:
    """The VLANs of a port of a bridge that filters them, with BRIDGE_VLAN_INFO_ flags by VLAN."""
    port = read_port(ifname)
    entries = vlandb.by_vid(port.vlans if port else [])
    return {vid: entry["flags"] for vid, entry in entries.items()}


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
            vlans=vlandb.read(netlink, index),
            addresses=fdb.read(netlink, index, message.get_attr("IFLA_ADDRESS")),
            groups=mdb.read(netlink, index),
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
        vlandb.restore(netlink, index, port.vlans)
        # An address outlives the VLAN it was added for, but can only be added while that is there.
        for vid in {entry["vlan"] for entry in port.addresses} - {0, *vlandb.by_vid(port.vlans)}:
            vlandb.add(netlink, index, range(vid, vid + 1))
        fdb.restore(netlink, index, message.get_attr("IFLA_ADDRESS"), port.addresses)
        present = vlandb.by_vid(vlandb.read(netlink, index))
        for vid in present.keys() - vlandb.by_vid(port.vlans).keys():
            vlandb.remove(netlink, index, range(vid, vid + 1))
        if _state_is_free(message, _link(netlink, bridge.index)):
            _set_port(netlink, index, _differences(fresh, port.attributes, {_STATE}))
        mdb.restore(netlink, index, bridge.index, port.groups)


def commands(port: BridgePort) -> list[str]:
    """What a person would type to take the port out of its bridge."""
    return [f"ip link set {port.ifname} nomaster"]


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
