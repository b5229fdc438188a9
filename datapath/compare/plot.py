"""A report as one figure for papers, PNG or SVG: bars with intervals, their parts, and curves.

It is made for black and white: greys and hatches tell bars apart, markers and dashes curves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datapath.compare import files
from datapath.compare.curves import Chart, charts, numbered
from datapath.compare.figures import ebpf_modes
from datapath.compare.parts import Parted, parted
from datapath.compare.report import Report, Result
from datapath.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS: Final = ("png", "svg")

_WIDTH: Final = 3.5  # inches of a panel: a column of a paper
_HEIGHT: Final = 2.4
_COLUMNS: Final = 2
_STYLE: Final[Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "text.parse_math": False,  # names of modes may hold any sign
    "svg.hashsalt": "ebpfnet",  # the same report gives the same file
}
_LINES: Final = ("o-", "s--", "^-.", "D:", "v-", "P--")  # markers and dashes
_FILLS: Final = (("0.75", ""), ("white", "xxxx"), ("0.4", ""), ("white", "...."))  # of parts
_BELOW: Final[Any] = {
    "frameon": False,
    "ncols": 2,
    "loc": "upper center",
    "bbox_to_anchor": (0.5, -0.28),
}  # where a legend stands


def require(path: Path) -> None:
    """Raises InvalidInput for a suffix that is no format, Unsupported without matplotlib."""
    if _format(path) not in FORMATS:
        raise InvalidInput(
            f"a plot cannot be written to {path.name}",
            remedy=f"end the name in .{' or .'.join(FORMATS)}",
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise Unsupported(
            "matplotlib",
            "drawing a plot needs matplotlib, which is not installed",
            remedy="pip install 'ebpfnet[plot]', or apt-get install python3-matplotlib",
        ) from error


def draw(report: Report, path: Path) -> None:
    """Write the figure to `path`, in the format that its suffix names.

    Raises what `require` does, and InvalidInput for a report without results, or where the file
    cannot be written; what was there then stays as it was.
    """
    require(path)
    if not report.results:
        raise InvalidInput("there is nothing to plot: the report has no results")
    import matplotlib
    from matplotlib.figure import Figure

    workloads = _by_workload(report)
    ebpf = ebpf_modes(report)
    breakdowns = parted(report)
    plots = charts(report)
    panels = len(workloads) + len(breakdowns) + len(plots)
    columns = min(_COLUMNS, panels)
    rows = math.ceil(panels / columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(columns * _WIDTH, rows * _HEIGHT), layout="constrained")
        places = (figure.add_subplot(rows, columns, number) for number in count(1))
        for results in workloads:
            _bars(next(places), results, ebpf)
        for found in breakdowns.values():
            _stacked(next(places), found)
        for chart in plots:
            _curves(next(places), chart, numbered(plots))
        undated = {"Date": None} if _format(path) == "svg" else {}
        image = BytesIO()
        figure.savefig(image, format=_format(path), dpi=300, metadata=undated)
    files.write(path, image.getvalue())


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _by_workload(report: Report) -> list[list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in report.results:
        if not result.detail:
            found.setdefault(result.workload, []).append(result)
    return list(found.values())


def _bars(axes: Axes, results: Sequence[Result], ebpf: set[str]) -> None:
    """The medians of one workload, the first mode on top; hatched where eBPF forwards."""
    bars = axes.barh(
        [result.mode for result in results],
        [result.median for result in results],
        xerr=_reach(results),
        color=["white" if result.mode in ebpf else "0.75" for result in results],
        edgecolor="black",
        linewidth=0.7,
        capsize=2,
        error_kw={"linewidth": 0.9},
    )
    for bar, result in zip(bars, results, strict=True):
        if result.mode in ebpf:
            bar.set_hatch("////")
    axes.invert_yaxis()
    axes.set_title(results[0].workload)
    axes.set_xlabel(f"{results[0].unit}, median and 95 % interval")


def _stacked(axes: Axes, found: Sequence[Parted]) -> None:
    """The parts of one workload's figures, the first mode on top."""
    modes = [each.whole.mode for each in found]
    starts = [0.0] * len(found)
    for number, (grey, hatch) in enumerate(_FILLS):
        lengths = [each.lengths[number] for each in found]
        axes.barh(
            *(modes, lengths),
            left=starts,
            color=grey,
            edgecolor="black",
            linewidth=0.7,
            hatch=hatch,
            label=found[0].parts[number].detail,
        )
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    axes.invert_yaxis()
    axes.set_title(f"parts of {found[0].whole.workload}")
    axes.set_xlabel(f"{found[0].whole.unit}, medians")
    axes.legend(**_BELOW)


def _curves(axes: Axes, chart: Chart, numbers: Mapping[str, int]) -> None:
    for curve in chart.curves:
        results = [result for _, result in curve.points]
        axes.errorbar(
            [number for number, _ in curve.points],
            [result.median for result in results],
            yerr=_reach(results),
            fmt=_LINES[numbers[curve.mode] % len(_LINES)],
            color="black",
            markerfacecolor="white",
            markersize=4,
            linewidth=0.9,
            capsize=2,
            label=curve.mode,
        )
    if chart.level:
        axes.axhline(
            chart.level.median,
            color="0.4",
            linestyle=(0, (6, 4)),
            linewidth=0.9,
            label=f"{chart.level.mode}, any number",
        )
    if chart.logarithmic:
        axes.set_xscale("symlog")  # 0 has a place on it
    axes.set_xticks(chart.numbers, [f"{number:,}" for number in chart.numbers])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_title(chart.workload)
    axes.set_xlabel(chart.axis.title)
    axes.set_ylabel(f"{chart.unit}, median and 95 % interval")
    axes.legend(**_BELOW)


def _reach(results: Sequence[Result]) -> tuple[list[float], list[float]]:
    """How far each interval reaches below and above its median."""
    return (
        [result.median - result.low for result in results],
        [result.high - result.median for result in results],
    )
