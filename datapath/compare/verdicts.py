"""Verdicts: which of two modes is faster, in words, and only where chance is no explanation.

The verdicts of one report hold together: the chance that any of them calls faster or slower what is
neither is below 5 %. For that each pair's interval has the level that is left to it when so many
are compared (Bonferroni), and is wider than the one of the ratio alone. And a difference of less
than SMALLEST is never called one, however many rounds show it: so much may come from where a
build happened to place code and data.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Final, Literal

from datapath.compare import statistics
from datapath.compare.report import NO_DIFFERENCE, Outcome, Result, Verdict, loss_in_words
from datapath.compare.statistics import LEVEL, Estimate
from datapath.compare.workloads.base import Workload

SMALLEST: Final = 0.01


def verdicts_of(
    results: tuple[Result, ...], loads: Mapping[str, Workload], seed: int
) -> tuple[Verdict, ...]:
    """One for each two modes that a workload was measured by: the later against the earlier."""
    pairs = [
        (mode, to)
        for load in loads
        for to, mode in combinations([each for each in results if _is_of(each, load)], 2)
    ]
    return tuple(
        _verdict(mode, to, loads[mode.workload].better, shared_level(len(pairs)), seed)
        for mode, to in pairs
    )


def shared_level(comparisons: int) -> float:
    """The level of each of so many intervals that are to hold together at LEVEL."""
    return 1 - (1 - LEVEL) / comparisons


def outcome(ratio: Estimate, better: Literal["lower", "higher"]) -> Outcome:
    """What a ratio with its interval, of two rounds or more, says of the mode above."""
    if ratio.holds(1) or abs(ratio.value - 1) < SMALLEST:
        return NO_DIFFERENCE
    return "faster" if (ratio.value < 1) == (better == "lower") else "slower"


def _is_of(result: Result, load: str) -> bool:
    return result.workload == load and not result.detail


def _verdict(
    mode: Result, to: Result, better: Literal["lower", "higher"], level: float, seed: int
) -> Verdict:
    ratio = statistics.ratio_of(mode.samples, to.samples, seed, level)
    found = outcome(ratio, better) if len(mode.samples) > 1 else NO_DIFFERENCE
    return Verdict(
        *(mode.workload, mode.detail, mode.mode, to.mode, ratio.value, ratio.low, ratio.high),
        verdict=found,
        sentence=_sentence(mode, to, ratio, found) + loss_in_words(mode, to),
    )


def _sentence(mode: Result, to: Result, ratio: Estimate, found: Outcome) -> str:
    times = "of" if ratio.value < 1 else "times"
    figures = f"{ratio.value:.2f} {times} its {mode.unit}"
    if found != NO_DIFFERENCE:
        says = f"{mode.mode} is {found} than {to.mode}: {figures}"
    else:
        says = f"{found} between {mode.mode} and {to.mode}: {figures}"
    if len(mode.samples) == 1:
        interval = "in a single round, which shows no interval"
    elif found == NO_DIFFERENCE and not ratio.holds(1):
        interval = f"less than {SMALLEST * 100:.0f} % apart"
    else:
        interval = f"95 % interval {ratio.low:.2f} to {ratio.high:.2f}"
    return f"{mode.workload}: {says} ({interval})"
