"""Medians, ratios and their intervals: known answers, and how often an interval is right."""

import random

import pytest

from datapath.compare.statistics import Estimate, median_of, ratio_of


def test_the_median_lies_within_its_interval() -> None:
    assert median_of([5.0, 1.0, 4.0, 2.0, 3.0], seed=0) == Estimate(3.0, 1.0, 5.0)


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle() -> None:
    assert median_of([1.0, 2.0, 10.0, 11.0], seed=0).value == 6.0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_samples_that_do_not_differ_leave_no_doubt(count: int) -> None:
    assert median_of([7.0] * count, seed=0) == Estimate(7.0, 7.0, 7.0)


def test_one_seed_gives_one_interval() -> None:
    samples = [random.Random(1).gauss(100, 5) for _ in range(1)] + [90.0, 95.0, 101.0, 107.0]
    assert median_of(samples, seed=3) == median_of(samples, seed=3)
    assert {median_of([float(n**2) for n in range(9)], seed).low for seed in range(5)} > {4.0}


def test_an_interval_narrows_with_more_rounds() -> None:
    draw = random.Random(2)
    few, many = ([draw.gauss(100, 10) for _ in range(count)] for count in (5, 80))
    width = {len(s): (e := median_of(s, seed=0)).high - e.low for s in (few, many)}
    assert width[80] < width[5]


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    draw = random.Random(4)
    estimates = [median_of([draw.gauss(50, 5) for _ in range(15)], seed) for seed in range(100)]
    held = sum(each.low <= 50 <= each.high for each in estimates)
    assert 88 <= held <= 99  # of a hundred; 95 are promised


def test_drift_that_hits_both_alike_is_not_in_the_ratio() -> None:
    below = [100.0, 130.0, 90.0, 260.0, 110.0]
    assert ratio_of([2 * each for each in below], below, seed=0) == Estimate(2.0, 2.0, 2.0)


def test_a_ratio_is_that_of_the_medians() -> None:
    estimate = ratio_of([10.0, 20.0, 90.0], [40.0, 10.0, 50.0], seed=0)
    assert estimate.value == 0.5
    assert estimate.low < 0.5 < estimate.high


def test_a_mode_against_itself_shows_no_difference() -> None:
    draw = random.Random(5)
    holds = 0
    for seed in range(100):
        a, b = ([draw.gauss(100, 3) for _ in range(10)] for _ in range(2))
        estimate = ratio_of(a, b, seed)
        holds += estimate.low <= 1 <= estimate.high
    assert 88 <= holds <= 100


def test_nothing_is_made_of_no_samples_or_of_unequal_rounds() -> None:
    with pytest.raises(ValueError, match="no samples"):
        median_of([], seed=0)
    with pytest.raises(ValueError, match="2 rounds against 1"):
        ratio_of([1.0, 2.0], [1.0], seed=0)
