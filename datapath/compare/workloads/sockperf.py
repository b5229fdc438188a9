"""sockperf, as several workloads use it: messages from the sender, a server at the receiver."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Final, Literal

from datapath.compare import processes
from datapath.compare.hurry import hurried
from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.errors import EbpfnetError

TOOL: Final = Tool("sockperf", "sockperf")
MESSAGE_BYTES: Final = 14  # the least that sockperf sends

PORT: Final = 11111
_PATIENCE = 15.0  # seconds on top of the test itself

Protocol = Literal["tcp", "udp"]


def server(lab: Lab, protocol: Protocol) -> AbstractContextManager[None]:
    """Answers every message, for as long as the block lasts. Raises EbpfnetError."""
    return processes.server(
        lab.receiver.path, ["sockperf", "server", *_where(lab, protocol)], PORT, protocol
    )


def client(lab: Lab, test: str, protocol: Protocol, seconds: int, *options: str) -> str:
    """What it says of a test ("ping-pong", "throughput"). Raises EbpfnetError."""
    return hurried(
        lambda: lab.run(
            lab.sender,
            *("sockperf", test, *_where(lab, protocol), "--time", str(seconds)),
            *("--msg-size", str(MESSAGE_BYTES), *options),
            timeout=seconds + _PATIENCE,
        )
    )


def figures(lab: Lab, output: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
    """What the groups of `pattern` match in it. Raises EbpfnetError where it is not there."""
    found = pattern.search(output)
    if found is None:
        raise EbpfnetError(
            f"sockperf says nothing of value about mode {lab.mode.name}",
            remedy="give the CPU to this run alone, or more --seconds",
            detail=output,
        )
    return found.groups()


def _where(lab: Lab, protocol: Protocol) -> list[str]:
    tcp = ["--tcp"] if protocol == "tcp" else []
    return [*tcp, "--ip", str(lab.receiver.ipv4), "--port", str(PORT)]
