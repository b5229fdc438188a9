"""How a run goes: order, warm-up, when it ends, what is kept. Labs and workloads are made up."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from datapath.compare import Experiment, Report, Sample, run, running, workloads
from datapath.compare.workloads.base import Effort, Plain
from datapath.errors import Conflict, InvalidInput, Unsupported

COSTS = {"veth": 100.0, "bridge": 200.0, "tc-peer": 130.0}
MODES = ("veth", "bridge", "ebpf")


@dataclass
class Machine:
    """What is measured on it costs what COSTS say, and as much more as `noise` tells."""

    noise: Iterator[float] = field(default_factory=lambda: itertools.repeat(0.0))
    kernel: str = "6.18"
    now: float = 0.0  # seconds
    built: list[str] = field(default_factory=list)
    proven: int = 0
    samples: list[str] = field(default_factory=list)
    strike: int = 0  # ctrl-C at this sample

    @contextmanager
    def lab(self, _: object, mode: Any) -> Iterator[Any]:
        self.built.append(mode.name)
        yield SimpleNamespace(mode=mode, prove=self.prove)

    def prove(self) -> None:
        self.proven += 1

    def sample(self, mode: str) -> Sample:
        self.samples.append(mode)
        if len(self.samples) == self.strike:
            raise KeyboardInterrupt
        self.now += 1
        value = COSTS[mode] * (1 + next(self.noise))
        return Sample(value, sent=10, arrived=9, details={"p99": 2 * value})


def load(machine: Machine, name: str = "load", cannot: tuple[str, ...] = ()) -> Plain:
    """A workload on that machine; `cannot` are modes that it cannot measure."""

    def sample(lab: Any, effort: Effort) -> Sample:
        if lab.mode.name in cannot:
            raise Unsupported("injection", f"nothing can be injected by {lab.mode.name}")
        return machine.sample(lab.mode.name)

    return Plain(name, "", "ns", "lower", tools=(), sample=sample, details={"p99": "ns"})


class Notes:
    """A Watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.parts: list[float] = []

    def doing(self, what: str, part: float) -> None:
        self.parts.append(part)

    def round(self, report: Report) -> None:
        self.reports.append(report)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(workloads, "ALL", (load(made), load(made, "other", cannot=("bridge",))))
    monkeypatch.setattr(running.lab, "open_journal", nullcontext)
    monkeypatch.setattr(running.lab, "built", made.lab)
    monkeypatch.setattr(running, "_require", lambda chosen, loads: None)
    monkeypatch.setattr(
        running, "time", SimpleNamespace(monotonic=lambda: made.now, time=time.time)
    )
    monkeypatch.setattr(
        "datapath.compare.environment.machine", lambda cpu, tools: {"kernel": made.kernel}
    )
    monkeypatch.setattr("datapath.compare.environment.mode", lambda built: {})
    monkeypatch.setattr("datapath.compare.environment.offloads", lambda built: {})
    return made


def experiment(**changes: Any) -> Experiment:
    return replace(Experiment(MODES, ("load",), seed=1), **changes)


def disturbed(percent: float) -> Iterator[float]:
    """Now so many percent more, now less, out of step with the modes."""
    return itertools.cycle(percent / 100 * step for step in (0, 1, 1, 0, -1, -1, 1))


def test_each_round_has_every_mode_once_in_an_order_left_to_chance(machine: Machine) -> None:
    run(experiment(rounds=20))
    warm_up, built = machine.built[:3], machine.built[3:]
    rounds = [tuple(built[at : at + 3]) for at in range(0, 60, 3)]
    assert all(sorted(each) == sorted(COSTS) for each in rounds)
    assert len(set(rounds)) == 6
    assert {order[0] for order in rounds} == set(COSTS)
    assert sorted(warm_up) == sorted(COSTS)


def test_a_seed_gives_the_same_order_again(machine: Machine) -> None:
    orders = []
    for seed in (1, 1, 2):
        machine.built.clear()
        run(experiment(rounds=8, seed=seed))
        orders.append(tuple(machine.built))
    assert orders[0] == orders[1] != orders[2]


