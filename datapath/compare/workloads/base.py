"""What a workload is: something sent from one end of a lab to the other, and one number from it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from datapath.compare.lab import Lab
from datapath.compare.processes import Tool

Measure = Callable[[Lab], float]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much one sample is: frames injected, or seconds that a tool runs."""

    packets: int = 1_000_000
    seconds: int = 1


class Workload(Protocol):
    """A thing to measure."""

    @property
    def name(self) -> str:
        """As users call it, and as results are labelled."""
        ...

    @property
    def summary(self) -> str:
        """One line for lists."""
        ...

    @property
    def unit(self) -> str:
        """Of the number that it gives."""
        ...

    @property
    def better(self) -> Literal["lower", "higher"]:
        """Which way is good."""
        ...

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Programs that it needs."""
        ...

    def prepared(self, effort: Effort) -> AbstractContextManager[Measure]:
        """Made ready once for a whole run; what it yields takes one sample in a lab.

        A sample is greater than 0, and begins with a warm-up that is not counted. Preparing raises
        Unsupported for what this kernel lacks; sampling raises EbpfnetError for a path that fails.
        """
        ...
