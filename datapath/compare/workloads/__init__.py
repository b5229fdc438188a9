"""Workloads: one file each, one line each here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from datapath.compare.workloads import (
    cpu_per_gbit,
    ns_per_packet,
    round_trip,
    tcp_crr,
    tcp_stream,
    udp_pps,
)
from datapath.compare.workloads.base import Workload
from datapath.errors import InvalidInput
from datapath.variants import Options

DEFAULT: Final[tuple[Workload, ...]] = (
    ns_per_packet.WORKLOAD,
    tcp_stream.WORKLOAD,
    round_trip.TCP_RR,
)
ALL: Final[tuple[Workload, ...]] = (
    *DEFAULT,
    round_trip.UDP_RR,
    tcp_crr.WORKLOAD,
    udp_pps.WORKLOAD,
    cpu_per_gbit.WORKLOAD,
)

# Variants worth showing to whoever asks what there is; there are many more.
_EXAMPLES: Final = (
    "ns_per_packet:size=512",
    "ns_per_packet:size=1500",
    "ns_per_packet:flows=1000",
    "ns_per_packet:endpoints=10000",
    "tcp_stream:streams=8",
    "tcp_stream:streams=8,cpus=2",
)


@dataclass(frozen=True, slots=True)
class Available:
    """Whether this machine can run a workload, and if not, why."""

    name: str
    available: bool
    reason: str


def get(name: str) -> Workload:
    """A workload by name, or a variant of it ("ns_per_packet:size=1500"; datapath.variants).

    Raises InvalidInput, naming those there are.
    """
    options = Options(name)
    for workload in ALL:
        if workload.name == options.name:
            chosen = workload.variant(options)
            options.refuse_others()
            return chosen
    known = ", ".join(workload.name for workload in ALL)
    raise InvalidInput(f"there is no workload {options.name!r}", remedy=f"choose from {known}")


def available() -> list[Available]:
    """Every workload, and variants worth showing, each behind the workload that it is of."""
    examples = {workload.name: [workload.name] for workload in ALL}
    for example in _EXAMPLES:
        examples[Options(example).name].append(example)
    return [_judged(name) for names in examples.values() for name in names]


def _judged(name: str) -> Available:
    workload = get(name)
    reasons = [tool.unsupported() for tool in workload.tools if not tool.installed]
    missing = workload.missing()
    reason = "; ".join([*map(str, reasons), *([f"it lacks {missing}"] if missing else [])])
    return Available(name, not reason, reason)
