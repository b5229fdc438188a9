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
WARM_UP: Final = ("--bytes", "64M")  # until windows and buffers have grown
_PATIENCE: Final = 15.0  # seconds


class Transfer(Protocol):
    """Moves data by iperf3's options; what its receiver counted: "bytes", "bits_per_second"."""

    def __call__(self, *options: str, timeout: float = _PATIENCE) -> dict[str, Any]: ...


@contextmanager
def served(lab: Lab, cpus: Sequence[int] = ()) -> Iterator[Transfer]:
    """A server, on these CPUs if any are given. Raises EbpfnetError."""
    where = ("--port", str(_PORT))
    receiver = str(lab.receiver.ipv4)

    def transfer(*options: str, timeout: float = _PATIENCE) -> dict[str, Any]:
        client = ("iperf3", "--client", receiver, *where, "--json", *options)
        output = lab.run(lab.sender, *client, timeout=timeout)
        received: dict[str, Any] = json.loads(output)["end"]["sum_received"]
        if not received["bytes"]:
            raise EbpfnetError(f"iperf3 moved no data by mode {lab.mode.name}", detail=output)
        return received

    arguments = ["iperf3", "--server", "--bind", receiver, *where]
    with processes.server(lab.receiver.path, arguments, _PORT, cpus=cpus):
        yield transfer
