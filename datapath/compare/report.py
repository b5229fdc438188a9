"""What a comparison found: results, ratios, and the one sentence that people ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from datapath import modes
from datapath.compare import statistics
from datapath.compare.workloads.base import Sample, Workload
from datapath.modes.base import EbpfMode

# What every mode is set against, where they are measured.
REFERENCES: Final = ("bridge", "veth")

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


@dataclass(frozen=True, slots=True)
class Ratio:
    """A mode's median over that of the mode `to`, with a 95 % interval, paired by round."""

    mode: str
    workload: str
    detail: str
    to: str
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that a run found, on what, and how to repeat it."""

    environment: dict[str, Any]
    experiment: dict[str, Any]
    results: tuple[Result, ...]
    ratios: tuple[Ratio, ...]

    def document(self) -> dict[str, Any]:
        """Plain values, for JSON and YAML."""
        return asdict(self)

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

    def summary(self) -> str:
        """eBPF against a bridge, in words; "" where the two were not measured."""
        ours = _ebpf_label([result.mode for result in self.results])
        ebpf = self.result(ours, "ns_per_packet")
        bridge = self.result("bridge", "ns_per_packet")
        ratio = self.ratio(ours, "ns_per_packet", "bridge")
        if not (ebpf and bridge and ratio):
            return ""
        name = "eBPF" if modes.ALIASES.get(ours, ours) == modes.DEFAULT else f"eBPF ({ours})"
        return (
            f"{name} forwards a packet in {ebpf.median:.0f} ns, a bridge in {bridge.median:.0f}: "
            f"{_in_words(ratio, len(ebpf.samples))}"
        )


def _ebpf_label(labels: Sequence[str]) -> str:
    """The eBPF mode to speak of: the default one, else the first; "" where there is none."""
    measured = [label for label in labels if isinstance(modes.get(label), EbpfMode)]
    default = [label for label in measured if modes.get(label).name == modes.DEFAULT]
    return next(iter(default + measured), "")


def _in_words(ratio: Ratio, rounds: int) -> str:
    """What a ratio of costs means. It is a claim only where its interval leaves 1.0 out."""
    if ratio.ratio <= 1:
        factor, low, high, direction = 1 / ratio.ratio, 1 / ratio.high, 1 / ratio.low, "less"
    else:
        factor, low, high, direction = ratio.ratio, ratio.low, ratio.high, "more"
    if rounds == 1:
        return f"{factor:.2f} times {direction} in a single round, which shows no interval"
    if low <= 1:
        interval = f"{ratio.low:.2f} to {ratio.high:.2f}"
        return f"no difference shown (95 % interval of their ratio {interval})"
    return f"{factor:.2f} times {direction} (95 % interval {low:.2f} to {high:.2f})"


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


def ratios_of(samples: Samples, seed: int) -> tuple[Ratio, ...]:
    """Each mode against each reference that was measured, for every workload and detail."""
    found = []
    for (mode, workload), taken in samples.items():
        for to in REFERENCES:
            if mode == to or (to, workload) not in samples:
                continue
            references = _figures(samples[to, workload])
            for detail, figures in _figures(taken).items():
                if below := references.get(detail):
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
