"""The bench: a program loaded on maps of its own, run on single frames, and what came of it.

Nothing is pinned or attached. BPF_PROG_RUN finds the sender by ifindex, in the network namespace of
whoever calls it: one thread lives in a namespace of its own, with a veth for each host. When the
thread ends (or the process, however it does) the namespace goes, and all that is in it.

BPF_PROG_RUN takes frames from 14 bytes on (newer kernels, for tc, want a whole IPv4 or IPv6 header
behind those EtherTypes), up to what fits in a page beside the kernel's own needs, with XDP in 17
pages more. Anything else is EINVAL. It carries no redirect out: that a frame reaches the interface
it is sent to, real traffic shows.
"""

from __future__ import annotations

import ctypes as ct
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from datapath import modes
from datapath.errors import KernelError
from datapath.kernel.bpf import compiler, features, libbpf
from datapath.kernel.bpf.maps import Map
from datapath.programs import ProgramSpec
from datapath.records import (
    MAPS,
    ConfigRecord,
    DestinationRecord,
    EndpointRecord,
    Ipv4,
    Ipv6,
    Mac,
    Number,
)
from tests.packet.compare import Observation
from tests.packet.reference import HOSTS, STRANGER, Host

MAX_ENDPOINTS = 8
CLONE_NEWNET = 0x40000000  # linux/sched.h
PROG_ARRAY = 3  # enum bpf_map_type
SHORTEST = 14  # bytes of a frame
ONE_BUFFER = 3520  # the longest, for frames in one buffer
SEVERAL_BUFFERS = 17 * 4096 + ONE_BUFFER  # the longest of all
MOST_ADDED = 64  # by an answer
T = TypeVar("T")


class SkbContext(ct.Structure):
    """struct __sk_buff: of these fields BPF_PROG_RUN takes ifindex, gso_segs and gso_size."""

    _fields_ = (
        ("before", ct.c_uint32 * 10),
        ("ifindex", ct.c_uint32),
        ("between", ct.c_uint32 * 30),
        ("gso_segs", ct.c_uint32),
        ("sk", ct.c_uint64),
        ("gso_size", ct.c_uint32),
        ("after", ct.c_uint32 * 3),
    )


class XdpContext(ct.Structure):
    """struct xdp_md."""

    _fields_ = tuple(
        (name, ct.c_uint32)
        for name in (
            *("data", "data_end", "data_meta"),
            *("ingress_ifindex", "rx_queue_index", "egress_ifindex"),
        )
    )


@dataclass(frozen=True, slots=True)
class Program:
    """A program under test. `frags`: compiled and loaded for frames that span several buffers."""

    spec: ProgramSpec
    frags: bool

    @property
    def id(self) -> str:
        return self.spec.function + "-frags" * self.frags

    @property
    def is_xdp(self) -> bool:
        return self.spec.type == libbpf.PROG_XDP


# XDP is built in two ways, see xdp.c.
PROGRAMS = tuple(
    Program(spec, frags)
    for spec in {mode.program.function: mode.program for mode in modes.EBPF}.values()
    for frags in ((False, True) if spec.type == libbpf.PROG_XDP else (False,))
)


def _enter_own_namespace() -> None:
    if ct.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise KernelError("making a namespace", ct.get_errno())
    batch = "".join(
        f"link add ebt{host.ifindex} index {host.ifindex} type veth peer name ebt{host.ifindex}p\n"
        for host in (*HOSTS, STRANGER)
    )
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)


