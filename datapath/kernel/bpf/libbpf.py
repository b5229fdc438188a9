"""libbpf.so.1 through ctypes: one thin, checked function for each call the kit makes.

libbpf is what libbcc links, so it is there wherever bcc is. Structures follow <linux/bpf.h> and
libbpf's bpf.h; only fields up to the last one used are declared, the kernel takes the rest as zero.
File descriptors returned here belong to the caller.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from datapath.errors import KernelError, Unsupported, VerifierError

# enum bpf_prog_type
PROG_SCHED_CLS: Final = 3
PROG_XDP: Final = 6
PROG_SOCK_OPS: Final = 13
PROG_SK_MSG: Final = 16
PROG_TRACING: Final = 26

# enum bpf_attach_type
ATTACH_CGROUP_SOCK_OPS: Final = 3
ATTACH_SK_MSG_VERDICT: Final = 7
ATTACH_TRACE_RAW_TP: Final = 23
ATTACH_XDP: Final = 37
ATTACH_TCX_INGRESS: Final = 46
ATTACH_NETKIT_PEER: Final = 55

# enum bpf_map_type
MAP_HASH: Final = 1
MAP_ARRAY: Final = 2
MAP_PERCPU_HASH: Final = 5
MAP_PERCPU_ARRAY: Final = 6
MAP_LRU_PERCPU_HASH: Final = 10
MAP_DEVMAP: Final = 14
MAP_SOCKHASH: Final = 18
PER_CPU_MAPS: Final = frozenset({MAP_PERCPU_HASH, MAP_PERCPU_ARRAY, MAP_LRU_PERCPU_HASH})

# enum bpf_link_type
LINK_XDP: Final = 6
LINK_TCX: Final = 11

XDP_FLAGS_SKB_MODE: Final = 1 << 1
XDP_FLAGS_DRV_MODE: Final = 1 << 2
TCX_BEFORE: Final = 1 << 3  # BPF_F_BEFORE with no other named: the first of all
PROG_FLAG_XDP_HAS_FRAGS: Final = 1 << 5
TEST_RUN_XDP_LIVE_FRAMES: Final = 1 << 1
LOG_SIZE: Final = 1 << 22  # a verifier log of a few thousand instructions fits
NAME_LENGTH: Final = 16  # BPF_OBJ_NAME_LEN


Info = TypeVar("Info", bound=ct.Structure)


class MapInfo(ct.Structure):
    """struct bpf_map_info."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("key_size", ct.c_uint32),
        ("value_size", ct.c_uint32),
        ("max_entries", ct.c_uint32),
        ("map_flags", ct.c_uint32),
        ("name", ct.c_char * NAME_LENGTH),
        ("ifindex", ct.c_uint32),
        ("btf_vmlinux_value_type_id", ct.c_uint32),
        ("netns_dev", ct.c_uint64),
        ("netns_ino", ct.c_uint64),
        ("btf_id", ct.c_uint32),
        ("btf_key_type_id", ct.c_uint32),
        ("btf_value_type_id", ct.c_uint32),
        ("btf_vmlinux_id", ct.c_uint32),
        ("map_extra", ct.c_uint64),
    )


class ProgInfo(ct.Structure):
    """struct bpf_prog_info up to verified_insns (Linux 5.16; 0 before)."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("tag", ct.c_uint8 * 8),
        ("jited_prog_len", ct.c_uint32),
        ("xlated_prog_len", ct.c_uint32),
        ("jited_prog_insns", ct.c_uint64),
        ("xlated_prog_insns", ct.c_uint64),
        ("load_time", ct.c_uint64),
        ("created_by_uid", ct.c_uint32),
        ("nr_map_ids", ct.c_uint32),
        ("map_ids", ct.c_uint64),
        ("name", ct.c_char * NAME_LENGTH),
        ("ifindex", ct.c_uint32),
        ("gpl_compatible", ct.c_uint32),
        ("netns_dev", ct.c_uint64),
        ("netns_ino", ct.c_uint64),
        ("nr_jited_ksyms", ct.c_uint32),
        ("nr_jited_func_lens", ct.c_uint32),
        ("jited_ksyms", ct.c_uint64),
        ("jited_func_lens", ct.c_uint64),
        ("btf_id", ct.c_uint32),
        ("func_info_rec_size", ct.c_uint32),
        ("func_info", ct.c_uint64),
        ("nr_func_info", ct.c_uint32),
        ("nr_line_info", ct.c_uint32),
        ("line_info", ct.c_uint64),
        ("jited_line_info", ct.c_uint64),
        ("nr_jited_line_info", ct.c_uint32),
        ("line_info_rec_size", ct.c_uint32),
        ("jited_line_info_rec_size", ct.c_uint32),
        ("nr_prog_tags", ct.c_uint32),
        ("prog_tags", ct.c_uint64),
        ("run_time_ns", ct.c_uint64),
        ("run_cnt", ct.c_uint64),
        ("recursion_misses", ct.c_uint64),
        ("verified_insns", ct.c_uint32),
        ("attach_btf_obj_id", ct.c_uint32),
        ("attach_btf_id", ct.c_uint32),
    )


class LinkInfo(ct.Structure):
    """struct bpf_link_info of a tcx link (ifindex, attach_type) or an XDP link (ifindex)."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("prog_id", ct.c_uint32),
        ("pad", ct.c_uint32),
        ("ifindex", ct.c_uint32),
        ("attach_type", ct.c_uint32),
    )


