"""Attaching programs where sockets are: at the root of cgroup v2, at a sockhash, at a tracepoint.

What is attached by a link goes with its pin; a sockhash's program goes with the map, and sockets
that are in the map keep it until they are closed.
"""

from __future__ import annotations

import ctypes as ct
import os
from pathlib import Path
from typing import Final

from datapath.errors import Unsupported
from datapath.kernel.bpf import libbpf

# Passed when a call on a socket returns: (struct sock *sk, int ret, int flags).
SEND_TRACEPOINT: Final = "sock_send_length"
RECEIVE_TRACEPOINT: Final = "sock_recv_length"


def cgroup_root() -> Path:
    """Where cgroup v2 is mounted: /sys/fs/cgroup, or below it beside v1.

    Raises Unsupported where it is not.
    """
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, _, source = line.partition(" - ")
        if source.startswith("cgroup2 "):
            return Path(place.split()[4])
    raise Unsupported(
        "cgroup2", "cgroup2 is not mounted", remedy="mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    )


def tracepoint(name: str) -> int:
    """The BTF id that a program at a tracepoint is loaded with; negative where there is none."""
    return int(
        libbpf.library().libbpf_find_vmlinux_btf_id(name.encode(), libbpf.ATTACH_TRACE_RAW_TP)
    )


def attach_to_cgroup(program: int, pin: Path) -> None:
    """Attach sock_ops for every socket of the machine and pin the link.

    Raises Unsupported without cgroup v2, KernelError; then nothing is attached.
    """
    root = cgroup_root()
    cgroup = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _attach(program, cgroup, libbpf.ATTACH_CGROUP_SOCK_OPS, pin, f"attaching to cgroup {root}")
    finally:
        os.close(cgroup)


def attach_to_tracepoint(program: int, pin: Path) -> None:
    """Attach to the tracepoint that it was loaded for and pin the link. Raises KernelError."""
    _attach(program, 0, libbpf.ATTACH_TRACE_RAW_TP, pin, "attaching to a tracepoint")


def _attach(program: int, target: int, attach_type: int, pin: Path, operation: str) -> None:
    link = libbpf.call(operation, "bpf_link_create", program, target, attach_type, None)
    try:
        libbpf.object_pin(link, pin)
    finally:
        os.close(link)


def program_of_map(sockhash: int) -> int:
    """Id of the sk_msg program that a map has, 0 where it has none (Linux 5.18). KernelError."""
    program, count = ct.c_uint32(0), ct.c_uint32(1)
    libbpf.call(
        "asking map sockets for its program",
        "bpf_prog_query",
        sockhash,
        libbpf.ATTACH_SK_MSG_VERDICT,
        0,
        None,
        ct.byref(program),
        ct.byref(count),
    )
    return program.value


def attach_to_map(program: int, sockhash: int) -> None:
    """Run sk_msg for what sockets send that are put into the map from now on.

    Takes the place of the map's former program. Raises KernelError.
    """
    libbpf.call(
        "attaching to map sockets",
        "bpf_prog_attach",
        program,
        sockhash,
        libbpf.ATTACH_SK_MSG_VERDICT,
        0,
    )
