"""What a comparison found: results, ratios, and the one sentence that people ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from datapath import modes
from datapath.compare import statistics
from datapath.compare.workloads.base import Sample, Workload

# What every mode is set against, where they are measured.
REFERENCES: Final = ("bridge", "veth")
# The share of what was sent that a row may lose unmarked.
MOST_LOST: Final = 0.001
# Of the document's form; raised with every change that older versions of the kit cannot read.
SCHEMA: Final = 1

Outcome = Literal["faster", "slower", "no difference shown"]
NO_DIFFERENCE: Final = "no difference shown"

Samples = Mapping[tuple[str, str], Sequence[Sample]]  # (mode, workload) -> one for each round


@dataclass(frozen=True, slots=True)
class Result:
    """One workload by one mode: the median of its samples with a 95 % interval.

    `detail` names a further figure of the workload ("p99"), "" is its own. `sent` and `arrived` are
    of all samples together; 0 where the workload counts none.
    """

    mode: str
    workload: str
    detail: str
    unit: str
    median: float
    low: float
    high: float
    samples: tuple[float, ...]
    sent: int = 0
    arrived: int = 0

    @property
    def lost(self) -> float:
        """The share of what was sent that did not arrive."""
        return max(0, self.sent - self.arrived) / self.sent if self.sent else 0.0

    @property
    def lossy(self) -> bool:
        """Whether it lost so much that its figures are to be marked."""
        return self.lost > MOST_LOST


@dataclass(frozen=True, slots=True)
class Ratio:
    """A mode's figure over that of the mode `to`, with a 95 % interval, paired by round."""

    mode: str
    workload: str
    detail: str
    to: str
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison of two modes comes to, in words: `mode` against `to`.

    `verdict` speaks of `mode`. `ratio` is its figure over that of `to`; low and high are wider than
    those of a Ratio, since all verdicts of a report are to hold together. `sentence`
    says it for people, with the interval.
    """

    workload: str
    detail: str
    mode: str
    to: str
    ratio: float
    low: float
    high: float
    verdict: Outcome
    sentence: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A workload that cannot be measured by a mode, and why."""

    mode: str
    workload: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run found, on what, and how to repeat it.

    `ended` says why no more rounds were measured; "" where the run was not over.
    """

    environment: dict[str, Any]
    experiment: dict[str, Any]
    results: tuple[Result, ...]
    ratios: tuple[Ratio, ...]
    verdicts: tuple[Verdict, ...] = ()
    gaps: tuple[Gap, ...] = ()
    ended: str = ""

    @property
    def rounds(self) -> int:
        """How many were measured."""
        return len(self.results[0].samples) if self.results else 0

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML; datapath.compare.files reads them back."""
        results = [asdict(result) | {"lossy": result.lossy} for result in self.results]
        return {"schema": SCHEMA, **asdict(self), "results": results}

    def result(self, mode: str, workload: str, detail: str = "") -> Result | None:
        """One result, None where it was not measured."""
        wanted = (mode, workload, detail)
        return next(
            (each for each in self.results if (each.mode, each.workload, each.detail) == wanted),
            None,
        )

    def ratio(self, mode: str, workload: str, to: str, detail: str = "") -> Ratio | None:
        """One ratio, None where either was not measured."""
        return next(
            (
                each
                for each in self.ratios
                if (each.mode, each.workload, each.to, each.detail) == (mode, workload, to, detail)
            ),
            None,
        )

    def verdict(self, workload: str, mode: str, to: str) -> Verdict | None:
        """The verdict on two modes, whichever is set against which; None where there is none."""
        return next(
            (
                each
                for each in self.verdicts
                if each.workload == workload and {each.mode, each.to} == {mode, to}
            ),
            None,
        )

    def summary(self) -> str:
        """eBPF against a bridge, in words; "" where the two were not measured."""
        ours = ebpf_label([result.mode for result in self.results])
        ebpf = self.result(ours, "ns_per_packet")
        bridge = self.result("bridge", "ns_per_packet")
        ratio = self.ratio(ours, "ns_per_packet", "bridge")
        verdict = self.verdict("ns_per_packet", ours, "bridge")
        if not (ebpf and bridge and ratio and verdict):
            return ""
        name = "eBPF" if modes.ALIASES.get(ours, ours) == modes.DEFAULT else f"eBPF ({ours})"
        return (
            f"{name} forwards a packet in {ebpf.median:.0f} ns, a bridge in {bridge.median:.0f}: "
            f"{_in_words(ratio, verdict, len(ebpf.samples))}{loss_in_words(ebpf, bridge)}"
        )


