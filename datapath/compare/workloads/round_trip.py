"""Workloads tcp_rr and udp_rr: one message there and back at a time (sockperf), median round trip.

The median is the figure, since a few that were interrupted move the mean by more than modes differ;
mean and tail are details. Half of --seconds or a little more counts: sockperf leaves out the first
0.4 s of each test and the last 0.05.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from datapath.compare.lab import Lab
from datapath.compare.workloads import sockperf
from datapath.compare.workloads.base import Effort, Plain, Sample, require_arrivals

_COUNTED: Final = re.compile(r"\[Valid Duration\].*SentMessages=(\d+); ReceivedMessages=(\d+)")
_MEAN: Final = re.compile(r"avg-(?:rtt|latency)=([0-9.]+)")  # older versions call both latency
_PERCENTILES: Final = {"p50": "50.000", "p99": "99.000", "p99.9": "99.900"}


def _sample(protocol: sockperf.Protocol, lab: Lab, effort: Effort) -> Sample:
    """Microseconds."""
    with sockperf.server(lab, protocol):
        output = sockperf.client(lab, "ping-pong", protocol, effort.seconds, "--full-rtt")
    sent, arrived = map(int, sockperf.figures(lab, output, _COUNTED))
    require_arrivals(lab, "messages", sent, arrived)
    (mean,) = map(float, sockperf.figures(lab, output, _MEAN))
    percentiles = {
        name: float(*sockperf.figures(lab, output, re.compile(rf"percentile {which} = +([0-9.]+)")))
        for name, which in _PERCENTILES.items()
    }
    return Sample(percentiles.pop("p50"), sent, arrived, {"mean": mean, **percentiles})


def _workload(protocol: sockperf.Protocol) -> Plain:
    return Plain(
        name=f"{protocol}_rr",
        summary=f"median round trip of a small {protocol.upper()} message, sockperf",
        unit="us",
        better="lower",
        tools=(sockperf.TOOL,),
        sample=partial(_sample, protocol),
        details={"mean": "us", "p99": "us", "p99.9": "us"},
    )


TCP_RR: Final = _workload("tcp")
UDP_RR: Final = _workload("udp")