class _ProgLoadOpts(ct.Structure):
    """struct bpf_prog_load_opts."""

    _fields_ = (
        ("sz", ct.c_size_t),
        ("attempts", ct.c_int),
        ("expected_attach_type", ct.c_uint32),
        ("prog_btf_fd", ct.c_uint32),
        ("prog_flags", ct.c_uint32),
        ("prog_ifindex", ct.c_uint32),
        ("kern_version", ct.c_uint32),
        ("attach_btf_id", ct.c_uint32),
        ("attach_prog_fd", ct.c_uint32),
        ("attach_btf_obj_fd", ct.c_uint32),
        ("fd_array", ct.c_void_p),
        ("func_info", ct.c_void_p),
        ("func_info_cnt", ct.c_uint32),
        ("func_info_rec_size", ct.c_uint32),
        ("line_info", ct.c_void_p),
        ("line_info_cnt", ct.c_uint32),
        ("line_info_rec_size", ct.c_uint32),
        ("log_level", ct.c_uint32),
        ("log_size", ct.c_uint32),
        ("log_buf", ct.c_char_p),
    )


class _LinkCreateOpts(ct.Structure):
    """struct bpf_link_create_opts up to flags."""

    _fields_ = (("sz", ct.c_size_t), ("flags", ct.c_uint32))


