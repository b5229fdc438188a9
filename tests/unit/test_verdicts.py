"""Verdicts in words, how often they are wrong, and what becomes of them in another run."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from datapath.compare import Report, Result, Sample, workloads
from datapath.compare.environment import Difference
from datapath.compare.repeating import held
from datapath.compare.report import NO_DIFFERENCE, ratios_of, results_of
from datapath.compare.sides import side_by_side
from datapath.compare.verdicts import verdicts_of

LOADS = {workload.name: workload for workload in workloads.DEFAULT}
SLOW, FAST = [1000.0, 1010.0, 990.0, 1005.0], [500.0, 510.0, 490.0, 502.0]
Samples = dict[tuple[str, str], list[Sample]]


def found(samples: Samples) -> Report:
    results = results_of(samples, LOADS, seed=0)
    return Report({}, {}, results, ratios_of(samples, 0), verdicts_of(results, LOADS, 0))


def report(load: str = "ns_per_packet", **figures: Sequence[float]) -> Report:
    return found({(mode, load): [Sample(v) for v in taken] for mode, taken in figures.items()})


def test_what_takes_less_time_is_faster_and_what_moves_less_data_is_slower() -> None:
    (verdict,) = report("tcp_rr", bridge=SLOW, ebpf=FAST).verdicts
    assert (verdict.mode, verdict.verdict, verdict.to) == ("ebpf", "faster", "bridge")
    assert verdict.sentence.startswith("tcp_rr: ebpf is faster than bridge: 0.50 of its us (95 %")
    (verdict,) = report("tcp_stream", bridge=SLOW, ebpf=FAST).verdicts
    assert verdict.sentence.startswith("tcp_stream: ebpf is slower than bridge: 0.50 of its Gbit/s")
    (verdict,) = report(veth=FAST, bridge=SLOW).verdicts
    assert verdict.sentence.startswith(
        "ns_per_packet: bridge is slower than veth: 2.00 times its ns"
    )


def test_every_two_modes_have_a_verdict_the_later_against_the_earlier() -> None:
    verdicts = report(veth=FAST, bridge=SLOW, ebpf=FAST).verdicts
    assert [(each.mode, each.to, each.verdict) for each in verdicts] == [
        ("bridge", "veth", "slower"),
        ("ebpf", "veth", NO_DIFFERENCE),
        ("ebpf", "bridge", "faster"),
    ]


def test_an_interval_that_holds_one_shows_no_difference() -> None:
    (verdict,) = report(bridge=SLOW, ebpf=[990.0, 1020.0, 985.0, 1001.0]).verdicts
    assert verdict.verdict == NO_DIFFERENCE
    assert verdict.low < 1 < verdict.high
    assert verdict.sentence == (
        "ns_per_packet: no difference shown between ebpf and bridge: 1.00 of its ns "
        f"(95 % interval {verdict.low:.2f} to {verdict.high:.2f})"
    )


def test_less_than_a_percent_is_not_called_a_difference_however_sure() -> None:
    samples = [1000.0, 1010.0, 990.0, 1005.0]
    (verdict,) = report(bridge=samples, ebpf=[1.005 * each for each in samples]).verdicts
    assert verdict.low > 1
    assert verdict.verdict == NO_DIFFERENCE
    assert verdict.sentence.endswith("(less than 1 % apart)")
    (verdict,) = report(bridge=samples, ebpf=[1.011 * each for each in samples]).verdicts
    assert verdict.verdict == "slower"


def test_a_single_round_shows_nothing() -> None:
    (verdict,) = report(bridge=[900.0], ebpf=[300.0]).verdicts
    assert verdict.verdict == NO_DIFFERENCE
    assert verdict.sentence.endswith("(in a single round, which shows no interval)")


def test_the_more_are_compared_the_more_it_takes_to_be_called_a_difference() -> None:
    alone = report(veth=FAST, bridge=SLOW).verdicts[0]
    among = report(veth=FAST, bridge=SLOW, ebpf=FAST, tc=FAST).verdicts[0]
    assert (alone.mode, alone.to) == (among.mode, among.to)
    assert among.low < alone.low < alone.ratio < alone.high < among.high


def test_what_lost_too_much_is_said_with_every_verdict_on_it() -> None:
    samples: Samples = {
        ("veth", "ns_per_packet"): [Sample(v, 1000, 1000) for v in FAST],
        ("bridge", "ns_per_packet"): [Sample(v, 1000, 995) for v in SLOW],
        ("ebpf", "ns_per_packet"): [Sample(v, 10_000, 9_990) for v in FAST],  # 0.1 %: not more
    }
    report = found(samples)
    assert [result.lossy for result in report.results] == [False, True, False]
    assert [each["lossy"] for each in report.document()["results"]] == [False, True, False]
    marked = [each for each in report.verdicts if "lost" in each.sentence]
    assert all(each.sentence.endswith("; bridge lost 0.5 % of what was sent") for each in marked)
    assert {(each.mode, each.to) for each in marked} == {("bridge", "veth"), ("ebpf", "bridge")}
    assert report.summary().endswith("; bridge lost 0.5 % of what was sent")


def by_chance(draw: random.Random, slowness: Mapping[str, float], rounds: int = 5) -> Report:
    """What modes give that are so slow, with 2 % of noise and a drift that is common to all."""
    drift = [draw.gauss(0, 0.1) for _ in range(rounds)]
    results = tuple(
        Result(label, load, "", "", slow, slow, slow, tuple(slow * noisy(draw, d) for d in drift))
        for load in LOADS
        for label, slow in slowness.items()
    )
    return Report({}, {}, results, (), verdicts_of(results, LOADS, seed=0))


def noisy(draw: random.Random, drift: float) -> float:
    return math.exp(drift + draw.gauss(0, 0.02))


ALIKE = {"veth": 1.0, "bridge": 1.0, "ebpf": 1.0}


@pytest.mark.parametrize("labels", [("ebpf", "ebpf again"), ("a", "b", "c", "d")])
def test_no_difference_is_called_where_there_is_none_in_19_of_20_whole_reports(
    labels: Sequence[str],
) -> None:
    draw = random.Random(1)
    wrong = 0
    for _ in range(100):
        verdicts = by_chance(draw, dict.fromkeys(labels, 1.0)).verdicts
        wrong += any(each.verdict != NO_DIFFERENCE for each in verdicts)
    assert wrong <= 5


def test_two_runs_never_contradict_each_other_on_what_both_call_a_difference() -> None:
    draw = random.Random(2)
    agreed = 0
    for _ in range(30):
        slowness = {"veth": 1.0, "bridge": 1.2, "ebpf": 1.03}
        runs = [by_chance(draw, slowness) for _ in range(2)]
        for each in held(*runs):
            assert each.holds != "contradicted"
            agreed += each.before == each.now != NO_DIFFERENCE
    assert agreed > 100  # of the 180 that there are between bridge and another


@pytest.mark.parametrize(
    ("before", "now", "holds"),
    [
        (FAST, FAST, "yes"),
        (FAST, SLOW, "not shown again"),
        (FAST, [2 * each for each in SLOW], "contradicted"),
        (SLOW, FAST, "yes"),  # the first did not deny it
    ],
)
def test_a_repetition_says_which_verdicts_hold(
    before: list[float], now: list[float], holds: str
) -> None:
    (found,) = held(report(bridge=SLOW, ebpf=before), report(bridge=SLOW, ebpf=now))
    assert found.holds == holds


def test_what_was_not_measured_again_does_not_hold() -> None:
    (found,) = held(report(bridge=SLOW, ebpf=FAST), report(bridge=SLOW))
    assert (found.now, found.holds) == ("not measured", "not shown again")


def test_runs_side_by_side_differ_only_where_modes_relate_differently() -> None:
    slower = [1.3 * each for each in SLOW]
    first = report(veth=FAST, bridge=SLOW, ebpf=FAST)
    second = report(veth=[1.3 * each for each in FAST], bridge=slower, ebpf=slower)
    sides = side_by_side(first, second)
    assert [(each.mode, round(each.quotient, 2)) for each in sides.figures] == [
        *(("veth", 1.3), ("bridge", 1.3), ("ebpf", 2.6)),
    ]
    assert [(each.mode, each.to, each.differs) for each in sides.relations] == [
        ("bridge", "veth", False),
        ("ebpf", "veth", True),
        ("ebpf", "bridge", True),
    ]
    assert sides.relations[0].sentence.startswith(
        "ns_per_packet: bridge to veth is 2.00 and 2.00: no difference shown (95 % interval of"
    )
    assert "it differs" in sides.relations[1].sentence


def test_noise_between_two_runs_is_not_called_a_difference() -> None:
    draw = random.Random(3)
    wrong = 0
    for _ in range(60):
        first, second = (by_chance(draw, ALIKE, rounds) for rounds in (5, 8))
        wrong += any(each.differs for each in side_by_side(first, second).relations)
    assert wrong <= 4


def test_a_single_round_beside_another_run_shows_nothing() -> None:
    one, many = report(bridge=[900.0], ebpf=[100.0]), report(bridge=SLOW, ebpf=FAST)
    (relation,) = side_by_side(one, many).relations
    assert not relation.differs
    assert relation.sentence.endswith("(a single round shows no interval)")


def test_runs_of_different_workloads_have_nothing_in_common() -> None:
    sides = side_by_side(report("tcp_rr", veth=FAST), report("tcp_stream", veth=FAST))
    assert (sides.figures, sides.relations) == ((), ())


def test_environments_are_told_apart_by_what_can_make_a_difference() -> None:
    first = replace(
        report(veth=FAST),
        environment={"kernel": "6.1", "versions": {"iperf3": "3.12"}, "load_average": 0.1},
    )
    second = replace(
        first, environment={"kernel": "6.12", "versions": {"iperf3": "3.12"}, "load_average": 4}
    )
    assert side_by_side(first, second).differences == (Difference("kernel", "6.1", "6.12"),)
    assert side_by_side(first, first).differences == ()
