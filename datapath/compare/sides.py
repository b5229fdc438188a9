"""Two runs side by side: two kernels, two machines, before and after a change.

A figure of one run over that of another also carries all that changed between them, which neither
run can tell from noise. So figures stand side by side without a verdict; what is judged is how
modes relate to each other within a run, where rounds were taken in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final

from datapath.compare import statistics
from datapath.compare.environment import Difference, differences
from datapath.compare.report import NO_DIFFERENCE, Report, Result
from datapath.compare.verdicts import SMALLEST, shared_level

_SEED: Final = 0  # the same two files give the same answer


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that both runs have: medians, and the second's over the first's.

    None for that where a median is not above 0, as details may be.
    """

    workload: str
    detail: str
    mode: str
    unit: str
    first: float
    second: float
    quotient: float | None


@dataclass(frozen=True, slots=True)
class Relation:
    """What a mode's figure is of another's in either run, and whether that changed.

    `change` is the second ratio over the first; all intervals of a pair of runs hold together at
    95 %.
    """

    workload: str
    mode: str
    to: str
    first: float
    second: float
    change: float
    low: float
    high: float
    differs: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Sides:
    """Two runs side by side."""

    figures: tuple[Figure, ...]
    relations: tuple[Relation, ...]
    differences: tuple[Difference, ...]


def side_by_side(first: Report, second: Report) -> Sides:
    """All that both runs have."""
    both = [
        (one, other)
        for one in first.results
        if (other := second.result(one.mode, one.workload, one.detail)) and one.unit == other.unit
    ]
    pairs = [
        (mode, to)
        for to, mode in combinations([each for each in both if not each[0].detail], 2)
        if mode[0].workload == to[0].workload
    ]
    return Sides(
        figures=tuple(
            Figure(
                *(one.workload, one.detail, one.mode, one.unit, one.median, other.median),
                quotient=other.median / one.median if min(one.median, other.median) > 0 else None,
            )
            for one, other in both
        ),
        relations=tuple(_relation(mode, to, len(pairs)) for mode, to in pairs),
        differences=differences(first.environment, second.environment),
    )


def _relation(mode: tuple[Result, Result], to: tuple[Result, Result], pairs: int) -> Relation:
    first, second = ((above.samples, below.samples) for above, below in zip(mode, to, strict=True))
    change = statistics.ratio_of_ratios(second, first, _SEED, shared_level(pairs))
    before, after = (statistics.ratio_of(*each, _SEED).value for each in (first, second))
    several = min(len(first[0]), len(second[0])) > 1
    differs = several and not change.holds(1) and abs(change.value - 1) >= SMALLEST
    name = f"{mode[0].workload}: {mode[0].mode} to {to[0].mode}"
    figures = f"{before:.2f} and {after:.2f}"
    interval = f"95 % interval of the change {change.low:.2f} to {change.high:.2f}"
    return Relation(
        *(mode[0].workload, mode[0].mode, to[0].mode, before, after),
        *(change.value, change.low, change.high),
        differs=differs,
        sentence=f"{name} is {figures}: {'it differs' if differs else NO_DIFFERENCE} "
        f"({interval if several else 'a single round shows no interval'})",
    )
