"""An experiment: modes times workloads times rounds, and how it is run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from datapath import modes, network
from datapath.compare import environment, knobs, lab, workloads
from datapath.compare.report import Report, ratios_of, results_of
from datapath.compare.workloads.base import Effort, Sample, Workload
from datapath.errors import InvalidInput, Unsupported
from datapath.modes.base import EbpfMode, Mode

DEFAULT_MODES: Final = ("veth", "bridge", "ebpf")
DEFAULT_ROUNDS: Final = 5

# Told before each sample: how many are taken, of how many, and what is next ("" at the end).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is to be measured. Modes are known in the report by the names that they have here."""

    modes: tuple[str, ...] = DEFAULT_MODES
    workloads: tuple[str, ...] = tuple(workload.name for workload in workloads.ALL)
    rounds: int = DEFAULT_ROUNDS
    cpu: int | None = None  # None: the first that this process may run on
    seed: int = 0  # of the intervals
    effort: Effort = field(default_factory=Effort)


def run(experiment: Experiment, progress: Progress = lambda done, total, doing: None) -> Report:
    """Measure all of it, in turn, round after round; the machine is as before afterwards.

    Raises InvalidInput for names and a CPU that there are not, Unsupported for what this machine
    lacks, Busy while another process measures, EbpfnetError where a path or a tool fails. Then,
    and on KeyboardInterrupt too, everything is undone.
    """
    chosen = {name: modes.get(name) for name in experiment.modes}
    loads = {name: workloads.get(name) for name in experiment.workloads}
    cpu = _cpu(experiment.cpu)
    _require(chosen, loads.values())
    samples: dict[tuple[str, str], list[Sample]] = {
        (name, load): [] for load in loads for name in chosen
    }
    described: dict[str, Any] = {}
    offloads: dict[str, Any] = {}
    total = experiment.rounds * len(samples)
    machine = environment.machine(cpu, [tool for load in loads.values() for tool in load.tools])
    with ExitStack() as stack:
        journal = stack.enter_context(lab.open_journal())
        settings = knobs.stated()
        stack.enter_context(_pinned(cpu))
        ready = {
            load: stack.enter_context(workload.prepared(experiment.effort))
            for load, workload in loads.items()
        }
        done = 0
        for number in range(1, experiment.rounds + 1):
            for name, mode in chosen.items():
                doing = f"{name}, round {number} of {experiment.rounds}"
                progress(done, total, doing)
                with lab.built(journal, mode) as built:
                    if number == 1:
                        described[name] = environment.mode(built)
                        offloads[name] = environment.offloads(built)
                    for load, measure in ready.items():
                        progress(done, total, f"{load} by {doing}")
                        samples[name, load].append(measure(built))
                        done += 1
        progress(done, total, "")
    return Report(
        environment={**machine, "modes": described, "knobs": settings, "offloads": offloads},
        experiment=asdict(experiment) | {"cpu": cpu},
        results=results_of(samples, loads, experiment.seed),
        ratios=ratios_of(samples, experiment.seed),
    )


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
    for tool in (lab.PING, *(tool for load in loads for tool in load.tools)):
        if shutil.which(tool.command) is None:
            raise tool.unsupported()
    for name, mode in chosen.items():
        if missing := mode.missing():
            raise Unsupported(
                mode.name,
                f"this kernel cannot do mode {name}: it lacks {missing}",
                remedy="leave it out",
            )
    if any(isinstance(mode, EbpfMode) for mode in chosen.values()):
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
