"""tc: the clsact qdisc, the kit's one filter at its ingress, and a queue at an interface's root.

The filter sits at a fixed place, so that adding it again is noticed and replacing it is one step.
It is known as the kit's by its name, so nobody else's is ever replaced or removed. Functions act in
the network namespace of the calling thread.
"""

from __future__ import annotations

import errno
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final

from pyroute2.netlink import NLM_F_ACK, NLM_F_ECHO, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import (
    RTM_GETQDISC,
    RTM_NEWQDISC,
    TC_H_CLSACT,
    TC_H_ROOT,
)
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from datapath.errors import AlreadyExists
from datapath.kernel.bpf.links import program_info
from datapath.kernel.net import links
from datapath.kernel.net.netlink import CREATE, exchange, request

# Lower numbers run first: those that people choose come before, those that tc chooses (from 49152
# down) after. Nobody else is expected at this one.
PRIORITY: Final = 235
HANDLE: Final = 1
NAME_PREFIX: Final = "ebpfnet:"

_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # TC_H_CLSACT with TC_H_MIN_INGRESS, TC_H_MIN_EGRESS
_ETH_P_ALL = 3
_INFO = PRIORITY << 16 | socket.htons(_ETH_P_ALL)  # tcm_info
_TCA_BPF_TAG, _TCA_BPF_ID = 10, 11  # which pyroute2 does not name


@dataclass(frozen=True, slots=True)
class FilterInfo:
    """The kit's filter: kernel id of its program, the name it was added with, tag (hex)."""

    program_id: int
    name: str
    tag: str


