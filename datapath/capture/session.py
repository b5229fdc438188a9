"""One capture: a tcpdump for each place, their frames brought into one order.

tcpdump stamps with the kernel's own time, in nanoseconds. Frames reach this process a little late
and in any order, so each waits until nothing older can come any more. Where they come faster than
they are taken, what does not fit is left out and counted.
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Final

from datapath import names
from datapath.capture.places import Place
from datapath.errors import EbpfnetError, InvalidInput, Unsupported

_MAGIC: Final = 0xA1B23C4D  # of a pcap file with nanoseconds, in the byte order of its writer
_FILE_HEADER = struct.Struct("=IHHiIII")
_FRAME_HEADER = struct.Struct("=IIII")  # seconds, nanoseconds, bytes here, bytes on the wire
_LINK_TYPE: Final = 0x0FFFFFFF  # of what the file header says; above, the length of an FCS
_ROOM: Final = 16 << 20  # bytes of frames that wait: some seconds of telling of them
_FRAME_OVERHEAD: Final = 300  # bytes that a frame takes beside its data
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


class Arrivals:
    """Frames on their way from the threads that read them to the one that takes them in order.

    Holds a limited amount; what comes beyond is `left_out`.
    """

    def __init__(self, room: int = _ROOM) -> None:
        """`room` in bytes."""
        self.left_out = 0
        self._room = room
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._waiting: list[Frame] = []

    def put(self, frame: Frame) -> None:
        """Hand a frame over, from any thread."""
        with self._lock:
            if self._room < _size(frame):
                self.left_out += 1
                return
            self._room -= _size(frame)
        self._queue.put(frame)

    def collect(self) -> None:
        """Have whatever has come take its place; waits a little where nothing has."""
        with suppress(queue.Empty):
            heapq.heappush(self._waiting, self._queue.get(timeout=_LATE))
            while True:
                heapq.heappush(self._waiting, self._queue.get_nowait())

    def take(self, before: int) -> Iterator[Frame]:
        """The frames collected that are older than `before`, in order of time."""
        while self._waiting and self._waiting[0].time < before:
            frame = heapq.heappop(self._waiting)
            with self._lock:
                self._room += _size(frame)
            yield frame


def _size(frame: Frame) -> int:
    return len(frame.data) + _FRAME_OVERHEAD


class Capture:
    """A capture that is under way."""

    def __init__(self, taps: Sequence[_Tap], arrivals: Arrivals) -> None:
        self._taps, self._arrivals = taps, arrivals
        self._ended = False

    @property
    def link_types(self) -> list[int]:
        """What frames begin with, for each place: a LINKTYPE_ of pcap."""
        return [tap.link_type for tap in self._taps]

    @property
    def left_out(self) -> int:
        """How many frames came too fast to be held."""
        return self._arrivals.left_out

    def end(self) -> None:
        """Have `frames` give what has passed up to now and end; may be called by a signal."""
        self._ended = True

    def frames(self) -> Iterator[Frame]:
        """Frames in time order. Raises EbpfnetError after those of an interface that goes away."""
        while not self._ended:
            now = time.time_ns()
            self._arrivals.collect()
            yield from self._arrivals.take(before=now - int(_LATE * _NS))
            try:
                for tap in self._taps:
                    tap.check()
            except EbpfnetError:
                self._arrivals.collect()
                yield from self._arrivals.take(before=time.time_ns())
                raise
        end = time.time_ns()
        while time.time_ns() < end + int(_LATE * _NS):
            self._arrivals.collect()
        yield from self._arrivals.take(before=end)


@contextmanager
def capture(places: Sequence[Place], expression: str = "", snapshot: int = 0) -> Iterator[Capture]:
    """Watch places for as long as the block lasts.

    `expression` is one of pcap-filter(7), `snapshot` how many bytes of a frame are kept, 0 = all.
    Raises Unsupported without tcpdump, InvalidInput for a bad expression, EbpfnetError.
    """
    if not shutil.which("tcpdump"):
        raise Unsupported("tcpdump", "tcpdump is not installed", remedy="apt-get install tcpdump")
    arrivals = Arrivals()
    with ExitStack() as stack:
        taps = [
            stack.enter_context(_Tap(number, place, expression, snapshot, arrivals))
            for number, place in enumerate(places)
        ]
        for tap in taps:
            tap.wait_ready()
        yield Capture(taps, arrivals)


class _Tap:
    """A tcpdump in a place's namespace and the thread that reads it. Use as a context manager."""

    def __init__(
        self, number: int, place: Place, expression: str, snapshot: int, out: Arrivals
    ) -> None:
        self.link_type = 0  # until tcpdump has said it
        self._number, self._place, self._out = number, place, out
        # A process that changes its user outlives its parent, whatever it was told: tcpdump would
        # become user tcpdump, and stay until the next frame.
        self._command = [
            *("setpriv", "--pdeathsig", "KILL", "tcpdump", "-Z", "root"),
            *("-i", place.ifname, "--immediate-mode", "-U", "-w", "-", "-s", str(snapshot)),
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
        if len(header) == _FILE_HEADER.size:
            magic, *_, link_type = _FILE_HEADER.unpack(header)
            if magic == _MAGIC:
                self.link_type = link_type & _LINK_TYPE
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
