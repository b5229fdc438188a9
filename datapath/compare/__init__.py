"""Comparing forwarding modes: the same two endpoints, joined in each way, measured in turn."""

from datapath.compare.experiment import Experiment, run
from datapath.compare.report import Ratio, Report, Result
from datapath.compare.workloads.base import Effort, Sample

__all__ = ["Effort", "Experiment", "Ratio", "Report", "Result", "Sample", "run"]
