"""Workload cpu_per_gbit: what the measured CPU is busy for while iperf3 moves a gigabit.

The rate is given, so that the CPU is not simply busy all the time; where a mode cannot keep up, it
is, and the figure holds all the same. Busy is what /proc/stat does not count as idle: programs,
kernel and softirqs alike, and whatever else ran there meanwhile.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from datapath.compare.lab import Lab
from datapath.compare.workloads import iperf3
from datapath.compare.workloads.base import Effort, Plain, Sample

_RATE: Final = "4G"  # bits per second
_PATIENCE: Final = 15.0  # seconds on top of the transfer itself
_IDLE = slice(4, 6)  # idle and iowait, in a CPU's line of /proc/stat
_TICKS: Final = os.sysconf("SC_CLK_TCK")  # per second


def _sample(lab: Lab, effort: Effort) -> Sample:
    """Milliseconds per gigabit."""
    cpus = os.sched_getaffinity(0)
    with iperf3.served(lab) as transfer:
        transfer(*iperf3.WARM_UP)
        start, idle = time.monotonic(), _idle(cpus)
        asked = ("--time", str(effort.seconds), "--bitrate", _RATE)
        received = transfer(*asked, timeout=effort.seconds + _PATIENCE)
        busy = (time.monotonic() - start) * len(cpus) - (_idle(cpus) - idle)
    return Sample(busy * 1e3 / (received["bytes"] * 8 / 1e9))


def _idle(cpus: set[int]) -> float:
    """Seconds that CPUs have been idle for."""
    lines = map(str.split, Path("/proc/stat").read_text().splitlines())
    wanted = {f"cpu{cpu}" for cpu in cpus}
    return sum(sum(map(int, line[_IDLE])) for line in lines if line[0] in wanted) / _TICKS


WORKLOAD: Final = Plain(
    name="cpu_per_gbit",
    summary="what the CPU is busy for per gigabit moved at 4 Gbit/s, iperf3",
    unit="ms",
    better="lower",
    tools=(iperf3.TOOL,),
    sample=_sample,
)
