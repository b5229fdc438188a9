"""Frames that come late, too fast or from a tun, and a file on a disk that fills up."""

import errno
import io
import time
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgReader

from cli.capture import _line
from datapath.capture import Frame
from datapath.capture.pcapng import Writer
from datapath.capture.session import Arrivals, Capture

ETHERNET, RAW = 1, 101
SECOND = 1_000_000_000
ECHO = IP(src="10.0.0.1", dst="10.0.0.2") / ICMP()


def frame(time_: int, place: int = 0, data: bytes = b"data") -> Frame:
    return Frame(time_, place, data, len(data))


def test_frames_that_have_waited_long_come_in_order() -> None:
    """As they wait while their reader is busy with those before."""
    arrivals = Arrivals()
    long_ago = time.time_ns() - 60 * SECOND
    for order in (5, 6, 7, 1, 2, 8, 3):
        arrivals.put(frame(long_ago + order))
    frames = Capture([], arrivals).frames()
    assert [next(frames).time - long_ago for _ in range(7)] == [1, 2, 3, 5, 6, 7, 8]


def test_what_has_passed_when_a_capture_ends_is_given() -> None:
    arrivals = Arrivals()
    capture = Capture([], arrivals)
    arrivals.put(frame(time.time_ns()))
    capture.end()
    arrivals.put(frame(time.time_ns() + 60 * SECOND))  # not passed yet
    assert len([*capture.frames()]) == 1


def test_frames_beyond_the_room_are_left_out_and_counted() -> None:
    arrivals = Arrivals(room=2_000)
    capture = Capture([], arrivals)
    for _ in range(4):
        arrivals.put(frame(1, data=bytes(400)))
    assert capture.left_out == 2
    frames = capture.frames()
    next(frames)
    arrivals.put(frame(1, data=bytes(400)))  # in the room that this one had
    capture.end()
    assert len([*frames]) == 2
    assert capture.left_out == 2


class SmallDisk(io.FileIO):
    room = 400

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        taken = super().write(data[: self.room - self.tell()])
        if not taken:
            raise OSError(errno.ENOSPC, "no space")
        return taken


def test_a_disk_that_fills_up_keeps_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    with SmallDisk(file, "w") as disk:
        writer = Writer(disk, [("ns0:eth0", ETHERNET)])
        for number in range(2):
            writer.write(frame(number, data=bytes(Ether() / ECHO)))
        with pytest.raises(OSError, match="no space"):
            writer.write(frame(2, data=bytes(300)))
    with PcapNgReader(str(file)) as reader:
        assert len(reader.read_all()) == 2


def test_a_file_says_what_the_frames_of_each_place_begin_with(tmp_path: Path) -> None:
    file = tmp_path / "a.pcapng"
    with io.FileIO(file, "w") as disk:
        writer = Writer(disk, [("ns0:eth0", ETHERNET), ("ns0:tun0", RAW)])
        writer.write(frame(0, 0, bytes(Ether() / ECHO)))
        writer.write(frame(1, 1, bytes(ECHO)))
    with PcapNgReader(str(file)) as reader:
        assert [type(packet) for packet in reader.read_all()] == [Ether, IP]


@pytest.mark.parametrize(
    ("link_type", "data", "words"),
    [
        (ETHERNET, bytes(Ether() / ECHO), "Ether / IP / ICMP 10.0.0.1 > 10.0.0.2 echo-request"),
        (RAW, bytes(ECHO), "IP / ICMP 10.0.0.1 > 10.0.0.2 echo-request"),
        (RAW, bytes(IPv6(src="fd00::1", dst="fd00::2")), "fd00::1 > fd00::2"),
        (ETHERNET, b"\x01", "Raw"),
        (9999, bytes(ECHO), "Raw"),
    ],
)
def test_a_line_tells_of_a_frame_by_what_it_begins_with(
    link_type: int, data: bytes, words: str
) -> None:
    assert f"  ns0:eth0  {words}" in _line(frame(0, data=data), ["ns0:eth0"], [link_type])
