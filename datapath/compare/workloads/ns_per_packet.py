"""Workload ns_per_packet: what it costs to bring one frame from a namespace to the other.

Frames are injected by the kernel itself; see datapath.compare.workloads.injection.

    size=N        bytes of a frame as RFC 2544 counts them, with Ethernet's checksum: 64 to 1518
    flows=N       source ports, drawn for each frame
    endpoints=N   destinations, drawn for each frame; see datapath.compare.workloads.population
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.compare.workloads import breakdown, population
from datapath.compare.workloads.base import Effort, Measure, Sample, require_arrivals
from datapath.compare.workloads.injection import Injector
from datapath.variants import Options

_LEAST_SIZE, _MOST_SIZE = 64, 1518
_MOST_FLOWS: Final = 60_000
_WARM_UP: Final = 20  # one frame for this many is sent first, which tells how long they take
_LONGEST: Final = 0.4e9  # ns that the frames of a sample may take together


@dataclass(frozen=True, slots=True)
class NsPerPacket:
    """The workload as declared; see the module."""

    name: str = "ns_per_packet"
    summary: str = "cost of forwarding a frame, injected by the kernel (64 bytes, or size=N)"
    unit: str = "ns"
    better: Literal["lower", "higher"] = "lower"
    details: Mapping[str, str] = field(default_factory=lambda: breakdown.DETAILS)
    tools: tuple[Tool, ...] = ()
    size: int = _LEAST_SIZE
    flows: int = 1
    endpoints: int = 1

    def variant(self, options: Options) -> NsPerPacket:
        return replace(
            self,
            size=options.number("size", _LEAST_SIZE, _LEAST_SIZE, _MOST_SIZE),
            flows=options.number("flows", 1, 1, _MOST_FLOWS),
            endpoints=options.number("endpoints", 1, 1, population.MOST),
        )

    def missing(self) -> str:
        return ""

    @contextmanager
    def prepared(self, effort: Effort) -> Iterator[Measure]:
        with Injector() as injector:
            yield lambda lab: self._sample(injector, lab, effort.packets)

    def _sample(self, injector: Injector, lab: Lab, packets: int) -> Sample:
        with population.populated(lab, self.endpoints) as destinations, injector.sunk(lab):
            send = injector.source(lab, self.size, self.flows, destinations)
            before = injector.arrived()
            first = send(packets // _WARM_UP)
            frames = min(packets, int(_LONGEST / first.ns_per_frame))
            figure = send(frames)
            sent = first.sent + figure.sent
            arrived = injector.arrived_since(before, sent)
            require_arrivals(lab, "frames", sent, arrived)
            cost = figure.ns_per_frame
            return Sample(cost, sent, arrived, breakdown.of(injector, lab, send, frames, cost))


WORKLOAD = NsPerPacket()
