"""One capture: a tcpdump for each place, their frames brought into one order.

tcpdump stamps with the kernel's own time, in nanoseconds. Frames reach this process a little late
and in any order, so each waits until nothing older can come any more.
"""

from __future__ import annotations

import heapq
import queue
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Final

from datapath import names
from datapath.capture.places import Place
from datapath.errors import EbpfnetError, InvalidInput, Unsupported

_MAGIC: Final = 0xA1B23C4D  # of a pcap file with nanoseconds, in the byte order of its writer
_FILE_HEADER = struct.Struct("=IHHiIII")
_FRAME_HEADER = struct.Struct("=IIII")  # seconds, nanoseconds, bytes here, bytes on the wire
_LATE: Final = 0.2  # seconds that a frame may take from the kernel to here
_READY: Final = 10.0  # seconds for tcpdump to begin
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, order=True)
class Frame:
    """A frame as it passed a place; `time` in nanoseconds since 1970, `place` a position in the
    capture's places, `length` in bytes on the wire, of which `data` may be fewer.
    """

    time: int
    place: int
    data: bytes = field(compare=False)
    length: int = field(compare=False)


@contextmanager
def capture(places: Sequence[Place], expression: str = "") -> Iterator[Iterator[Frame]]:
    """Watch places for as long as the block lasts; yields their frames in time order, without end.

    `expression` is one of pcap-filter(7). Raises Unsupported without tcpdump, InvalidInput for a
    bad expression; the frames raise EbpfnetError where an interface goes away.
    """
    if not shutil.which("tcpdump"):
        raise Unsupported("tcpdump", "tcpdump is not installed", remedy="apt-get install tcpdump")
    arrived: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    with ExitStack() as stack:
        taps = [
            stack.enter_context(_Tap(number, place, expression, arrived))
            for number, place in enumerate(places)
        ]
        for tap in taps:
            tap.wait_ready()
        yield _in_order(taps, arrived)


def _in_order(taps: Sequence[_Tap], arrived: queue.SimpleQueue[Frame]) -> Iterator[Frame]:
    waiting: list[Frame] = []
    while True:
        try:
            heapq.heappush(waiting, arrived.get(timeout=_LATE))
        except queue.Empty:
            for tap in taps:
                tap.check()
        ripe = time.time_ns() - int(_LATE * _NS)
        while waiting and waiting[0].time <= ripe:
            yield heapq.heappop(waiting)


class _Tap:
    """A tcpdump in a place's namespace and the thread that reads it. Use as a context manager."""

    def __init__(
        self, number: int, place: Place, expression: str, out: queue.SimpleQueue[Frame]
    ) -> None:
        self._number, self._place, self._out = number, place, out
        self._command = [
            *("setpriv", "--pdeathsig", "KILL"),
            *("tcpdump", "-i", place.ifname, "--immediate-mode", "-U", "-w", "-"),
            *("--time-stamp-precision=nano", "--", *([expression] if expression else [])),
        ]
        self._ready = threading.Event()

    def __enter__(self) -> _Tap:
        self._said: IO[bytes] = tempfile.TemporaryFile()
        # Its parent has to outlive it, and the thread that enters the namespace does not.
        inside = ["nsenter", f"--net={self._place.node.path}", *self._command]
        self._process = subprocess.Popen(
            inside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._said
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        if self._process.stdout:
            self._process.stdout.close()
        self._said.close()

    def _read(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        header = stream.read(_FILE_HEADER.size)
        if len(header) == _FILE_HEADER.size and _FILE_HEADER.unpack(header)[0] == _MAGIC:
            self._ready.set()
        while len(header := stream.read(_FRAME_HEADER.size)) == _FRAME_HEADER.size:
            seconds, nanoseconds, here, length = _FRAME_HEADER.unpack(header)
            data = stream.read(here)
            self._out.put(Frame(seconds * _NS + nanoseconds, self._number, data, length))

    def wait_ready(self) -> None:
        """Until tcpdump watches. Raises InvalidInput, EbpfnetError where it ends instead."""
        deadline = time.monotonic() + _READY
        while not self._ready.wait(0.01):
            self.check()
            if time.monotonic() > deadline:
                raise EbpfnetError(f"tcpdump does not begin at {self._place.label}")

    def check(self) -> None:
        """Raises InvalidInput or EbpfnetError, with its own words, where tcpdump has ended."""
        if self._process.poll() is None:
            return
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        lines = [line for line in said.splitlines() if line.startswith("tcpdump: ")]
        reason = lines[-1].removeprefix("tcpdump: ") if lines else "it ended"
        if "filter" in reason or "expression" in reason or "syntax error" in reason:
            raise InvalidInput(f"bad filter: {reason}", remedy="see `man pcap-filter`")
        up = names.inside(self._place.node, "ip", "link", "set", self._place.ifname, "up")
        raise EbpfnetError(
            f"capturing at {self._place.label}: {reason}",
            remedy=up if reason.endswith("is not up") else "",
            detail=said,
        )
