"""Where the nanoseconds go: figures whose details part them, for whoever draws that."""

from __future__ import annotations

from dataclasses import dataclass

from datapath.compare.report import Report, Result
from datapath.compare.workloads.breakdown import PARTS


@dataclass(frozen=True, slots=True)
class Parted:
    """A figure and its parts, in the order of PARTS.

    All are medians, and so the parts need not add up to the whole.
    """

    whole: Result
    parts: tuple[Result, ...]

    @property
    def lengths(self) -> list[float]:
        """Of the parts as they are drawn: a difference that noise took below 0 has none."""
        return [max(part.median, 0) for part in self.parts]


def parted(report: Report) -> dict[str, list[Parted]]:
    """By workload, all figures of which every part was measured."""
    found: dict[str, list[Parted]] = {}
    for whole in report.results:
        if whole.detail:
            continue
        details = [report.result(whole.mode, whole.workload, name) for name in PARTS]
        parts = tuple(part for part in details if part)
        if len(parts) == len(PARTS):
            found.setdefault(whole.workload, []).append(Parted(whole, parts))
    return found
