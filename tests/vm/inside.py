"""Run in a machine: what its kernel must have is found there by the kit.

Elsewhere a kernel may lack a thing, and a test is skipped or the thing is said to be missing. Here
that would be a mistake of the kit's.
"""

import json
import os

from tests.support import hosts

# tcx came with Linux 6.6, netkit with 6.7, and the tracepoint that sockmap needs with 6.2.
LACKING = {"6.1": {"tc:tcx", "tc-peer:tcx", "netkit", "sockmap"}, "6.12": set[str]()}
FOR_TWO_CPUS = {"tcp_stream:streams=8,cpus=2"}  # of which the machine has one


def series() -> str:
    """Of the kernel that runs, as "6.12"."""
    return ".".join(os.uname().release.split(".")[:2])


def test_every_mode_and_workload_is_available_but_for_what_came_later() -> None:
    listed = json.loads(hosts.ebpfnet("compare", "--list", "-o", "json").stdout)
    rows = [*listed["modes"], *listed["workloads"]]
    assert {row["name"] for row in rows if not row["available"]} == (
        LACKING[series()] | FOR_TWO_CPUS
    )


def test_every_lab_is_available() -> None:
    rows = json.loads(hosts.ebpfnet("lab", "list", "-o", "json").stdout)
    assert {row["name"]: row["reason"] for row in rows if not row["available"]} == {}
