"""Workload tcp_stream: TCP as fast as it goes (iperf3), as the receiver counts it.

streams=N    streams at a time, one by default
cpus=1|2     1: all on one CPU; 2: the receiving program on another
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.compare.workloads import iperf3
from datapath.compare.workloads.base import Effort, Measure, Sample
from datapath.variants import Options

_MOST_STREAMS = 128  # iperf3's own limit


@dataclass(frozen=True, slots=True)
class TcpStream:
    """The workload as declared; see the module."""

    name: str = "tcp_stream"
    summary: str = "TCP throughput, iperf3 (one stream, or streams=N)"
    unit: str = "Gbit/s"
    better: Literal["lower", "higher"] = "higher"
    details: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Tool, ...] = (iperf3.TOOL,)
    streams: int = 1
    cpus: int = 1

    def variant(self, options: Options) -> TcpStream:
        return replace(
            self,
            streams=options.number("streams", 1, 1, _MOST_STREAMS),
            cpus=options.number("cpus", 1, 1, 2),
        )

    def missing(self) -> str:
        return "a second CPU" if self.cpus > (os.cpu_count() or 1) else ""

    @contextmanager
    def prepared(self, effort: Effort) -> Iterator[Measure]:
        mine = os.sched_getaffinity(0)
        others = [cpu for cpu in range(os.cpu_count() or 1) if cpu not in mine]
        cpus = others if self.cpus == 2 else ()

        def sample(lab: Lab) -> Sample:
            with iperf3.served(lab, cpus) as transfer:
                report = transfer(effort.seconds, "--parallel", str(self.streams))
            return Sample(report["sum_received"]["bits_per_second"] / 1e9)

        yield sample


WORKLOAD = TcpStream()
