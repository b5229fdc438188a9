"""Frames on the wire of an endpoint: sent as they are, noted as they come, or none at all.

An endpoint is a row of `ebpfnet endpoint list`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from scapy.packet import Packet
from scapy.utils import RawPcapReader

from tests.support import hosts
from tests.support.kit import Row

# The empty virtio_net_hdr says nothing of a frame's headers, so that of a frame over one page the
# kernel keeps in the linear part no more than the Ethernet header.
SEND = """
import socket, sys
SOL_PACKET, PACKET_VNET_HDR = 263, 15
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sender.bind((sys.argv[1], 0))
    for line in sys.stdin:
        sender.send(bytes(10) + bytes.fromhex(line))
"""


def send(row: Row, *frames: Packet) -> None:
    """Have a namespace send frames as they are, whatever they claim."""
    lines = "\n".join(bytes(frame).hex() for frame in frames)
    hosts.run(sys.executable, "-c", SEND, row["ifname"], netns=row["netns"], input=lines)


@contextmanager
def capture(row: Row) -> Iterator[Callable[[int], list[bytes]]]:
    """Have tcpdump note what comes in; yields a function that waits for so many frames."""
    watch = ("tcpdump", "-i", row["ifname"], "-Q", "in", "-U", "--immediate-mode", "-w", "-")
    with tempfile.TemporaryFile() as noted, tempfile.TemporaryFile() as said:
        tcpdump = subprocess.Popen(
            ["ip", "netns", "exec", row["netns"], *watch], stdout=noted, stderr=said
        )

        def content(file: IO[bytes]) -> bytes:
            return os.pread(file.fileno(), 1 << 20, 0)

        def frames(count: int) -> list[bytes]:
            found: list[bytes] = []

            def enough() -> bool:
                found[:] = [frame for frame, _ in RawPcapReader(BytesIO(content(noted)))]
                return len(found) >= count

            assert hosts.until(enough), f"{len(found)} of {count} frames came"
            return found

        try:
            assert hosts.until(lambda: b"listening on" in content(said)), content(said)
            yield frames
        finally:
            tcpdump.terminate()
            tcpdump.wait(10)


def silence(*rows: Row) -> None:
    """Let a namespace say nothing by itself."""
    for row in rows:
        setting = f"net.ipv6.conf.{row['ifname']}.disable_ipv6=1"
        hosts.run("sysctl", "-qw", setting, netns=row["netns"])
