"""How an experiment is run: round after round, each mode in turn, until the answer is clear."""

from __future__ import annotations

import math
import os
import random
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, Final, Protocol

from datapath import network
from datapath.compare import environment, knobs, lab, noise, statistics
from datapath.compare.declared import LabMode
from datapath.compare.experiment import LEAST_ROUNDS, Experiment, source
from datapath.compare.lab import Lab
from datapath.compare.report import Gap, Report, ratios_of, results_of, samples_of
from datapath.compare.verdicts import verdicts_of
from datapath.compare.workloads.base import Measure, Sample, Workload
from datapath.errors import Conflict, InvalidInput, Unsupported
from datapath.kernel.net import firewall
from datapath.labs import needs
from datapath.modes.base import EbpfMode, Mode

Cell = tuple[str, str]  # mode and workload, as they are called in the report

# Of the environment, what is not looked at before modes are built.
_SEEN_LATER: Final = ("modes", "offloads", "legacy_tables")


class Watcher(Protocol):
    """Is told how a run goes."""

    def doing(self, what: str, part: float) -> None:
        """What is measured next; `part` of the whole, 0 to 1, is done or the time for it spent."""
        ...

    def round(self, report: Report) -> None:
        """What there is after a round."""
        ...


class _Nobody:
    def doing(self, what: str, part: float) -> None:
        pass

    def round(self, report: Report) -> None:
        pass


def run(
    experiment: Experiment, watcher: Watcher | None = None, begun: Report | None = None
) -> Report:
    """Measure all of it, in turn, round after round; the machine is as before afterwards.

    `begun` is what there is already of the same experiment on this machine, to go on from.

    Raises InvalidInput for names and a CPU that there are not, Unsupported for what this machine
    lacks, Conflict where it is not the machine that `begun` was measured on, Busy while another
    process measures, EbpfnetError where a path or a tool fails. Then, and on KeyboardInterrupt too,
    everything is undone; what the watcher was told last is all that was measured in whole rounds.
    """
    watcher = watcher or _Nobody()
    start = time.monotonic()
    chosen, loads = experiment.labelled(), experiment.loads()
    cpu = _cpu(experiment.cpu)
    _require(chosen, loads.values())
    seed = secrets.randbits(32) if experiment.seed is None else experiment.seed
    experiment = replace(experiment, cpu=cpu, seed=seed)
    taken = _Taken(experiment, loads, list(chosen), seed, _machine(experiment, cpu, loads.values()))
    if begun:
        taken.go_on_from(begun)
    clock = _Clock(experiment, start, experiment.seconds(len(chosen) * len(loads)))
    with ExitStack() as stack:
        journal = stack.enter_context(lab.open_journal())
        taken.environment["knobs"] = knobs.stated()
        stack.enter_context(_pinned(cpu))
        ready = {
            load: stack.enter_context(workload.prepared(experiment.effort))
            for load, workload in loads.items()
        }
        watch = noise.Watch(cpu)
        watcher.doing("warm-up, not counted", clock.part(taken.rounds))
        first, *others = _order(chosen, seed, taken.rounds)
        for name in others:
            # What cannot be built is known before anything is measured; and what a kernel keeps
            # once it was used (kernel.net.firewall) is there for all modes alike.
            with lab.built(journal, chosen[name]):
                pass
        taken.environment["legacy_tables"] = firewall.legacy_tables()
        with lab.built(journal, chosen[first]) as built:
            for measure in ready.values():
                _sample(built, measure)
        clock.begin_rounds()
        while not (ended := clock.ended(taken)):
            number = taken.rounds + 1
            samples: dict[Cell, Sample | Unsupported] = {}
            for name in _order(chosen, seed, number):
                doing = f"{name}, round {number}"
                watcher.doing(doing, clock.part(number - 1 + len(samples) / len(taken.samples)))
                with lab.built(journal, chosen[name]) as built:
                    taken.describe(name, built)
                    for load, measure in ready.items():
                        part = clock.part(number - 1 + len(samples) / len(taken.samples))
                        watcher.doing(f"{load} by {doing}", part)
                        if (name, load) in taken.samples:
                            samples[name, load] = _sample(built, measure)
                        watch.look()
            taken.add(samples)
            taken.environment["noise"] = watch.found()
            watcher.round(taken.report())
    return replace(taken.report(), ended=ended)


