"""How large a figure is, how two compare, and how sure that is: bootstrap with Student's quantiles.

Samples of two modes are compared by round: taken one after the other, what disturbed the one
disturbed the other as well. The statistic is the mean of the rounds' log-ratios without the largest
and the smallest fifth, so that a disturbed round does not decide; its standard error comes from
rounds drawn anew (the bootstrap), and Student's t makes up for their being few. The interval thus
stays honest from two rounds on, where the bootstrap's own percentiles are too narrow
(T. Hesterberg, What Teachers Should Know About the Bootstrap, 2015).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, median, pstdev
from typing import Final

LEVEL: Final = 0.95
_RESAMPLES: Final = 2000  # for percentiles
_RESAMPLES_OF_ERROR: Final = 500  # knows a standard error to 3 %
_WIDEST: Final = 1000.0  # the factor to either side from where on an interval says nothing
_TRIMMED: Final = 0.2  # of the rounds, at each end


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; from a single sample, both ends are the value."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value lies within the interval."""
        return self.low <= value <= self.high


def median_of(samples: Sequence[float], seed: int) -> Estimate:
    """The median with its interval at LEVEL. Raises ValueError without samples.

    Percentiles of medians of samples drawn anew, further out the fewer there are (Hesterberg's
    expanded percentiles); never beyond the least and the greatest sample.
    """
    count = len(samples)
    drawn = sorted(_drawn(samples, median, seed, _RESAMPLES))
    tail = 0
    if count > 1:
        expanded = math.sqrt(count / (count - 1)) * student(LEVEL, count - 1)
        tail = math.floor(NormalDist().cdf(-expanded) * _RESAMPLES)
    return Estimate(median(samples), drawn[tail], drawn[-1 - tail])


def ratio_of(
    above: Sequence[float], below: Sequence[float], seed: int, level: float = LEVEL
) -> Estimate:
    """What `above` is of `below`, with its interval; samples at one position are of one round.

    They are greater than 0. Raises ValueError without samples, or where the lengths differ.
    """
    value, error, count = _log_ratio(above, below, seed)
    return _from_log(value, error, count - 1, level)


def ratio_of_ratios(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    seed: int,
    level: float = LEVEL,
) -> Estimate:
    """What a ratio (above, below) of one run is of that of another run, with its interval.

    The runs have nothing in common, and may have different numbers of rounds. Raises as ratio_of.
    """
    a, error_a, count_a = _log_ratio(*first, seed)
    b, error_b, count_b = _log_ratio(*second, seed + 1)
    return _from_log(a - b, math.hypot(error_a, error_b), min(count_a, count_b) - 1, level)


@cache
def student(level: float, freedom: int) -> float:
    """How many standard errors to each side hold `level`, by so many degrees of freedom.

    Inverts the distribution's finite series in the angle atan(t / sqrt(freedom)) (Abramowitz and
    Stegun, 26.7.3 and 26.7.4). Raises ValueError without a degree of freedom.
    """
    if freedom < 1:
        raise ValueError("no degree of freedom")
    low, high = 0.0, math.pi / 2
    for _ in range(60):  # halvings: to the last digit
        angle = (low + high) / 2
        if _within(angle, freedom) < level:
            low = angle
        else:
            high = angle
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """The probability that |t| is at most tan(angle) * sqrt(freedom)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    series = term if freedom > 1 else 0.0
    for n in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (n - 1) / n
        series += term
    return 2 / math.pi * (angle + sine * series) if odd else sine * series


def _log_ratio(
    above: Sequence[float], below: Sequence[float], seed: int
) -> tuple[float, float, int]:
    """The logarithm of a ratio, its standard error, and the number of rounds."""
    if len(above) != len(below):
        raise ValueError(f"{len(above)} rounds against {len(below)}")
    logs = [math.log(a) - math.log(b) for a, b in zip(above, below, strict=True)]
    count = len(logs)
    spread = pstdev(_drawn(logs, _trimmed_mean, seed, _RESAMPLES_OF_ERROR))
    unbiased = math.sqrt(count / (count - 1)) if count > 1 else 0.0
    return _trimmed_mean(logs), spread * unbiased, count


def _from_log(value: float, error: float, freedom: int, level: float) -> Estimate:
    half = min(student(level, freedom) * error, math.log(_WIDEST)) if freedom else 0.0
    return Estimate(*map(math.exp, (value, value - half, value + half)))


def _trimmed_mean(values: Sequence[float]) -> float:
    cut = math.floor(_TRIMMED * len(values))
    return fmean(sorted(values)[cut : len(values) - cut])


def _drawn(
    samples: Sequence[float], statistic: Callable[[Sequence[float]], float], seed: int, times: int
) -> list[float]:
    """The statistic of samples drawn anew with replacement, so many times."""
    if not samples:
        raise ValueError("no samples")
    draw = random.Random(seed)
    return [statistic(draw.choices(samples, k=len(samples))) for _ in range(times)]
