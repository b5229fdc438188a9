"""Workloads: one file each, one line each here."""

from __future__ import annotations

from typing import Final

from datapath.compare.workloads import ns_per_packet, tcp_rr, tcp_stream
from datapath.compare.workloads.base import Workload
from datapath.errors import InvalidInput

ALL: Final[tuple[Workload, ...]] = (
    ns_per_packet.WORKLOAD,
    tcp_stream.WORKLOAD,
    tcp_rr.WORKLOAD,
)


def get(name: str) -> Workload:
    """A workload by name. Raises InvalidInput, naming those there are."""
    for workload in ALL:
        if workload.name == name:
            return workload
    known = ", ".join(workload.name for workload in ALL)
    raise InvalidInput(f"there is no workload {name!r}", remedy=f"choose from {known}")
