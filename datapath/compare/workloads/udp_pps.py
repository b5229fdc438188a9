"""Workload udp_pps: small UDP datagrams as fast as one program sends them (sockperf), per second.

Nobody reads them: on one CPU, reader and sender would take turns, and what the reader then missed
would look like loss. Both ends count for themselves, in the kernel: what the sender's namespace
sent, and what the receiver's brought as far as a socket, the ones that it had no room for included.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from datapath.compare.lab import Lab
from datapath.compare.workloads import sockperf
from datapath.compare.workloads.base import Effort, Plain, Sample, require_arrivals
from datapath.kernel.net import netns

_DURATION: Final = re.compile(r"messages sent in ([0-9.]+) sec")


def _sample(lab: Lab, effort: Effort) -> Sample:
    sent_before, arrived_before = _sent(lab), _arrived(lab)
    with _bound(lab):
        output = sockperf.client(lab, "throughput", "udp", effort.seconds)
        sent, arrived = _sent(lab) - sent_before, _arrived(lab) - arrived_before
    require_arrivals(lab, "datagrams", sent, arrived)
    (seconds,) = sockperf.figures(lab, output, _DURATION)
    return Sample(arrived / float(seconds), sent, arrived)


def _sent(lab: Lab) -> int:
    return _counters(lab.sender.path)["Udp", "OutDatagrams"]


def _arrived(lab: Lab) -> int:
    """Datagrams that IP handed to UDP: UDP itself counts one when it is read, and none waits so."""
    counted = _counters(lab.receiver.path)
    others = counted["Tcp", "InSegs"] + counted["Icmp", "InMsgs"]
    return counted["Ip", "InDelivers"] - others


def _counters(path: Path) -> dict[tuple[str, str], int]:
    """IPv4's counters of a namespace, by protocol and name (RFC 1213)."""
    text = netns.run_inside(path, Path("/proc/thread-self/net/snmp").read_text)
    lines = [line.split() for line in text.splitlines()]
    return {
        (names[0].rstrip(":"), name): int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names[1:], values[1:], strict=True)
    }


@contextmanager
def _bound(lab: Lab) -> Iterator[None]:
    """A socket where datagrams arrive, so that none is answered by an ICMP error."""
    with netns.run_inside(
        lab.receiver.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ) as receiver:
        receiver.bind((str(lab.receiver.ipv4), sockperf.PORT))
        yield


WORKLOAD: Final = Plain(
    name="udp_pps",
    summary="datagrams of 14 bytes a second, as fast as sockperf sends them",
    unit="1/s",
    better="higher",
    tools=(sockperf.TOOL,),
    sample=_sample,
)