def has_clsact(ifname: str) -> bool:
    """Whether the interface has a clsact qdisc, or ingress, which holds an ingress filter as well.

    Raises NotFound, KernelError.
    """
    query = tcmsg()
    query["index"], query["parent"] = links.get(ifname).index, TC_H_CLSACT
    query["header"]["type"] = RTM_GETQDISC
    # Without NLM_F_ECHO the kernel answers everybody but the one who asks.
    query["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO
    with links.netlink_for(f"asking for the clsact qdisc of {ifname}") as netlink:
        try:
            answers = netlink.nlm_request_batch([query])
        except NetlinkError as error:
            if error.code != errno.ENOENT:
                raise
            return False
    # Where there was one once, the answer is empty.
    return any(answer.get_attr("TCA_KIND") for answer in answers)


def ensure_clsact(ifname: str) -> bool:
    """Make the clsact qdisc; False where one (or ingress) was there, which keeps its filters.

    Raises NotFound, KernelError.
    """
    index = links.get(ifname).index
    with links.netlink_for(f"adding the clsact qdisc to {ifname}") as netlink:
        try:
            netlink.tc("add", "clsact", index)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            return False
    return True


def remove_clsact_if_unused(ifname: str) -> None:
    """Remove the clsact qdisc unless a filter is left in it; no error where there is none.

    Raises NotFound, KernelError.
    """
    index = links.get(ifname).index
    with links.netlink_for(f"removing the clsact qdisc of {ifname}") as netlink:
        if any(_filters(netlink, index, parent) for parent in (_INGRESS, _EGRESS)):
            return
        try:
            netlink.tc("del", "clsact", index)
        except NetlinkError as error:
            # EINVAL: there is none, or it is a qdisc of another kind.
            if error.code not in (errno.ENOENT, errno.EINVAL):
                raise


def add_ingress_filter(ifname: str, program_fd: int, name: str) -> None:
    """Run a program on every packet that comes in, as a direct-action filter called `name`.

    Nothing is done where the filter runs this very program. The clsact qdisc must be there. Raises
    NotFound, AlreadyExists where another filter has the place, KernelError.
    """
    index = links.get(ifname).index
    with links.netlink_for(f"adding filter {name} to {ifname}") as netlink:
        present = _at_place(netlink, ifname, index)
        if present and present.program_id == program_info(program_fd).id:
            return
        if present:
            raise AlreadyExists(
                f"{ifname} runs another program of ebpfnet: {present.name}",
                remedy="detach its namespace first, or see `ebpfnet gc`",
            )
        _send(netlink, "add-filter", index, program_fd, name)


def replace_ingress_filter(ifname: str, program_fd: int, name: str) -> None:
    """Put a program in the place of the one that runs, in one step: no packet sees none.

    Adds the filter where there is none. Raises NotFound, AlreadyExists where somebody else's filter
    has the place, KernelError.
    """
    index = links.get(ifname).index
    with links.netlink_for(f"replacing filter {name} of {ifname}") as netlink:
        _at_place(netlink, ifname, index)
        _send(netlink, "replace-filter", index, program_fd, name)


def remove_ingress_filter(ifname: str) -> None:
    """Remove the kit's filter; no error where there is none, or somebody else's.

    Raises NotFound, KernelError.
    """
    index = links.get(ifname).index
    with links.netlink_for(f"removing the filter of {ifname}") as netlink:
        if not any(map(_info, _filters(netlink, index, _INGRESS))):
            return
        netlink.tc("del-filter", index=index, handle=HANDLE, parent=_INGRESS, info=_INFO)


def add_queue(ifname: str) -> None:
    """Make a pfifo the root qdisc of an interface that has none. Raises NotFound, KernelError."""
    wanted = request(
        tcmsg,
        RTM_NEWQDISC,
        CREATE,
        index=links.index_of(ifname),
        parent=TC_H_ROOT,
        attributes={"TCA_KIND": "pfifo"},
    )
    exchange(f"adding a queue to {ifname}", [wanted])


def ingress_filter(ifname: str) -> FilterInfo | None:
    """The kit's filter, None where there is none. Raises NotFound, KernelError."""
    index = links.get(ifname).index
    with links.netlink_for(f"reading the filters of {ifname}") as netlink:
        return next(filter(None, map(_info, _filters(netlink, index, _INGRESS))), None)


def _filters(netlink: Any, index: int, parent: int) -> list[Any]:
    """The filters of one direction; without the lines that only name a priority."""
    return [
        message
        for message in netlink.get_filters(index=index, parent=parent)
        if message.get_attr("TCA_OPTIONS") is not None
    ]


def _info(message: Any) -> FilterInfo | None:
    """The filter as the kit's, None where it is somebody else's."""
    if message["info"] != _INFO or message["handle"] != HANDLE:
        return None
    options = message.get_attr("TCA_OPTIONS")
    name = options.get_attr("TCA_BPF_NAME") if message.get_attr("TCA_KIND") == "bpf" else None
    if not name or not name.startswith(NAME_PREFIX):
        return None
    unnamed = {
        value["header"]["type"]: bytes(value.data[value.offset + 4 : value.offset + value.length])
        for attribute, value in options["attrs"]
        if attribute == "UNKNOWN"
    }
    return FilterInfo(
        program_id=int.from_bytes(unnamed[_TCA_BPF_ID], sys.byteorder),
        name=name.removeprefix(NAME_PREFIX),
        tag=unnamed[_TCA_BPF_TAG].hex(),
    )


def _at_place(netlink: Any, ifname: str, index: int) -> FilterInfo | None:
    """The kit's filter, None where the place is free. Raises AlreadyExists where it is taken."""
    found = None
    for message in _filters(netlink, index, _INGRESS):
        if message["info"] >> 16 == PRIORITY:
            found = _info(message)
            if found is None:
                raise AlreadyExists(
                    f"somebody else's tc filter has priority {PRIORITY} at ingress of {ifname}",
                    remedy="give it another priority, or remove it: "
                    f"`tc filter del dev {ifname} ingress pref {PRIORITY}`",
                )
    return found


def _send(netlink: Any, command: str, index: int, program_fd: int, name: str) -> None:
    netlink.tc(
        command,
        "bpf",
        index,
        HANDLE,
        parent=_INGRESS,
        info=_INFO,
        fd=program_fd,
        name=f"{NAME_PREFIX}{name}",
        direct_action=True,
    )
