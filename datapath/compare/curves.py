"""What a number costs: results of variants that differ in one number alone, as curves over it.

ns_per_packet, ns_per_packet:endpoints=10000     by mode, over endpoints
bridge-nf, bridge-nf:rules=100                   by workload, over rules
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from datapath.compare.report import Report, Result, ebpf_label
from datapath.errors import InvalidInput
from datapath.variants import Options


@dataclass(frozen=True, slots=True)
class Axis:
    """A number that variants set; `base` is what it is where a label does not say."""

    option: str
    title: str
    base: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A mode's results over an axis, by rising number; two at least."""

    mode: str
    points: tuple[tuple[int, Result], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """The curves of one workload over one axis.

    `level` is what eBPF costs there, where it does not depend on the number.
    """

    axis: Axis
    workload: str
    unit: str
    curves: tuple[Curve, ...]
    level: Result | None = None

    @property
    def numbers(self) -> list[int]:
        """Those that were measured, rising."""
        return sorted({number for curve in self.curves for number, _ in curve.points})

    @property
    def most(self) -> float:
        """The highest end of an interval."""
        drawn = [result for curve in self.curves for _, result in curve.points]
        return max(result.high for result in (*drawn, *([self.level] if self.level else [])))

    @property
    def logarithmic(self) -> bool:
        """Whether the numbers are too far apart for a plain scale."""
        above_0 = [number for number in self.numbers if number > 0]
        return above_0[-1] > _FAR * above_0[0]

    @property
    def title(self) -> str:
        return f"{self.workload} against {self.axis.title}"


OF_WORKLOADS: Final = (
    Axis("endpoints", "number of endpoints", 2),
    Axis("flows", "number of flows", 1),
    Axis("size", "frame size in bytes", 64),
    Axis("streams", "number of streams", 1),
)
OF_MODES: Final = (Axis("rules", "number of firewall rules", 0),)
_FAR: Final = 30


def charts(report: Report) -> list[Chart]:
    """Every chart that the report has data for."""
    return [
        *(chart for axis in OF_WORKLOADS for chart in _over(axis, report, _by_workload)),
        *(
            replace(chart, level=_ebpf(report, chart.workload))
            for axis in OF_MODES
            for chart in _over(axis, report, _by_mode)
        ),
    ]


def numbered(found: Iterable[Chart]) -> dict[str, int]:
    """A number from 0 for each mode that has curves: what it looks like, alike in every chart."""
    modes = dict.fromkeys(curve.mode for chart in found for curve in chart.curves)
    return {mode: number for number, mode in enumerate(modes)}


def _ebpf(report: Report, workload: str) -> Result | None:
    """What stands for eBPF there: its packets pass no firewall of the host's."""
    measured = [each.mode for each in report.results if each.workload == workload]
    return report.result(ebpf_label(measured), workload)


# Of a result: workload and mode without the axis' option, and the option's number.
_Split = Callable[[Axis, Result], tuple[str, str, int]]


def _by_workload(axis: Axis, result: Result) -> tuple[str, str, int]:
    workload, number = _split(result.workload, axis)
    return workload, result.mode, number


def _by_mode(axis: Axis, result: Result) -> tuple[str, str, int]:
    mode, number = _split(result.mode, axis)
    return result.workload, mode, number


def _split(label: str, axis: Axis) -> tuple[str, int]:
    """A label without an option, and the option's number."""
    try:
        options = Options(label)
        number = int(options.given.get(axis.option) or axis.base)
    except (InvalidInput, ValueError):  # a name that only looks like a variant's
        return label, axis.base
    others = [
        option if value is None else f"{option}={value}"
        for option, value in options.given.items()
        if option != axis.option
    ]
    return f"{options.name}:{','.join(others)}" if others else options.name, number


def _over(axis: Axis, report: Report, split: _Split) -> Iterator[Chart]:
    found: dict[str, dict[str, dict[int, Result]]] = {}
    for result in report.results:
        if not result.detail:
            workload, mode, number = split(axis, result)
            found.setdefault(workload, {}).setdefault(mode, {})[number] = result
    for workload, by_mode in found.items():
        curves = tuple(
            Curve(mode, tuple(sorted(points.items())))
            for mode, points in by_mode.items()
            if len(points) > 1
        )
        if curves:
            yield Chart(axis, workload, curves[0].points[0][1].unit, curves)
