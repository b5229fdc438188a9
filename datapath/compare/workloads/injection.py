"""Frames injected by the kernel itself at one end of a lab, and counted and dropped at the other.

BPF_PROG_RUN with live frames redirects a UDP frame into the sender's veth again and again, within
one system call, and a tc program in the receiver counts and drops it. No socket, no wake-up and no
copy is in it: that is why it repeats so well.

The program that sends reads the clock after every 1,024 frames, and the median of these stretches
is what counts. The beginning and the end of the system call (20 to 60 ms of waiting) are in none of
them, and a stretch is so short (half a millisecond) that most are interrupted by nobody: other load
that takes half of the CPU doubles what a clock outside shows, and hardly changes the median.
"""

from __future__ import annotations

import ctypes as ct
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise
from statistics import median
from typing import Final

from datapath.compare.lab import Lab
from datapath.errors import KernelError, Unsupported
from datapath.kernel.bpf import features, libbpf
from datapath.kernel.bpf.maps import Map
from datapath.kernel.net import links, netns, tc

CHECKSUM_BYTES: Final = 4  # Ethernet's, which counts in the size of a frame and is never seen
HEADERS: Final = 14 + 20 + 8  # Ethernet, IPv4, UDP

_BATCH: Final = 64  # frames sent before any is received: NAPI's own budget
_STRETCH, _MOST_STRETCHES = 128, 16383  # bpf/measure.c
_IDLE: Final = 8  # programs that do nothing: enough for their price to stand out
_PATIENCE = 0.5  # seconds for the last frames to arrive
_KEY: Final = bytes(4)
_SOURCE_PORT, _DESTINATION_PORT = 1, 2
_IP = slice(14, 34)
_TTL = slice(22, 26)  # TTL, protocol, checksum
_CHECKSUM, _DESTINATION = (slice(10, 12), slice(16, 20))  # in the IPv4 header
_SEED: Final = 2463534242  # of the drawing of destinations and flows, Marsaglia's own


class _Injection(ct.Structure):
    """struct injection in bpf/measure.c."""

    _fields_ = (
        ("ifindex", ct.c_uint32),
        ("macs", ct.c_uint8 * 12),
        ("ttl_protocol_checksum", ct.c_uint8 * 4),
        ("endpoints", ct.c_uint32),
        ("first_address", ct.c_uint32),
        ("mac_follows", ct.c_uint32),
        ("flows", ct.c_uint32),
        ("first_port", ct.c_uint32),
        ("header_sum", ct.c_uint32),
        ("random", ct.c_uint32),
        ("frames", ct.c_uint32),
    )


@dataclass(frozen=True, slots=True)
class Destinations:
    """Whom frames are for: consecutive addresses; `in_mac` where a MAC ends with its address."""

    first: IPv4Address
    count: int = 1
    in_mac: bool = False


@dataclass(frozen=True, slots=True)
class Injected:
    """How many frames an injection sent, and how many nanoseconds each took."""

    sent: int
    ns_per_frame: float


