"""What the page shows of a report, put in order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from datapath.compare import curves, drawing, figures, parts, workloads
from datapath.compare.html import charts
from datapath.compare.report import REFERENCES, Ratio, Report, Result, Verdict
from datapath.compare.workloads.base import Workload
from datapath.errors import InvalidInput
from datapath.modes.base import Station


@dataclass(frozen=True, slots=True)
class Row:
    """A mode's result by the workload whose table it stands in."""

    result: Result
    bar: Markup
    ratios: Mapping[str, Ratio | None]  # to each reference
    details: Mapping[str, Result]


@dataclass(frozen=True, slots=True)
class Table:
    """All modes by one workload, the best first."""

    workload: str
    summary: str
    better: str  # "lower", "higher"; "" for a workload that this version does not know
    unit: str
    rows: tuple[Row, ...]

    @property
    def details(self) -> list[str]:
        """Further figures that there are."""
        return list(dict.fromkeys(name for row in self.rows for name in row.details))


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where the nanoseconds of a figure go; the bar is on a scale with the workload's others."""

    bar: Markup
    whole: Result
    parts: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart, drawn; `styles` are the markers of its curves."""

    chart: curves.Chart
    axis: Markup
    curves: Markup
    styles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """A packet's path, and the modes that have it."""

    image: Markup
    modes: tuple[str, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What it ran on: single facts, and groups of them by name."""

    facts: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Any]]


def headline(report: Report) -> str:
    """The one sentence that people came for."""
    if summary := report.summary():
        return f"{summary}."
    if report.verdicts:
        return f"{report.verdicts[0].sentence}."
    modes = dict.fromkeys(result.mode for result in report.results)
    return f"{', '.join(modes) or 'Nothing'} measured."


def tables(report: Report) -> list[Table]:
    """One for each workload, in the order that they were measured in."""
    return [
        _table(report, name) for name in dict.fromkeys(each.workload for each in report.results)
    ]


def breakdowns(report: Report) -> dict[str, list[Breakdown]]:
    """By workload, for the modes whose parts were measured."""
    found = {}
    for workload, figures_there in parts.parted(report).items():
        most = max(sum(each.lengths) for each in figures_there) or 1
        found[workload] = [
            Breakdown(charts.stacked(each, most), each.whole, each.parts) for each in figures_there
        ]
    return found


def plots(report: Report) -> list[Plot]:
    """Every chart that the report has data for."""
    found = curves.charts(report)
    numbers = curves.numbered(found)
    drawn = []
    for chart in found:
        styles = tuple(charts.style_of(numbers[curve.mode]) for curve in chart.curves)
        drawn.append(Plot(chart, charts.axis(chart), charts.curves(chart, styles), styles))
    return drawn


def disturbances(report: Report) -> list[str]:
    """What may have got in the way of the measuring, in words."""
    return list(report.environment.get("noise", {}).get("causes", []))


def verdicts(report: Report) -> dict[str, list[Verdict]]:
    """By the figure that they speak of."""
    found: dict[str, list[Verdict]] = {}
    for verdict in report.verdicts:
        found.setdefault(f"{verdict.workload} {verdict.detail}".strip(), []).append(verdict)
    return found


def paths(report: Report) -> list[Path]:
    """Each way that there is, once."""
    described = figures.described(report)
    ways: dict[tuple[Station, ...], list[str]] = {}
    for name in dict.fromkeys(result.mode for result in report.results):
        if stations := _stations(described.get(name, {})):
            ways.setdefault(stations, []).append(name)
    images = drawing.paths({", ".join(names): stations for stations, names in ways.items()})
    return [
        Path(
            Markup(images[", ".join(names)]),  # noqa: S704 - serialised, and so escaped
            tuple(names),
            str(described[names[0]].get("summary", "")),
        )
        for names in ways.values()
    ]


def machine(report: Report) -> Machine:
    """Where and how it ran; what the environment says of modes is with their paths."""
    known = {
        key.replace("_", " "): value
        for key, value in (report.environment | {"experiment": report.experiment}).items()
        if key != "modes"
    }
    return Machine(
        {key: value for key, value in known.items() if not isinstance(value, Mapping)},
        {key: value for key, value in known.items() if isinstance(value, Mapping)},
    )


def context(report: Report) -> list[str]:
    """Machine and extent in a line."""
    found = report.environment
    kernel = f"Linux {found['kernel']}" if found.get("kernel") else None
    rounds = f"{report.rounds} round{'' if report.rounds == 1 else 's'}"
    said = (kernel, found.get("distribution"), found.get("cpu"), report.ended or rounds)
    return [str(each) for each in said if each]


def command(experiment: Mapping[str, Any]) -> str:
    """What to type for the same experiment."""
    words = ["ebpfnet", "compare", *map(str, experiment.get("modes", ()))]
    for workload in experiment.get("workloads", ()):
        words += ["--workload", str(workload)]
    if experiment.get("lab"):
        words += ["--lab", str(experiment["lab"])]
    # Rounds that were given leave no room for a precision.
    goals = ("rounds",) if experiment.get("rounds") else ("precision", "max_time")
    given = {name: experiment.get(name) for name in (*goals, "cpu", "seed")}
    given["seconds"] = experiment.get("effort", {}).get("seconds")
    for option, value in given.items():
        if value is not None:
            words += [f"--{option.replace('_', '-')}", str(value)]
    if experiment.get("check"):
        words.append("--check")
    return shlex.join(words)


def _table(report: Report, name: str) -> Table:
    own = [each for each in report.results if (each.workload, each.detail) == (name, "")]
    workload = _known(name)
    better = workload.better if workload else ""
    most = max((max(each.high, *each.samples) for each in own), default=0) * 1.01 or 1
    ebpf = figures.ebpf_modes(report)
    references = {each.mode: each.median for each in own if each.mode in REFERENCES}
    rows = [
        Row(
            result,
            charts.bar(result, result.mode in ebpf, most, references),
            {to: report.ratio(result.mode, name, to) for to in REFERENCES},
            {
                each.detail: each
                for each in report.results
                if each.detail and (each.mode, each.workload) == (result.mode, name)
            },
        )
        for result in sorted(own, key=lambda each: each.median, reverse=better == "higher")
    ]
    summary = workload.summary if workload else ""
    return Table(name, summary, better, own[0].unit if own else "", tuple(rows))


def _known(workload: str) -> Workload | None:
    """None for one that a report from elsewhere has and this version has not."""
    try:
        return workloads.get(workload)
    except InvalidInput:
        return None


def _stations(mode: Mapping[str, Any]) -> tuple[Station, ...]:
    """A mode's path; () where the report has none that can be drawn."""
    try:
        texts: list[dict[str, Any]] = [
            {key: str(each[key]) for key in each} for each in mode["path"]
        ]
        return tuple(Station(**each) for each in texts)
    except (KeyError, TypeError):
        return ()
