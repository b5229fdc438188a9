"""Medians, their ratios, and how sure either is: percentile bootstrap, with a seed.

Samples of two modes are compared by round: taken one after the other, what disturbed the one
disturbed the other as well.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

LEVEL: Final = 0.95
_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval at LEVEL; from a single sample, both ends are the value."""

    value: float
    low: float
    high: float


def median_of(samples: Sequence[float], seed: int) -> Estimate:
    """The median with its interval. Raises ValueError without samples."""
    return _estimate(len(samples), lambda rounds: median(samples[i] for i in rounds), seed)


def ratio_of(above: Sequence[float], below: Sequence[float], seed: int) -> Estimate:
    """Median over median with its interval; samples at one position are of one round.

    They are greater than 0. Raises ValueError without samples, or where the lengths differ.
    """
    if len(above) != len(below):
        raise ValueError(f"{len(above)} rounds against {len(below)}")
    return _estimate(
        len(above),
        lambda rounds: median(above[i] for i in rounds) / median(below[i] for i in rounds),
        seed,
    )


def _estimate(count: int, statistic: Callable[[Sequence[int]], float], seed: int) -> Estimate:
    """`statistic` of all rounds, and what it comes to when rounds are drawn anew."""
    if not count:
        raise ValueError("no samples")
    draw = random.Random(seed)
    rounds = range(count)
    drawn = sorted(statistic(draw.choices(rounds, k=count)) for _ in range(_RESAMPLES))
    tail = math.floor((1 - LEVEL) / 2 * _RESAMPLES)
    return Estimate(statistic(rounds), drawn[tail], drawn[-1 - tail])
