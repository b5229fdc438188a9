"""What a comparison found: results, ratios, and the one sentence that people ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from datapath import modes
from datapath.compare import statistics
from datapath.modes.base import EbpfMode

# What every mode is set against, where they are measured.
REFERENCES: Final = ("bridge", "veth")

Samples = Mapping[tuple[str, str], Sequence[float]]  # (mode, workload) -> one for each round


@dataclass(frozen=True, slots=True)
class Result:
    """One workload by one mode: the median of its samples with a 95 % interval."""

    mode: str
    workload: str
    unit: str
    median: float
    low: float
    high: float
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A mode's median over that of the mode `to`, with a 95 % interval, paired by round."""

    mode: str
    workload: str
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

    def result(self, mode: str, workload: str) -> Result | None:
        """One result, None where it was not measured."""
        return next(
            (each for each in self.results if (each.mode, each.workload) == (mode, workload)), None
        )

    def ratio(self, mode: str, workload: str, to: str) -> Ratio | None:
        """One ratio, None where either was not measured."""
        return next(
            (
                each
                for each in self.ratios
                if (each.mode, each.workload, each.to) == (mode, workload, to)
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


def results_of(samples: Samples, units: Mapping[str, str], seed: int) -> tuple[Result, ...]:
    """A result for each mode and workload, in the order of `samples`."""
    found = []
    for (mode, workload), taken in samples.items():
        estimate = statistics.median_of(taken, seed)
        found.append(
            Result(
                *(mode, workload, units[workload]),
                *(estimate.value, estimate.low, estimate.high),
                tuple(taken),
            )
        )
    return tuple(found)


def ratios_of(samples: Samples, seed: int) -> tuple[Ratio, ...]:
    """Each mode against each reference that was measured, for every workload."""
    found = []
    for (mode, workload), taken in samples.items():
        for to in REFERENCES:
            if mode != to and (below := samples.get((to, workload))):
                estimate = statistics.ratio_of(taken, below, seed)
                found.append(Ratio(mode, workload, to, estimate.value, estimate.low, estimate.high))
    return tuple(found)
