"""Workload tcp_stream: TCP as fast as it goes (iperf3), as the receiver counts it.

streams=N    streams at a time, one by default
cpus=1|2     1: all on one CPU; 2: the receiving program on another
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.compare.workloads import iperf3
from datapath.compare.workloads.base import Effort, Measure, Sample
from datapath.variants import Options

_MOST_STREAMS: Final = 128  # iperf3's own limit
# Of the seconds that a sample may take. Transfers of 1 s scatter by 2 to 3 % from one to the next,
# as those of 0.27 s do, and the shorter ones leave time for more rounds.
_SHARE: Final = 0.25
_LEAST_BYTES: Final = 32_000_000
_PATIENCE: Final = 15.0  # times as long as asked for


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
                streams = ("--parallel", str(self.streams))
                rate = transfer(*iperf3.WARM_UP, *streams)["bits_per_second"] / 8
                # As much as takes so long: iperf3's clock knows whole seconds alone.
                size = max(_LEAST_BYTES, int(rate * _SHARE * effort.seconds))
                received = transfer(
                    "--bytes", str(size), *streams, timeout=_PATIENCE * effort.seconds
                )
            return Sample(received["bits_per_second"] / 1e9)

        yield sample


WORKLOAD = TcpStream()
