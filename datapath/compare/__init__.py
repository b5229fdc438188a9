"""Comparing forwarding modes: the same two endpoints, joined in each way, measured in turn."""

from datapath.compare.experiment import Experiment
from datapath.compare.report import Ratio, Report, Result, Verdict
from datapath.compare.running import Watcher, run
from datapath.compare.workloads.base import Effort, Sample

__all__ = [
    "Effort",
    "Experiment",
    "Ratio",
    "Report",
    "Result",
    "Sample",
    "Verdict",
    "Watcher",
    "run",
]
