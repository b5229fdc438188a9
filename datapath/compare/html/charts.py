"""The page's charts: bars with intervals, bars of parts, and curves over a number.

They are as wide as their place: x is a percentage and y is in pixels, so that text and strokes keep
their size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from datapath import svg
from datapath.compare.curves import Chart, Curve
from datapath.compare.parts import Parted
from datapath.compare.report import Result

# Pixels.
_PLOT_HEIGHT: Final = 220
_PLOT_TOP: Final = 10
_PLOT_FOOT: Final = 30  # below it: the numbers of the axis

# Parts of the width.
_INSET: Final = 0.05  # left and right of the curves
_DIGIT: Final = 0.025  # a digit below the axis, on a phone

# A marker for each curve, drawn around 0,0; as many as there are colours in page.css.
_MARKERS: Final = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    "M-4 -4h8v8h-8z",
    "M0 -5.5l5.2 9.5h-10.4z",
    "M0 -5.8l5.8 5.8l-5.8 5.8l-5.8 -5.8z",
    "M0 5.5l5.2 -9.5h-10.4z",
    "M-1.7 -5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",
)


def bar(result: Result, ebpf: bool, most: float, references: Mapping[str, float]) -> Markup:
    """A bar from 0 to the median, on a scale that ends at `most`; eBPF modes have a colour.

    On it its interval, below it each sample as a dot, across it a line for each of `references`.
    """
    image = svg.image("bar ebpf" if ebpf else "bar")
    for name, median in references.items():
        x = svg.share(median / most)
        svg.add(image, "line", css=f"reference {name}", x1=x, x2=x, y1=0, y2="100%")
    row = svg.add(image, "svg", y="50%", overflow="visible")  # y = 0 is now the middle
    svg.add(row, "rect", css="median", x=0, y=-10, width=svg.share(result.median / most), height=16)
    _whisker(row, result.low / most, result.high / most, -2)
    for sample in result.samples:
        svg.add(row, "circle", css="sample", cx=svg.share(sample / most), cy=11, r=1.6)
    return Markup(svg.text_of(image))  # noqa: S704 - serialised, and so escaped


def stacked(parted: Parted, most: float) -> Markup:
    """A figure's parts one behind the other, on a scale that ends at `most`."""
    image = svg.image("stacked", height=18)
    start = 0.0
    for part, length in zip(parted.parts, parted.lengths, strict=True):
        x, width = svg.share(start / most), svg.share(length / most)
        svg.add(image, "rect", css=f"part {part.detail}", x=x, y=1, width=width, height=16)
        start += length
    return Markup(svg.text_of(image))  # noqa: S704


def axis(chart: Chart) -> Markup:
    """The numbers to the left of a chart's curves."""
    image = svg.image("axis", height=_PLOT_TOP + _PLOT_HEIGHT + _PLOT_FOOT)
    for tick in _ticks(chart.most):
        y = _height(tick, chart) + 4
        svg.add(image, "text", f"{tick:,g}", x="100%", y=y, text_anchor="end")
    return Markup(svg.text_of(image))  # noqa: S704


def curves(chart: Chart, styles: Sequence[int]) -> Markup:
    """A chart's curves, in a style each, with their intervals, from 0 upwards."""
    image = svg.image(
        "curves",
        f"{chart.title}, in {chart.unit}: {len(chart.curves)} curves"
        + (f", and {chart.level.mode} as a level line" if chart.level else ""),
        height=_PLOT_TOP + _PLOT_HEIGHT + _PLOT_FOOT,
    )
    for tick in _ticks(chart.most):
        y = _height(tick, chart)
        svg.add(image, "line", css="grid", x1=0, x2="100%", y1=y, y2=y)
    foot = _PLOT_TOP + _PLOT_HEIGHT + 20
    for number in _readable(chart):
        x = svg.share(_across(number, chart))
        svg.add(image, "text", f"{number:,}", x=x, y=foot, text_anchor="middle")
    if chart.level:
        y = _height(chart.level.median, chart)
        svg.add(image, "line", css="level", x1=0, x2="100%", y1=y, y2=y)
    for curve, style in zip(chart.curves, styles, strict=True):
        _curve(image, chart, curve, style)
    return Markup(svg.text_of(image))  # noqa: S704


def marker(style: int) -> Markup:
    """A curve's marker, for the legend."""
    image = svg.image(f"marker style-{style}", width=28, height=14, viewBox="-14 -7 28 14")
    svg.add(image, "line", x1=-14, x2=14, y1=0, y2=0)
    svg.add(image, "path", d=_MARKERS[style])
    return Markup(svg.text_of(image))  # noqa: S704


def level_marker() -> Markup:
    """What a level line looks like, for the legend."""
    image = svg.image("marker", width=28, height=14, viewBox="-14 -7 28 14")
    svg.add(image, "line", css="level", x1=-14, x2=14, y1=0, y2=0)
    return Markup(svg.text_of(image))  # noqa: S704


def style_of(number: int) -> int:
    """Of the mode with this number among those that have curves."""
    return number % len(_MARKERS)


def _whisker(image: svg.Element, low: float, high: float, y: float) -> None:
    group = svg.add(image, "g", css="interval")
    left, right = svg.share(low), svg.share(high)
    svg.add(group, "line", x1=left, x2=right, y1=y, y2=y)
    for x in (left, right):
        svg.add(group, "line", x1=x, x2=x, y1=y - 4, y2=y + 4)


def _curve(image: svg.Element, chart: Chart, curve: Curve, style: int) -> None:
    group = svg.add(image, "g", css=f"style-{style}")
    places = [
        (svg.share(_across(number, chart)), _height(result.median, chart), result)
        for number, result in curve.points
    ]
    for (x1, y1, _), (x2, y2, _) in pairwise(places):
        svg.add(group, "line", x1=x1, y1=y1, x2=x2, y2=y2)
    for x, y, result in places:
        low, high = _height(result.low, chart), _height(result.high, chart)
        svg.add(group, "line", css="interval", x1=x, x2=x, y1=low, y2=high)
        # A path knows no percentages: the image around it does.
        place = svg.add(group, "svg", x=x, y=y, overflow="visible")
        svg.add(place, "path", d=_MARKERS[style])


def _height(value: float, chart: Chart) -> float:
    return _PLOT_TOP + _PLOT_HEIGHT * (1 - value / _ticks(chart.most)[-1])


def _across(number: int, chart: Chart) -> float:
    """Where a number stands, as a part of the width. 0 has a place on a logarithmic axis too."""
    scale = math.log1p if chart.logarithmic else float
    first, *_, last = (scale(each) for each in chart.numbers)
    return _INSET + (1 - 2 * _INSET) * (scale(number) - first) / (last - first)


def _readable(chart: Chart) -> list[int]:
    """The numbers that can stand below the axis without touching one another."""
    shown: list[int] = []
    for number in reversed(chart.numbers):
        if shown:
            apart = _across(shown[-1], chart) - _across(number, chart)
            if apart < _DIGIT * (len(f"{shown[-1]:,}") + len(f"{number:,}") + 2) / 2:
                continue
        shown.append(number)
    return shown


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to `most` or just above it, four to seven of them."""
    if most <= 0:
        return [0, 1]
    step = 10 ** math.floor(math.log10(most))
    step = next(step * part for part in (0.2, 0.25, 0.5, 1, 2) if most / (step * part) <= 6)
    return [step * count for count in range(math.ceil(most / step) + 1)]
