"""What a workload is: something sent from one end of a lab to the other, and one number from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.variants import Options


@dataclass(frozen=True, slots=True)
class Effort:
    """How much one sample is: frames injected, or seconds that a tool runs."""

    packets: int = 1_000_000
    seconds: int = 1


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave; `value` in the workload's unit, greater than 0.

    `sent` and `arrived` count what the workload could reconcile (frames, datagrams, messages); both
    0 where it counts none. `details` are further figures, by the names that the workload declares.
    """

    value: float
    sent: int = 0
    arrived: int = 0
    details: Mapping[str, float] = field(default_factory=dict)


Measure = Callable[[Lab], Sample]


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
    def details(self) -> Mapping[str, str]:
        """Units of the further figures that samples may have, by name: {"p99": "us"}."""
        ...

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Programs that it needs."""
        ...

    def variant(self, options: Options) -> Workload:
        """With options; asks for all that it knows. Raises InvalidInput for bad values."""
        ...

    def missing(self) -> str:
        """What this machine lacks for it apart from tools, "" where nothing."""
        ...

    def prepared(self, effort: Effort) -> AbstractContextManager[Measure]:
        """Made ready once for a whole run; what it yields takes one sample in a lab.

        A sample begins with a warm-up that is not counted. Preparing raises
        Unsupported for what this kernel lacks; sampling raises EbpfnetError for a path that fails.
        """
        ...
