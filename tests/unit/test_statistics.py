"""Medians, ratios and their intervals: known answers, and how often an interval is right."""

import math
import random
from collections.abc import Callable
from statistics import fmean

import pytest

from datapath.compare.experiment import DEFAULT_PRECISION, LEAST_ROUNDS
from datapath.compare.statistics import Estimate, median_of, ratio_of, ratio_of_ratios, student


def test_the_median_lies_within_its_interval() -> None:
    assert median_of([5.0, 1.0, 4.0, 2.0, 3.0], seed=0) == Estimate(3.0, 1.0, 5.0)


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle() -> None:
    assert median_of([1.0, 2.0, 10.0, 11.0], seed=0).value == 6.0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_samples_that_do_not_differ_leave_no_doubt(count: int) -> None:
    assert median_of([7.0] * count, seed=0) == Estimate(7.0, 7.0, 7.0)
    assert ratio_of([7.0] * count, [7.0] * count, seed=0) == Estimate(1.0, 1.0, 1.0)


def test_one_seed_gives_one_interval() -> None:
    samples = [88.0, 90.0, 95.0, 101.0, 107.0]
    assert median_of(samples, seed=3) == median_of(samples, seed=3)
    ratios = {ratio_of(samples, samples[::-1], seed) for seed in (1, 1, 2, 3)}
    assert len(ratios) == 3


def test_an_interval_narrows_with_more_rounds() -> None:
    draw = random.Random(2)
    few, many = ([draw.gauss(100, 10) for _ in range(count)] for count in (5, 80))
    width = {len(s): (e := median_of(s, seed=0)).high - e.low for s in (few, many)}
    assert width[80] < width[5]


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    draw = random.Random(4)
    estimates = [median_of([draw.gauss(50, 5) for _ in range(15)], seed) for seed in range(200)]
    held = fmean(estimate.holds(50) for estimate in estimates)
    assert 0.92 <= held <= 1


def test_drift_that_hits_both_alike_is_not_in_the_ratio() -> None:
    below = [100.0, 130.0, 90.0, 260.0, 110.0]
    estimate = ratio_of([2 * each for each in below], below, seed=0)
    assert [estimate.value, estimate.low, estimate.high] == pytest.approx([2.0, 2.0, 2.0])


def test_a_disturbed_round_does_not_decide() -> None:
    below = [100.0, 101.0, 99.0, 100.0, 100.0, 102.0]
    above = [200.0, 200.0, 201.0, 199.0, 200.0, 900.0]
    assert ratio_of(above, below, seed=0).value == pytest.approx(2.0, rel=0.02)


def test_an_interval_that_says_nothing_is_still_one_that_can_be_written_down() -> None:
    estimate = ratio_of([1.0, 8.0], [5.0, 0.6], seed=0, level=0.999)
    assert estimate.high == pytest.approx(1000 * estimate.value)
    assert estimate.low == pytest.approx(estimate.value / 1000)


def test_a_ratio_turned_over_is_its_inverse() -> None:
    above, below = [10.0, 20.0, 90.0, 14.0], [40.0, 10.0, 50.0, 30.0]
    there, back = ratio_of(above, below, seed=0), ratio_of(below, above, seed=0)
    assert back.value == pytest.approx(1 / there.value)
    assert back.low == pytest.approx(1 / there.high)


@pytest.mark.parametrize(
    ("level", "freedom", "errors"),
    [  # two-sided, from printed tables
        *((0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 4, 2.776), (0.95, 5, 2.571)),
        *((0.95, 30, 2.042), (0.99, 9, 3.250), (0.999, 3, 12.924), (0.95, 1000, 1.962)),
    ],
)
def test_students_quantiles_are_those_of_the_tables(
    level: float, freedom: int, errors: float
) -> None:
    assert student(level, freedom) == pytest.approx(errors, abs=6e-4)


def quiet(draw: random.Random) -> float:
    return draw.gauss(0, 0.02)


def heavy_tailed(draw: random.Random) -> float:
    return 0.015 * draw.gauss(0, 1) / math.sqrt(draw.gammavariate(1.5, 2) / 3)


def disturbed_now_and_then(draw: random.Random) -> float:
    burst = draw.choice((-1, 1)) * draw.expovariate(4) if draw.random() < 0.1 else 0.0
    return draw.gauss(0, 0.02) + burst


NOISES = (quiet, heavy_tailed, disturbed_now_and_then)


def rounds_of(
    draw: random.Random, noise: Callable[[random.Random], float], count: int
) -> list[float]:
    """Samples of which the logarithm has this noise about that of 100."""
    return [100 * math.exp(noise(draw)) for _ in range(count)]


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("rounds", [3, 5, 8, 15])
@pytest.mark.parametrize(("level", "least"), [(0.95, 0.92), (0.99, 0.97)])
def test_the_interval_holds_the_true_ratio_at_least_as_often_as_it_says(
    rounds: int, noise: Callable[[random.Random], float], level: float, least: float
) -> None:
    draw = random.Random(5)
    estimates = [
        ratio_of(rounds_of(draw, noise, rounds), rounds_of(draw, noise, rounds), seed, level)
        for seed in range(300)
    ]
    assert fmean(estimate.holds(1) for estimate in estimates) >= least


@pytest.mark.parametrize("spread", [0.01, 0.02, 0.03, 0.05])
def test_going_on_until_it_is_precise_enough_does_not_make_it_wrong(spread: float) -> None:
    """Whoever stops at the first interval that is narrow stops early where it is so by chance."""
    draw = random.Random(6)
    held = []
    for seed in range(200):
        above, below = ([math.exp(draw.gauss(0, spread)) for _ in range(40)] for _ in range(2))
        for count in range(LEAST_ROUNDS, 41):
            estimate = ratio_of(above[:count], below[:count], seed)
            if 100 * (estimate.high / estimate.value - 1) <= DEFAULT_PRECISION:
                break
        held.append(estimate.holds(1))
    assert fmean(held) >= 0.93


@pytest.mark.parametrize("noise", NOISES)
def test_two_runs_of_the_same_modes_differ_as_seldom_as_the_interval_says(
    noise: Callable[[random.Random], float],
) -> None:
    draw = random.Random(7)
    held = []
    for seed in range(300):
        runs = [(rounds_of(draw, noise, n), rounds_of(draw, noise, n)) for n in (5, 9)]
        held.append(ratio_of_ratios(runs[0], runs[1], seed).holds(1))
    assert fmean(held) >= 0.93


def test_a_change_between_two_runs_is_seen() -> None:
    slow, fast = ([100.0, 101.0, 99.0, 100.0, 100.5], [200.0, 201.0, 199.0, 202.0, 200.0])
    estimate = ratio_of_ratios((fast, slow), (slow, slow), seed=0)
    assert estimate.value == pytest.approx(2.0, rel=0.01)
    assert not estimate.holds(1)


def test_nothing_is_made_of_no_samples_or_of_unequal_rounds() -> None:
    with pytest.raises(ValueError, match="no samples"):
        median_of([], seed=0)
    with pytest.raises(ValueError, match="no samples"):
        ratio_of([], [], seed=0)
    with pytest.raises(ValueError, match="2 rounds against 1"):
        ratio_of([1.0, 2.0], [1.0], seed=0)
