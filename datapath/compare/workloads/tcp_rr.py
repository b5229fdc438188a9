"""Workload tcp_rr: one TCP message there and back at a time (sockperf), mean round trip."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

from datapath.compare import processes
from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.compare.workloads.base import Effort, Measure, Sample
from datapath.errors import EbpfnetError
from datapath.variants import Options

_PORT: Final = 11111
_MESSAGE_BYTES: Final = 14  # the least that sockperf sends
_PATIENCE = 15.0  # seconds on top of the test itself
_MEAN = re.compile(r"avg-(?:rtt|latency)=([0-9.]+)")  # older versions call both latency


@dataclass(frozen=True, slots=True)
class TcpRr:
    """The workload as declared; see the module."""

    name: str = "tcp_rr"
    summary: str = "round trip of a small TCP message, sockperf"
    unit: str = "us"
    better: Literal["lower", "higher"] = "lower"
    details: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Tool, ...] = (Tool("sockperf", "sockperf"),)

    def variant(self, options: Options) -> TcpRr:
        return self

    def missing(self) -> str:
        return ""

    @contextmanager
    def prepared(self, effort: Effort) -> Iterator[Measure]:
        yield lambda lab: _sample(lab, effort.seconds)


def _sample(lab: Lab, seconds: int) -> Sample:
    """Microseconds. sockperf warms up by itself: the first 0.4 s and the last are not counted."""
    whole = seconds + 1
    there = ["--tcp", "--ip", str(lab.receiver.ipv4), "--port", str(_PORT)]
    with processes.server(lab.receiver.path, ["sockperf", "server", *there], _PORT):
        output = lab.run(
            lab.sender,
            *("sockperf", "ping-pong", *there, "--full-rtt", "--time", str(whole)),
            *("--msg-size", str(_MESSAGE_BYTES)),
            timeout=whole + _PATIENCE,
        )
    mean = _MEAN.search(output)
    if mean is None:
        raise EbpfnetError(
            f"sockperf reports no round trip by mode {lab.mode.name}",
            remedy="give the CPU to this run alone, or more --seconds",
            detail=output,
        )
    return Sample(float(mean[1]))


WORKLOAD = TcpRr()
