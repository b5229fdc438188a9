"""Workloads: one file each, one line each here."""

from __future__ import annotations

from typing import Final

from datapath.compare.workloads import ns_per_packet, tcp_rr, tcp_stream
from datapath.compare.workloads.base import Workload
from datapath.errors import InvalidInput
from datapath.variants import Options

ALL: Final[tuple[Workload, ...]] = (
    ns_per_packet.WORKLOAD,
    tcp_stream.WORKLOAD,
    tcp_rr.WORKLOAD,
)


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