def test_without_a_seed_a_fresh_one_is_drawn_and_stated(machine: Machine) -> None:
    seeds = {run(experiment(rounds=1, seed=None)).experiment["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_the_warm_up_is_not_counted(machine: Machine) -> None:
    report = run(experiment(rounds=2))
    assert len(machine.samples) == 1 + 2 * len(MODES)
    assert [len(result.samples) for result in report.results if not result.detail] == [2, 2, 2]


def test_a_path_is_proven_before_each_cell(machine: Machine) -> None:
    run(experiment(rounds=2, modes=("veth", "ebpf"), workloads=("load", "other")))
    assert machine.proven == len(machine.samples) == 2 + 2 * 2 * 2


def test_it_ends_when_every_ratio_is_precise_enough(machine: Machine) -> None:
    report = run(experiment())
    assert report.rounds == 5
    assert report.ended == "5 rounds, every ratio within 0.0 %"
    machine.noise = disturbed(10)
    report = run(experiment(max_time=1000))
    assert report.rounds > 5
    assert report.ended.startswith(f"{report.rounds} rounds, every ratio within 4.")


def test_it_ends_before_a_round_that_would_last_too_long(machine: Machine) -> None:
    machine.noise = disturbed(40)
    report = run(experiment(max_time=25))  # a sample takes a second, a round three, warm-up one
    assert report.rounds == 8
    assert report.ended.startswith("the 25 s are spent, rounds: 8, ratios within ")
    assert machine.now == 25


def test_one_round_is_measured_however_little_time_there_is(machine: Machine) -> None:
    report = run(experiment(max_time=1))
    assert report.rounds == 1
    assert report.ended == "the 1 s are spent, rounds: 1, which show no interval"


def test_the_usual_time_grows_with_what_is_measured() -> None:
    assert Experiment().seconds(9) == Experiment().seconds(1) == 58
    assert Experiment().seconds(90) == 580
    assert Experiment(max_time=30).seconds(90) == 30


def test_rounds_that_were_asked_for_are_measured_whatever_they_show(machine: Machine) -> None:
    machine.noise = disturbed(40)
    report = run(experiment(rounds=7, max_time=1))
    assert report.rounds == 7
    assert report.ended == "7 rounds, as asked for"


def test_the_part_that_is_done_grows_from_nothing_to_all(machine: Machine) -> None:
    for wanted in (experiment(rounds=4), experiment(max_time=40)):
        notes, machine.now = Notes(), 0
        machine.noise = disturbed(40)
        run(wanted, notes)
        assert notes.parts == sorted(notes.parts)
        assert notes.parts[0] == 0
        assert 0.75 < notes.parts[-1] <= 1


def test_interrupted_what_is_kept_are_whole_rounds(machine: Machine) -> None:
    notes, machine.strike = Notes(), 1 + 2 * 3 + 2  # in the third round
    with pytest.raises(KeyboardInterrupt):
        run(experiment(rounds=4), notes)
    assert [report.rounds for report in notes.reports] == [1, 2]
    assert notes.reports[-1].ended == ""
    assert len({len(result.samples) for result in notes.reports[-1].results}) == 1


def test_gone_on_with_it_comes_to_what_it_would_have_come_to(machine: Machine) -> None:
    machine.noise = itertools.count(0, 0.01)
    whole = run(experiment(rounds=4))
    machine.noise, machine.samples[:] = itertools.count(0, 0.01), []
    notes, machine.strike = Notes(), 1 + 2 * 3 + 1
    with pytest.raises(KeyboardInterrupt):
        run(experiment(rounds=4), notes)
    machine.strike = 0
    machine.noise = itertools.count(0.06, 0.01)  # one goes to the warm-up
    resumed = run(experiment(rounds=4), begun=notes.reports[-1])
    plain = [
        {**each, "samples": pytest.approx(each["samples"])} for each in whole.document()["results"]
    ]
    for each, expected in zip(resumed.document()["results"], plain, strict=True):
        assert {key: each[key] for key in ("mode", "detail", "samples", "sent", "arrived")} == {
            key: expected[key] for key in ("mode", "detail", "samples", "sent", "arrived")
        }
    assert [each.verdict for each in resumed.verdicts] == [each.verdict for each in whole.verdicts]


def test_gone_on_with_time_counts_anew_and_an_end_is_found(machine: Machine) -> None:
    machine.noise = disturbed(40)
    begun = run(experiment(rounds=3))
    machine.now = 1000
    resumed = run(experiment(max_time=10), begun=begun)
    assert resumed.rounds == 6
    assert machine.now == 1010


def test_what_was_begun_elsewhere_is_not_gone_on_with(machine: Machine) -> None:
    begun = run(experiment(rounds=1))
    machine.kernel = "6.19"
    with pytest.raises(Conflict, match=r"kernel was 6\.18, now it is 6\.19; begin anew"):
        run(experiment(rounds=2), begun=begun)


def test_results_of_another_experiment_are_not_gone_on_with(machine: Machine) -> None:
    begun = run(experiment(rounds=1))
    with pytest.raises(Conflict, match="it has not the results of its experiment"):
        run(experiment(rounds=2, modes=("veth", "ebpf")), begun=begun)


def test_what_a_mode_cannot_be_measured_by_is_left_out_and_said(machine: Machine) -> None:
    report = run(experiment(rounds=2, workloads=("load", "other")))
    assert [(gap.mode, gap.workload) for gap in report.gaps] == [("bridge", "other")]
    assert report.gaps[0].reason == "nothing can be injected by bridge"
    counts = Counter((each.workload, each.detail) for each in report.results)
    assert counts == {("load", ""): 3, ("load", "p99"): 3, ("other", ""): 2, ("other", "p99"): 2}
    assert len(report.verdicts) == 3 + 1


def test_with_nothing_left_to_measure_it_fails(machine: Machine) -> None:
    with pytest.raises(Unsupported, match="nothing can be injected by bridge"):
        run(experiment(modes=("bridge",), workloads=("other",)))


def test_a_check_sets_a_mode_against_itself(machine: Machine) -> None:
    report = run(experiment(modes=("ebpf",), check=True, rounds=3))
    assert set(machine.built) == {"tc-peer"}
    (verdict,) = report.verdicts
    assert (verdict.mode, verdict.to, verdict.verdict) == (
        *("ebpf again", "ebpf"),
        "no difference shown",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modes": ("veth", "veth")}, "mode veth is given twice"),
        ({"workloads": ("load", "load")}, "workload load is given twice"),
        ({"check": True}, "a check sets one mode against itself, and 3 are given"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    changes: dict[str, Any], message: str, machine: Machine
) -> None:
    with pytest.raises(InvalidInput, match=message):
        run(experiment(**changes))
    assert machine.built == []


def test_a_run_says_what_may_have_disturbed_it(machine: Machine) -> None:
    noise = run(experiment(rounds=1)).environment["noise"]
    assert noise["stolen"] >= 0
    assert noise["other_cpus_busy"] >= 0