class _TestRunOpts(ct.Structure):
    """struct bpf_test_run_opts."""

    _fields_ = (
        ("sz", ct.c_size_t),
        ("data_in", ct.c_void_p),
        ("data_out", ct.c_void_p),
        ("data_size_in", ct.c_uint32),
        ("data_size_out", ct.c_uint32),
        ("ctx_in", ct.c_void_p),
        ("ctx_out", ct.c_void_p),
        ("ctx_size_in", ct.c_uint32),
        ("ctx_size_out", ct.c_uint32),
        ("retval", ct.c_uint32),
        ("repeat", ct.c_int),
        ("duration", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("cpu", ct.c_uint32),
        ("batch_size", ct.c_uint32),
    )


@cache
def library() -> ct.CDLL:
    """libbpf itself, silenced: what it would print is in our errors.

    Raises Unsupported where the library is missing.
    """
    try:
        lib = ct.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise Unsupported(
            "libbpf",
            "libbpf.so.1 is not installed",
            remedy="apt-get install python3-bpfcc",
            detail=str(error),
        ) from error
    lib.libbpf_set_print(None)
    for pointer in ("btf__load_from_kernel_by_id", "btf__type_by_id", "btf__name_by_offset"):
        getattr(lib, pointer).restype = ct.c_void_p
    lib.btf__name_by_offset.restype = ct.c_char_p
    lib.btf__resolve_size.restype = ct.c_int64
    return lib


def call(operation: str, name: str, *arguments: object) -> int:
    """Call a libbpf function; a negative result raises KernelError with `operation` in its text."""
    result: int = getattr(library(), name)(*arguments)
    if result < 0:
        raise KernelError(operation, -result if result < -1 else ct.get_errno())
    return result


def possible_cpus() -> int:
    """How many values a per-CPU map holds for each key."""
    return call("counting CPUs", "libbpf_num_possible_cpus")


def program_load(
    name: str,
    program_type: int,
    instructions: bytes,
    *,
    attach_type: int = 0,
    attach_btf_id: int = 0,
    flags: int = 0,
) -> int:
    """Load a program and return its descriptor.

    `instructions` is the kernel's own format (8 bytes each, map descriptors filled in);
    `attach_btf_id` says what a tracing program is to trace.
    Raises VerifierError with the whole log, KernelError where the kernel never got so far.
    """
    options = _ProgLoadOpts(
        sz=ct.sizeof(_ProgLoadOpts),
        expected_attach_type=attach_type,
        prog_flags=flags,
        attach_btf_id=attach_btf_id,
    )
    arguments = (
        program_type,
        name[: NAME_LENGTH - 1].encode(),
        b"GPL",
        instructions,
        ct.c_size_t(len(instructions) // 8),
        ct.byref(options),
    )
    result: int = library().bpf_prog_load(*arguments)
    if result >= 0:
        return result
    if -result in (errno.EPERM, errno.ENOSYS):
        raise KernelError(f"loading program {name}", -result)
    # Logging slows loading down: only a refusal is repeated with it.
    log = ct.create_string_buffer(LOG_SIZE)
    options.log_level, options.log_size = 1, LOG_SIZE
    options.log_buf = ct.cast(log, ct.c_char_p)
    result = library().bpf_prog_load(*arguments)
    if result >= 0:
        return result
    raise VerifierError(name, log.value.decode(errors="replace"), -result)


def object_get(path: Path) -> int:
    """Open what is pinned at `path`. Raises KernelError."""
    return call(f"opening {path}", "bpf_obj_get", os.fsencode(path))


def object_pin(fd: int, path: Path) -> None:
    """Pin a map, program or link. Raises KernelError."""
    call(f"pinning {path}", "bpf_obj_pin", fd, os.fsencode(path))


def object_info(fd: int, kind: type[Info]) -> Info:
    """What the kernel says of a map, program or link. Raises KernelError."""
    info = kind()
    length = ct.c_uint32(ct.sizeof(kind))
    call("reading object info", "bpf_obj_get_info_by_fd", fd, ct.byref(info), ct.byref(length))
    return info


def program_by_id(program_id: int) -> int:
    """Open a loaded program by its id. Raises KernelError (ENOENT when it is gone)."""
    return call(f"opening program {program_id}", "bpf_prog_get_fd_by_id", program_id)


def link_create(program: int, ifindex: int, attach_type: int, flags: int = 0) -> int:
    """Attach a program to an interface and return the link. Raises KernelError.

    The attachment ends when the last descriptor or pin of the link goes.
    """
    options = _LinkCreateOpts(sz=ct.sizeof(_LinkCreateOpts), flags=flags)
    return call(
        f"attaching to ifindex {ifindex}",
        "bpf_link_create",
        program,
        ifindex,
        attach_type,
        ct.byref(options),
    )


def link_update(link: int, program: int) -> None:
    """Replace the program of a link in one step: no packet sees none. Raises KernelError."""
    call("replacing a link's program", "bpf_link_update", link, program, None)


def test_run(
    program: int,
    frame: bytes,
    *,
    context: ct.Structure | None = None,
    repeat: int = 1,
    flags: int = 0,
    batch_size: int = 0,
    room: int = 4096,
) -> tuple[int, bytes]:
    """Run a program on a frame (BPF_PROG_RUN); returns its verdict and the frame it left.

    `context` is a struct __sk_buff or xdp_md to start from, `room` the largest frame expected back.
    With live frames (TEST_RUN_XDP_LIVE_FRAMES) nothing is returned: the frames are really sent.
    Raises KernelError (EINVAL for a frame under 14 bytes).
    """
    output = None if flags & TEST_RUN_XDP_LIVE_FRAMES else ct.create_string_buffer(room)
    options = _TestRunOpts(
        sz=ct.sizeof(_TestRunOpts),
        data_in=ct.cast(ct.c_char_p(frame), ct.c_void_p),
        data_size_in=len(frame),
        data_out=ct.cast(output, ct.c_void_p) if output else None,
        data_size_out=room if output else 0,
        ctx_in=ct.cast(ct.byref(context), ct.c_void_p) if context else None,
        ctx_size_in=ct.sizeof(context) if context else 0,
        repeat=repeat,
        flags=flags,
        batch_size=batch_size,
    )
    call("running a program on a frame", "bpf_prog_test_run_opts", program, ct.byref(options))
    return options.retval, output.raw[: options.data_size_out] if output else b""
