"""Workload ns_per_packet: what it costs to bring one small frame from a namespace to the other.

The kernel itself sends: BPF_PROG_RUN with live frames redirects the same UDP frame into the
sender's veth again and again, within one system call, and a tc program in the receiver counts and
drops it. No socket, no wake-up and no copy is in the figure: that is why it repeats so well. What
the call itself takes to begin and end is, some 20 ms: it wants many frames to be next to nothing.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Final, Literal

from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.compare.workloads.base import Effort, Measure, Sample
from datapath.errors import EbpfnetError, KernelError, Unsupported
from datapath.kernel.bpf import features, libbpf
from datapath.kernel.bpf.maps import Map
from datapath.kernel.net import links, netns, tc
from datapath.variants import Options

_BATCH: Final = 64  # frames sent before any is received: NAPI's own budget
_WARM_UP: Final = 10  # one frame for this many that count is sent first
_LOSS: Final = 1000  # one frame in this many may be lost
_PATIENCE = 0.5  # seconds for the last frames to arrive
_PAYLOAD: Final = bytes(18)  # 64 bytes with Ethernet's checksum, the shortest frame there is
_KEY: Final = bytes(4)
_INJECTION: Final = struct.Struct("=I12s4s")  # struct injection in bpf/measure.c
_TTL = slice(22, 26)  # TTL, protocol, checksum


@dataclass(frozen=True, slots=True)
class NsPerPacket:
    """The workload as declared; see the module."""

    name: str = "ns_per_packet"
    summary: str = "cost of forwarding a 64-byte frame, injected by the kernel"
    unit: str = "ns"
    better: Literal["lower", "higher"] = "lower"
    details: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()

    def variant(self, options: Options) -> NsPerPacket:
        return self

    def missing(self) -> str:
        return ""

    @contextmanager
    def prepared(self, effort: Effort) -> Iterator[Measure]:
        with _Injector() as injector:
            yield lambda lab: injector.sample(lab, effort.packets)


class _Injector:
    """The two programs of bpf/measure.c, loaded, with their maps. Use as a context manager."""

    def __init__(self) -> None:
        """Raises Unsupported where this kernel injects no frames, CompileError, VerifierError."""
        from datapath.kernel.bpf import compiler

        with (
            ExitStack() as stack,
            compiler.Module(compiler.source_folder() / "measure.c", {}) as module,
        ):
            self._injection = stack.enter_context(Map(os.dup(module.maps["injection"])))
            self._arrived = stack.enter_context(Map(os.dup(module.maps["arrived"])))
            self._generate = compiler.load(module.function("generate"), libbpf.PROG_XDP)
            stack.callback(os.close, self._generate)
            self._sink = compiler.load(module.function("sink"), libbpf.PROG_SCHED_CLS)
            stack.callback(os.close, self._sink)
            try:
                self._inject(bytes(60), 1)  # with nowhere to go yet, it is dropped
            except KernelError as error:
                raise Unsupported(
                    "live frames",
                    "this kernel cannot inject frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)",
                    remedy="choose others with --workload",
                    detail=error.detail,
                ) from error
            self._stack = stack.pop_all()

    def __enter__(self) -> _Injector:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _inject(self, frame: bytes, count: int) -> int:
        """Send a frame `count` times; nanoseconds that it took."""
        start = time.perf_counter_ns()
        libbpf.test_run(
            self._generate,
            frame,
            repeat=count,
            flags=libbpf.TEST_RUN_XDP_LIVE_FRAMES,
            batch_size=_BATCH,
        )
        return time.perf_counter_ns() - start

    def sample(self, lab: Lab, packets: int) -> Sample:
        """Nanoseconds for each of `packets`. Raises EbpfnetError where too many do not arrive."""
        sender, warm_up = lab.sender, packets // _WARM_UP + 1
        source, destination = sender.mac, lab.next_hop_mac()
        frame = udp_frame(source, destination, sender.ipv4, lab.receiver.ipv4, _PAYLOAD)

        def send() -> float:
            ifindex = links.get(sender.ifname).index
            self._injection.update(_KEY, _INJECTION.pack(ifindex, frame[:12], frame[_TTL]))
            self._inject(frame, warm_up)
            return self._inject(frame, packets) / packets

        sent = warm_up + packets
        before = self._count()
        with self._sunk(lab):
            cost = netns.run_inside(sender.path, send)
            deadline = time.monotonic() + _PATIENCE
            while (arrived := self._count() - before) < sent and time.monotonic() < deadline:
                time.sleep(0.001)
        if sent - arrived > sent // _LOSS:
            raise EbpfnetError(
                f"mode {lab.mode.name} lost frames: {arrived} of {sent} arrived",
                remedy="nothing is to be concluded from that; give the CPU to this run alone",
            )
        return Sample(cost, sent, arrived)

    def _count(self) -> int:
        raw = self._arrived.lookup(_KEY) or b""
        return sum(int.from_bytes(raw[i : i + 8], sys.byteorder) for i in range(0, len(raw), 8))

    @contextmanager
    def _sunk(self, lab: Lab) -> Iterator[None]:
        """IPv4 is counted and dropped at the receiver, for as long as the block lasts."""
        path, ifname = lab.receiver.path, lab.receiver.ifname
        if features.has(features.TCX):
            link = netns.run_inside(
                path,
                lambda: libbpf.link_create(
                    self._sink, links.get(ifname).index, libbpf.ATTACH_TCX_INGRESS
                ),
            )
            try:
                yield
            finally:
                os.close(link)
            return

        def attach() -> None:
            tc.ensure_clsact(ifname)
            tc.add_ingress_filter(ifname, self._sink, "sink")

        netns.run_inside(path, attach)
        try:
            yield
        finally:
            netns.run_inside(path, lambda: tc.remove_ingress_filter(ifname))


def udp_frame(
    source_mac: str,
    destination_mac: str,
    source: IPv4Address,
    destination: IPv4Address,
    payload: bytes,
) -> bytes:
    """An Ethernet frame with a UDP datagram; no checksum over the datagram, which IPv4 allows."""
    udp = struct.pack("!HHHH", 1, 2, 8 + len(payload), 0)
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


WORKLOAD = NsPerPacket()
