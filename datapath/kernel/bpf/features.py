"""What this kernel can do, found out by asking it, never by its version; and what asks it."""

from __future__ import annotations

import ctypes as ct
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from datapath.errors import Unsupported
from datapath.kernel.bpf import libbpf, sockets
from datapath.records import HookId

_LOOPBACK: Final = 1
_ATTACH_NETKIT_PRIMARY: Final = 54
_FUNC_REDIRECT_PEER: Final = 155  # enum bpf_func_id
_FUNC_XDP_GET_BUFF_LEN: Final = 188


def _query_errno(attach_type: int) -> int:
    """What the kernel says to a query for programs of this kind at lo: 0 or an errno."""
    count = ct.c_uint32(0)
    result: int = libbpf.library().bpf_prog_query(
        _LOOPBACK, attach_type, 0, None, None, ct.byref(count)
    )
    return -result


def _tcx() -> bool:
    return _query_errno(libbpf.ATTACH_TCX_INGRESS) == 0


def _netkit() -> bool:
    # ENXIO: lo is no netkit device; a kernel without netkit does not know the attach type.
    return _query_errno(_ATTACH_NETKIT_PRIMARY) in (0, errno.ENXIO, errno.EACCES)


def _cgroup2() -> bool:
    try:
        return sockets.cgroup_root().is_dir()
    except Unsupported:
        return False


def _helper(program_type: int, function: int) -> bool:
    return bool(libbpf.library().libbpf_probe_bpf_helper(program_type, function, None) == 1)


def _map_type(map_type: int) -> bool:
    return bool(libbpf.library().libbpf_probe_bpf_map_type(map_type, None) == 1)


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that a kernel has or lacks.

    `since` and `option` are for people: the first version with it, and what that is built with.
    `without` says what is lost where it is missing, None where the kit cannot do without.
    """

    name: str
    summary: str
    since: str
    option: str
    without: str | None
    probe: Callable[[], bool]


TCX: Final = Feature(
    "tcx",
    "tc programs attached by links",
    "6.6",
    "CONFIG_NET_XGRESS",
    "programs sit at clsact filters instead",
    _tcx,
)
REDIRECT_PEER: Final = Feature(
    "redirect_peer",
    "redirect straight into a namespace",
    "5.10",
    "CONFIG_BPF_SYSCALL",
    None,
    lambda: _helper(libbpf.PROG_SCHED_CLS, _FUNC_REDIRECT_PEER),
)
DEVMAP: Final = Feature(
    "devmap",
    "XDP redirect between interfaces",
    "4.14",
    "CONFIG_BPF_SYSCALL",
    "no mode xdp",
    lambda: _map_type(libbpf.MAP_DEVMAP),
)
XDP_FRAGS: Final = Feature(
    "xdp_frags",
    "XDP frames over one page",
    "5.18",
    "CONFIG_BPF_SYSCALL",
    "no jumbo frames in mode xdp",
    lambda: _helper(libbpf.PROG_XDP, _FUNC_XDP_GET_BUFF_LEN),
)
SOCKMAP: Final = Feature(
    "sockmap",
    "socket redirect",
    "4.18",
    "CONFIG_BPF_SYSCALL",
    "no mode sockmap",
    lambda: _map_type(libbpf.MAP_SOCKHASH),
)
CGROUP2: Final = Feature(
    "cgroup2",
    "a cgroup v2 hierarchy, mounted",
    "4.10",
    "CONFIG_CGROUP_BPF",
    "no mode sockmap",
    _cgroup2,
)
SOCKET_TRACEPOINTS: Final = Feature(
    "socket_tracepoints",
    "tracepoints after each socket's sends and reads",
    "6.2",
    "CONFIG_DEBUG_INFO_BTF",
    "no mode sockmap",
    lambda: (
        sockets.tracepoint(sockets.SEND_TRACEPOINT) > 0
        and sockets.tracepoint(sockets.RECEIVE_TRACEPOINT) > 0
    ),
)
NETKIT: Final = Feature(
    "netkit", "netkit devices", "6.7", "CONFIG_NETKIT", "no mode netkit", _netkit
)
BTF: Final = Feature(
    "btf",
    "the kernel's own types",
    "5.4",
    "CONFIG_DEBUG_INFO_BTF",
    "no tracing by the kernel's types",
    Path("/sys/kernel/btf/vmlinux").exists,
)
ALL: Final = (
    *(TCX, REDIRECT_PEER, DEVMAP, XDP_FRAGS),
    *(SOCKMAP, SOCKET_TRACEPOINTS, NETKIT, BTF),
)


@cache
def has(feature: Feature) -> bool:
    """Whether the running kernel has it. Raises Unsupported where libbpf is missing.

    Without root the answer is worth nothing, except for BTF: the kernel refuses to be asked.
    """
    return feature.probe()


def preferred_hook(hooks: Sequence[HookId]) -> HookId:
    """The first of a mode's hooks that this kernel has."""
    return next(hook for hook in hooks if hook is not HookId.TCX or has(TCX))


def bcc_version() -> str:
    """Of the bcc that this Python imports. Raises ImportError, OSError where libbcc is missing."""
    import bcc

    return str(bcc.__version__)


def libbpf_version() -> str:
    """Of the libbpf that is loaded. Raises Unsupported where it is missing."""
    library = libbpf.library()
    return f"{library.libbpf_major_version()}.{library.libbpf_minor_version()}"