@dataclass
class _Taken:
    """What there is so far: samples of whole rounds, and what they were taken on."""

    experiment: Experiment
    loads: Mapping[str, Workload]
    labels: list[str]
    seed: int
    environment: dict[str, Any]
    gaps: list[Gap] = field(default_factory=list)
    begun: int = 0  # rounds of an earlier run

    def __post_init__(self) -> None:
        self.samples: dict[Cell, list[Sample]] = {
            (name, load): [] for load in self.loads for name in self.labels
        }
        self.environment |= {"modes": {}, "offloads": {}}

    @property
    def rounds(self) -> int:
        return max(map(len, self.samples.values()))

    def describe(self, name: str, built: Lab) -> None:
        if name not in self.environment["modes"]:
            self.environment["modes"][name] = environment.mode(built)
            self.environment["offloads"][name] = environment.offloads(built)

    def add(self, samples: Mapping[Cell, Sample | Unsupported]) -> None:
        """A whole round. What cannot be measured by a mode is left out from now on."""
        for cell, sample in samples.items():
            if isinstance(sample, Sample):
                self.samples[cell].append(sample)
            else:
                self._leave_out(Gap(*cell, str(sample)))
        if not self.samples:
            raise next(each for each in samples.values() if isinstance(each, Unsupported))

    def go_on_from(self, begun: Report) -> None:
        """Raises Conflict where `begun` was measured on or with something else."""
        for each in environment.differences(begun.environment, self.environment):
            if each.name.partition(".")[0] not in _SEEN_LATER:
                raise Conflict(
                    "what was begun cannot be gone on with: "
                    f"{each.name} was {each.first}, now it is {each.second}",
                    remedy="begin anew",
                )
        for gap in begun.gaps:
            if (gap.mode, gap.workload) in self.samples:
                self._leave_out(gap)
        samples = samples_of(begun.results)
        if not samples or samples.keys() != self.samples.keys():
            raise Conflict(
                "what was begun cannot be gone on with: it has not the results of its experiment",
                remedy="begin anew",
            )
        for cell, before in samples.items():
            self.samples[cell].extend(before)
        self.begun = self.rounds

    def _leave_out(self, gap: Gap) -> None:
        self.gaps.append(gap)
        del self.samples[gap.mode, gap.workload]

    def report(self) -> Report:
        results = results_of(self.samples, self.loads, self.seed)
        return Report(
            environment=self.environment,
            experiment=asdict(self.experiment),
            results=results,
            ratios=ratios_of(self.samples, self.seed),
            verdicts=verdicts_of(results, self.loads, self.seed),
            gaps=tuple(self.gaps),
        )


class _Clock:
    """When to end."""

    def __init__(self, experiment: Experiment, start: float, seconds: float) -> None:
        """`start` is when the run began, by time.monotonic; it may take so many seconds."""
        self._experiment = experiment
        self._start = start
        self._seconds = seconds
        self._rounds_began = start

    def begin_rounds(self) -> None:
        """What comes now is what every round takes again."""
        self._rounds_began = time.monotonic()

    def part(self, rounds: float) -> float:
        """Of the whole that is done after so many rounds, 0 to 1."""
        if self._experiment.rounds:
            return rounds / self._experiment.rounds
        return min(1.0, (time.monotonic() - self._start) / self._seconds)

    def ended(self, taken: _Taken) -> str:
        """Why it is time to end, "" while it is not. A round is not begun that would not end."""
        wanted, count = self._experiment.rounds, taken.rounds
        if wanted:
            return f"{wanted} rounds, as asked for" if count >= wanted else ""
        if count == taken.begun:
            return ""
        width, cell = _widest(taken) if count > 1 else (math.inf, "")
        if count >= LEAST_ROUNDS and width <= self._experiment.precision:
            return f"{count} rounds, every ratio within {width:.1f} %"
        now = time.monotonic()
        round_takes = (now - self._rounds_began) / (count - taken.begun)
        if now - self._start + round_takes <= self._seconds:
            return ""
        state = f"ratios within {width:.1f} % ({cell})" if cell else "which show no interval"
        return f"the {self._seconds:.0f} s are spent, rounds: {count}, {state}"


def _widest(taken: _Taken) -> tuple[float, str]:
    """How far the least certain ratio reaches to either side, in percent, and which it is."""
    found = (0.0, "none")
    for (above, load), (below, other) in combinations(taken.samples, 2):
        if load == other:
            estimate = statistics.ratio_of(
                [sample.value for sample in taken.samples[above, load]],
                [sample.value for sample in taken.samples[below, load]],
                taken.seed,
            )
            width = 100 * (estimate.high / estimate.value - 1)
            found = max(found, (width, f"{load}, {above} to {below}"))
    return found


def _machine(experiment: Experiment, cpu: int, loads: Iterable[Workload]) -> dict[str, Any]:
    return {
        **environment.machine(cpu, [tool for load in loads for tool in load.tools]),
        "sources": environment.sources(filter(None, map(source, experiment.modes))),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _order(labels: Iterable[str], seed: int, number: int) -> list[str]:
    """The modes' order within a round: chance alone, and the same again from the same seed."""
    order = list(labels)
    random.Random(f"{seed} {number}").shuffle(order)
    return order


def _sample(built: Lab, measure: Measure) -> Sample | Unsupported:
    """One sample by a path that is proven first; or why there is none to be had by this mode."""
    built.prove()
    try:
        return measure(built)
    except Unsupported as error:
        return error


def _cpu(wanted: int | None) -> int:
    allowed = sorted(os.sched_getaffinity(0))
    if wanted is not None and wanted not in allowed:
        raise InvalidInput(
            f"CPU {wanted} is not this process's to run on",
            remedy=f"choose one of {', '.join(map(str, allowed))}",
        )
    return allowed[0] if wanted is None else wanted


def _require(chosen: dict[str, Mode], loads: Iterable[Workload]) -> None:
    """Raises Unsupported for whatever would be missed only midway."""
    for load in loads:
        if missing := load.missing():
            raise Unsupported(
                load.name,
                f"workload {load.name} cannot be run here: {missing}",
                remedy="choose others with --workload",
            )
        for tool in (lab.PING, *load.tools):
            if not tool.installed:
                raise tool.unsupported()
    for name, mode in chosen.items():
        if isinstance(mode, LabMode):
            needs.require(mode.lab)
        if missing := mode.missing():
            raise Unsupported(
                mode.name,
                f"this kernel cannot do mode {name}: it lacks {missing}",
                remedy="leave it out",
            )
    if any(isinstance(mode, EbpfMode | LabMode) for mode in chosen.values()):
        network.require_bpffs()


@contextmanager
def _pinned(cpu: int) -> Iterator[None]:
    """This thread, and what it starts, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
