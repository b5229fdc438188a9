"""Workload tcp_stream: one TCP stream as fast as it goes (iperf3), as the receiver counts it."""

from __future__ import annotations

import json
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

_PORT: Final = 5201
_WARM_UP: Final = "64M"  # until windows and buffers have grown
_PATIENCE = 15.0  # seconds on top of the test itself


@dataclass(frozen=True, slots=True)
class TcpStream:
    """The workload as declared; see the module."""

    name: str = "tcp_stream"
    summary: str = "one TCP stream, iperf3"
    unit: str = "Gbit/s"
    better: Literal["lower", "higher"] = "higher"
    details: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Tool, ...] = (Tool("iperf3", "iperf3"),)

    def variant(self, options: Options) -> TcpStream:
        return self

    def missing(self) -> str:
        return ""

    @contextmanager
    def prepared(self, effort: Effort) -> Iterator[Measure]:
        yield lambda lab: _sample(lab, effort.seconds)


def _sample(lab: Lab, seconds: int) -> Sample:
    receiver = str(lab.receiver.ipv4)
    port = str(_PORT)

    def transfer(*amount: str) -> str:
        return lab.run(
            lab.sender,
            *("iperf3", "--client", receiver, "--port", port, "--json", *amount),
            timeout=seconds + _PATIENCE,
        )

    with processes.server(
        lab.receiver.path, ["iperf3", "--server", "--bind", receiver, "--port", port], _PORT
    ):
        transfer("--bytes", _WARM_UP)
        report = json.loads(transfer("--time", str(seconds)))
    rate: float = report["end"]["sum_received"]["bits_per_second"] / 1e9
    if not rate:
        raise EbpfnetError(
            f"iperf3 moved no data in {seconds} s by mode {lab.mode.name}", detail=str(report)
        )
    return Sample(rate)


WORKLOAD = TcpStream()
