"""Workload tcp_crr: a TCP connection for each request of one byte, median time of one.

The two programs are ours (connections.py): sockperf and iperf3 keep their connections, netperf is
not free software by Debian's rules, and an HTTP server and client would measure their parsers. They
are Python, with blocking sockets and nothing else in the loop: a pair in C, written to compare,
took 50 us for what they take 55.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean, quantiles
from typing import Final

from datapath.compare import processes
from datapath.compare.lab import Lab
from datapath.compare.workloads.base import Effort, Plain, Sample

_PORT: Final = 5202
_PROGRAM: Final = [sys.executable, "-IS", str(Path(__file__).with_name("connections.py"))]
_WARM_UP: Final = 10  # one connection for this many is not counted, the first ones
_PATIENCE = 15.0  # seconds on top of the test itself


def _sample(lab: Lab, effort: Effort) -> Sample:
    """Microseconds."""
    where = (str(lab.receiver.ipv4), str(_PORT))
    with processes.server(lab.receiver.path, [*_PROGRAM, "server", *where], _PORT):
        output = lab.run(
            lab.sender,
            *(*_PROGRAM, "client", *where, str(effort.seconds)),
            timeout=effort.seconds + _PATIENCE,
        )
    made: list[int] = json.loads(output)
    taken = [nanoseconds / 1e3 for nanoseconds in made[len(made) // _WARM_UP :]]
    cuts = quantiles(taken, n=1000, method="inclusive")
    details = {"mean": fmean(taken), "p99": cuts[989], "p99.9": cuts[998]}
    return Sample(cuts[499], len(taken), len(taken), details)


WORKLOAD: Final = Plain(
    name="tcp_crr",
    summary="median time of a TCP connection with a request of one byte",
    unit="us",
    better="lower",
    tools=(),
    sample=_sample,
    details={"mean": "us", "p99": "us", "p99.9": "us"},
)