class Namespace:
    """A network namespace with a veth for each host, and the one thread that lives in it."""

    def __init__(self) -> None:
        """Raises KernelError, OSError (no `ip`), CalledProcessError."""
        self._thread = ThreadPoolExecutor(1)
        self.do(_enter_own_namespace)

    def do(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Call a function in the namespace; returns and raises what it does."""
        return self._thread.submit(work, *arguments, **named).result()

    def close(self) -> None:
        self._thread.shutdown()


class Counters:
    """Maps `drops` and `endpoint_stats`: how far they have moved."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._maps = {name: maps[name] for name in ("drops", "endpoint_stats")}
        self._last = self._read()

    def _read(self) -> dict[tuple[str, bytes], bytes]:
        return {
            (name, key): value for name, each in self._maps.items() for key, value in each.items()
        }

    def moved(self) -> dict[tuple[str, int], dict[str, int]]:
        """By map and key: what has changed since the last call, and by how much."""
        before, self._last = self._last, self._read()
        return {
            (name, int.from_bytes(key, sys.byteorder)): _difference(name, before[name, key], value)
            for (name, key), value in self._last.items()
            if value != before[name, key]
        }


def _difference(name: str, before: bytes, after: bytes) -> dict[str, int]:
    old, new = (MAPS[name].decode(raw).people() for raw in (before, after))
    return {counter: new[counter] - old[counter] for counter in new if new[counter] != old[counter]}


def entries() -> Iterator[tuple[str, bytes, bytes]]:
    """Map, key and value of every entry that the hosts need."""
    for host in HOSTS:
        record = EndpointRecord(id=host.id, mac=Mac.parse(host.mac))
        if host.ipv4:
            record.ipv4 = Ipv4.parse(host.ipv4[0])
        for address in reversed(host.ipv6):  # the first of a kind is what stays
            field = "ipv6_link_local" if address.startswith("fe80:") else "ipv6"
            setattr(record, field, Ipv6.parse(address))
        destination = bytes(DestinationRecord(host.id, host.ifindex, Mac.parse(host.mac)))
        yield "endpoints", bytes(Number(host.ifindex)), bytes(record)
        yield "devices", bytes(Number(host.id)), bytes(Number(host.ifindex))
        for address in host.ipv4:
            yield "endpoints_v4", bytes(Ipv4.parse(address)), destination
        for address in host.ipv6:
            yield "endpoints_v6", bytes(Ipv6.parse(address)), destination


class Bench:
    """A loaded program."""

    def __init__(self, program: Program, namespace: Namespace, cutter: compiler.Module) -> None:
        """Compile and load; `cutter` is cut.c. Raises CompileError, VerifierError, KernelError."""
        self.program = program
        self._namespace = namespace
        with ExitStack() as stack:
            defines: dict[str, int | str] = {"MAX_ENDPOINTS": MAX_ENDPOINTS}
            if program.frags:
                defines["XDP_HAS_FRAGS"] = 1
            source = compiler.source_folder() / program.spec.source
            module = stack.enter_context(compiler.Module(source, defines))
            self.maps = {
                name: stack.enter_context(Map(os.dup(fd))) for name, fd in module.maps.items()
            }
            for name, key, value in entries():
                namespace.do(self.maps[name].update, key, value)
            self._counters = Counters(self.maps)
            self._fd = self._load(stack, module.function(program.spec.function), {})
            self._cut_off = stack.enter_context(Map(os.dup(cutter.maps["cut_off"])))
            # Its own for each program: the kernel ties one to the first program's kind.
            tested = libbpf.call(
                "making a map", "bpf_map_create", PROG_ARRAY, b"tested", 4, 4, 1, None
            )
            stack.callback(os.close, tested)
            with Map(os.dup(tested)) as slots:
                slots.update(bytes(Number(0)), bytes(Number(self._fd)))
            cut = cutter.function("cut_xdp" if program.is_xdp else "cut_skb")
            self._cut_fd = self._load(stack, cut, {"tested": tested})
            self._stack = stack.pop_all()

    def _load(self, stack: ExitStack, code: compiler.Instructions, maps: Mapping[str, int]) -> int:
        spec = self.program.spec
        fd = compiler.load(
            code,
            spec.type,
            maps=maps,
            attach_type=spec.attach_types[features.preferred_hook(tuple(spec.attach_types))],
            flags=libbpf.PROG_FLAG_XDP_HAS_FRAGS if self.program.frags else 0,
        )
        stack.callback(os.close, fd)
        return fd

    def close(self) -> None:
        self._stack.close()

    def configure(self, change: Callable[[ConfigRecord], None]) -> None:
        """Change the network's config."""
        config = ConfigRecord.from_buffer_copy(self.maps["config"].lookup(bytes(4)) or b"")
        change(config)
        self.maps["config"].update(bytes(4), bytes(config))

    def run(self, frame: bytes, sender: Host, **gso: int) -> Observation:
        """Run the program on a frame that comes in by the sender's host end; zeros lie behind it.

        `gso`: tc only, gso_segs and gso_size. Raises KernelError (EINVAL: too short or too long).
        """
        return self._run(self._fd, frame, sender, gso)

    def run_before(self, garbage: bytes, frame: bytes, sender: Host) -> Observation:
        """The same, with bytes of our choice behind the end of the frame (see cut.c)."""
        self._cut_off.update(bytes(Number(0)), bytes(Number(len(garbage))))
        return self._run(self._cut_fd, frame + garbage, sender, {})

    def _run(self, fd: int, frame: bytes, sender: Host, gso: Mapping[str, int]) -> Observation:
        context = (
            XdpContext(data_end=len(frame), ingress_ifindex=sender.ifindex)
            if self.program.is_xdp
            else SkbContext(ifindex=sender.ifindex, **gso)
        )
        code, output = self._namespace.do(
            libbpf.test_run, fd, frame, context=context, room=len(frame) + MOST_ADDED
        )
        return Observation(code, output, self._counters.moved())