class Injector:
    """The programs of bpf/measure.c, loaded, with their maps. Use as a context manager."""

    def __init__(self) -> None:
        """Raises Unsupported where this kernel injects no frames, CompileError, VerifierError."""
        from datapath.kernel.bpf import compiler

        with (
            ExitStack() as stack,
            compiler.Module(compiler.source_folder() / "measure.c", {}) as module,
        ):

            def loaded(function: str, kind: int) -> int:
                program = compiler.load(module.function(function), kind)
                stack.callback(os.close, program)
                return program

            self._injection = stack.enter_context(Map(os.dup(module.maps["injection"])))
            self._reached = stack.enter_context(Map(os.dup(module.maps["reached"])))
            self._arrived = stack.enter_context(Map(os.dup(module.maps["arrived"])))
            self._generate = loaded("generate", libbpf.PROG_XDP)
            self.sink = loaded("sink", libbpf.PROG_SCHED_CLS)
            # The same twice at one hook is refused, two of the same code are not.
            self.idle = [loaded("idle", libbpf.PROG_SCHED_CLS) for _ in range(_IDLE)]
            try:
                self._run(bytes(HEADERS), 1)  # with nowhere to go yet, it is dropped
            except KernelError as error:
                raise Unsupported(
                    "live frames",
                    "this kernel cannot inject frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)",
                    remedy="choose others with --workload",
                    detail=error.detail,
                ) from error
            self._stack = stack.pop_all()

    def __enter__(self) -> Injector:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _run(self, frame: bytes, count: int) -> None:
        libbpf.test_run(
            self._generate,
            frame,
            repeat=count,
            flags=libbpf.TEST_RUN_XDP_LIVE_FRAMES,
            batch_size=_BATCH,
        )

    def source(
        self, lab: Lab, size: int, flows: int, destinations: Destinations
    ) -> Callable[[int], Injected]:
        """What sends so many frames of `size` bytes, Ethernet's checksum included, from the sender.

        Raises Unsupported where nothing can be injected into its interface, KernelError.
        """
        path, ifname = lab.sender.path, lab.sender.ifname
        link = netns.run_inside(path, lambda: links.get(ifname))
        if link.kind != "veth":
            raise Unsupported(
                "live frames",
                f"frames cannot be injected into the {link.kind} of mode {lab.mode.name}",
                remedy="measure it by udp_pps or tcp_rr",
            )
        payload = bytes(size - CHECKSUM_BYTES - HEADERS)
        ends = lab.sender.mac, lab.next_hop_mac(), lab.sender.ipv4, destinations.first
        frame = udp_frame(*ends, payload)
        plan = _Injection(
            ifindex=link.index,
            macs=tuple(frame[:12]),
            ttl_protocol_checksum=tuple(frame[_TTL]),
            endpoints=destinations.count,
            first_address=int(destinations.first),
            mac_follows=destinations.in_mac,
            flows=flows,
            first_port=_SOURCE_PORT,
            header_sum=_header_sum(frame[_IP]),
            random=_SEED,
        )

        def send(frames: int) -> Injected:
            stretches = min(max(frames // _STRETCH, 1), _MOST_STRETCHES)
            sent = stretches * _STRETCH + 1  # one more, for the clock to be read
            self._injection.update(_KEY, bytes(plan))
            netns.run_inside(path, lambda: self._run(frame, sent))
            reached = [_u64(value) for _, value in self._reached.items()[: stretches + 1]]
            taken = [after - before for before, after in pairwise(reached)]
            return Injected(sent, median(taken) / _STRETCH)

        return send

    def arrived(self) -> int:
        """Frames that reached a sink, of all injections."""
        raw = self._arrived.lookup(_KEY) or b""
        return sum(_u64(raw[start : start + 8]) for start in range(0, len(raw), 8))

    def arrived_since(self, before: int, expected: int) -> int:
        """Frames that reached a sink since there were `before`; waits for the last of `expected`.

        The last may still lie in queues; what is lost is not waited for long. Never more than
        `expected`: a bridge's own IGMP may be among them.
        """
        deadline = time.monotonic() + _PATIENCE
        while (arrived := self.arrived() - before) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        return min(arrived, expected)

    @contextmanager
    def sunk(self, lab: Lab) -> Iterator[None]:
        """IPv4 is counted and dropped at the receiver, for as long as the block lasts."""
        path, ifname = lab.receiver.path, lab.receiver.ifname
        if features.has(features.TCX):
            link = netns.run_inside(
                path,
                lambda: libbpf.link_create(
                    self.sink, links.get(ifname).index, libbpf.ATTACH_TCX_INGRESS
                ),
            )
            try:
                yield
            finally:
                os.close(link)
            return

        def attach() -> None:
            tc.ensure_clsact(ifname)
            tc.add_ingress_filter(ifname, self.sink, "sink")

        netns.run_inside(path, attach)
        try:
            yield
        finally:
            netns.run_inside(path, lambda: tc.remove_ingress_filter(ifname))


def _u64(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


def _header_sum(header: bytes) -> int:
    """Of an IPv4 header's words as the machine reads them, without checksum and destination."""
    fixed = bytearray(header)
    fixed[_CHECKSUM], fixed[_DESTINATION] = bytes(2), bytes(4)
    return sum(struct.unpack("=10H", fixed))


def udp_frame(
    source_mac: str,
    destination_mac: str,
    source: IPv4Address,
    destination: IPv4Address,
    payload: bytes,
) -> bytes:
    """An Ethernet frame with a UDP datagram; no checksum over the datagram, which IPv4 allows."""
    udp = struct.pack("!HHHH", _SOURCE_PORT, _DESTINATION_PORT, 8 + len(payload), 0)
    ip = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(udp) + len(payload), 0, 0, 64, 17, 0),
        *(source.packed, destination.packed),
    )
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
    macs = bytes.fromhex((destination_mac + source_mac).replace(":", ""))
    return macs + b"\x08\x00" + ip[:10] + checksum + ip[12:] + udp + payload