def ebpf_label(labels: Sequence[str]) -> str:
    """The eBPF mode to speak of: the default one, else the first; "" where there is none."""
    known = {mode.name for mode in modes.EBPF}
    names = {label: label.partition(":")[0] for label in labels}
    measured = [label for label in labels if modes.ALIASES.get(names[label], names[label]) in known]
    default = [label for label in measured if names[label] in (modes.DEFAULT, *modes.ALIASES)]
    return next(iter(default + measured), "")


def _in_words(ratio: Ratio, verdict: Verdict, rounds: int) -> str:
    """What a ratio of costs means. It is a claim only where the verdict is one."""
    if ratio.ratio <= 1:
        factor, low, high, direction = 1 / ratio.ratio, 1 / ratio.high, 1 / ratio.low, "less"
    else:
        factor, low, high, direction = ratio.ratio, ratio.low, ratio.high, "more"
    if rounds == 1:
        return f"{factor:.2f} times {direction} in a single round, which shows no interval"
    if verdict.verdict == NO_DIFFERENCE:
        interval = f"{verdict.low:.2f} to {verdict.high:.2f}"
        return f"{NO_DIFFERENCE} (95 % interval of their ratio {interval})"
    return f"{factor:.2f} times {direction} (95 % interval {low:.2f} to {high:.2f})"


def loss_in_words(*results: Result) -> str:
    """ "; bridge lost 0.4 % of what was sent" for each that lost too much, to end a sentence."""
    return "".join(
        f"; {result.mode} lost {result.lost:.1%} of what was sent".replace("%", " %")
        for result in results
        if result.lossy
    )


def results_of(samples: Samples, loads: Mapping[str, Workload], seed: int) -> tuple[Result, ...]:
    """A result for each mode, workload and detail, in the order of `samples`."""
    found = []
    for (mode, workload), taken in samples.items():
        units = {"": loads[workload].unit, **loads[workload].details}
        for detail, figures in _figures(taken).items():
            estimate = statistics.median_of(figures, seed)
            found.append(
                Result(
                    *(mode, workload, detail, units[detail]),
                    *(estimate.value, estimate.low, estimate.high),
                    tuple(figures),
                    sent=sum(sample.sent for sample in taken),
                    arrived=sum(sample.arrived for sample in taken),
                )
            )
    return tuple(found)


def samples_of(results: Sequence[Result]) -> dict[tuple[str, str], list[Sample]]:
    """The samples that gave these results, as `results_of` takes them.

    What was sent and arrived is known of all together, and is with the first.
    """
    found: dict[tuple[str, str], list[Sample]] = {}
    for result in results:
        if result.detail:
            continue
        further = {
            each.detail: each.samples
            for each in results
            if (each.mode, each.workload) == (result.mode, result.workload) and each.detail
        }
        found[result.mode, result.workload] = [
            Sample(
                value,
                sent=result.sent if number == 0 else 0,
                arrived=result.arrived if number == 0 else 0,
                details={detail: samples[number] for detail, samples in further.items()},
            )
            for number, value in enumerate(result.samples)
        ]
    return found


def ratios_of(samples: Samples, seed: int) -> tuple[Ratio, ...]:
    """Each mode against each reference that was measured, for every workload and detail."""
    found = []
    for (mode, workload), taken in samples.items():
        for to in REFERENCES:
            if mode == to or (to, workload) not in samples:
                continue
            references = _figures(samples[to, workload])
            for detail, figures in _figures(taken).items():
                below = references.get(detail, [])
                if below and min(*figures, *below) > 0:  # a ratio means nothing otherwise
                    estimate = statistics.ratio_of(figures, below, seed)
                    found.append(
                        Ratio(
                            *(mode, workload, detail, to),
                            *(estimate.value, estimate.low, estimate.high),
                        )
                    )
    return tuple(found)


def _figures(taken: Sequence[Sample]) -> dict[str, list[float]]:
    """By detail ("" first), those that every sample has, by round."""
    shared = [
        detail for detail in taken[0].details if all(detail in sample.details for sample in taken)
    ]
    return {
        "": [sample.value for sample in taken],
        **{detail: [sample.details[detail] for sample in taken] for detail in shared},
    }
