"""The permanent multicast entries of a port."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from pyroute2.netlink import NLA_F_NESTED, NLM_F_CREATE, NLM_F_REPLACE, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_GETMDB, RTM_NEWMDB

from datapath.kernel.net.bridge.messages import DUMP, SET, request

# struct br_mdb_entry: ifindex, state, flags, VLAN, address and EtherType.
_GROUP = struct.Struct("=IBBH18s2x")
_GROUP_HEADERS = 24  # struct nlmsghdr and br_port_msg
_GROUP_PERMANENT = 1
_MDBA_MDB_EATTR_SOURCE, _MDBE_ATTR_SOURCE = 4, 1  # when read, when set


class _GroupMessage(nlmsg):  # type: ignore[misc]
    """struct br_port_msg and the attributes of RTM_NEWMDB, which pyroute2 does not know."""

    fields = (("family", "B"), ("__pad", "3x"), ("ifindex", "I"))
    nla_map = (
        ("MDBA_SET_ENTRY_UNSPEC", "none"),
        ("MDBA_SET_ENTRY", "cdata"),
        ("MDBA_SET_ENTRY_ATTRS", "cdata"),
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The netlink attributes in `data`, one after the other: type and content."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        yield kind & ~NLA_F_NESTED, data[offset + 4 : offset + length]
        offset += (max(length, 4) + 3) & ~3


def read(netlink: Any, index: int) -> list[dict[str, Any]]:
    """The port's permanent multicast entries, see BridgePort."""
    entries = (
        info
        for answer in request(netlink, _GroupMessage(), RTM_GETMDB, DUMP)
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


def restore(netlink: Any, index: int, bridge: int, wanted: list[dict[str, Any]]) -> None:
    """Add what is missing."""
    present = read(netlink, index) if wanted else []
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
            request(netlink, message, RTM_NEWMDB, SET | NLM_F_CREATE | NLM_F_REPLACE)
        except NetlinkError as error:
            # The namespace joined meanwhile; before 6.2 the kernel lets nobody replace that.
            if error.code != errno.EEXIST:
                raise
