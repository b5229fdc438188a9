"""iperf3, as several workloads use it: a server at the receiver, and transfers from the sender."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from datapath.compare import processes
from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.errors import EbpfnetError

TOOL: Final = Tool("iperf3", "iperf3")

_PORT: Final = 5201
_WARM_UP: Final = "64M"  # until windows and buffers have grown
_PATIENCE = 15.0  # seconds on top of the test itself


class Transfer(Protocol):
    """Moves data for some seconds; iperf3's report of it."""

    def __call__(self, seconds: int, *options: str) -> dict[str, Any]: ...


@contextmanager
def served(lab: Lab, cpus: Sequence[int] = ()) -> Iterator[Transfer]:
    """A server, on these CPUs if any are given, and a path that is warm. Raises EbpfnetError."""
    where = ("--port", str(_PORT))
    receiver = str(lab.receiver.ipv4)

    def client(*options: str, timeout: float = _PATIENCE) -> str:
        return lab.run(
            lab.sender,
            *("iperf3", "--client", receiver, *where, "--json", *options),
            timeout=timeout,
        )

    def transfer(seconds: int, *options: str) -> dict[str, Any]:
        output = client("--time", str(seconds), *options, timeout=seconds + _PATIENCE)
        report: dict[str, Any] = json.loads(output)["end"]
        if not report["sum_received"]["bytes"]:
            raise EbpfnetError(
                f"iperf3 moved no data in {seconds} s by mode {lab.mode.name}", detail=output
            )
        return report

    arguments = ["iperf3", "--server", "--bind", receiver, *where]
    with processes.server(lab.receiver.path, arguments, _PORT, cpus=cpus):
        client("--bytes", _WARM_UP)
        yield transfer
