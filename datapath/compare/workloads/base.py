"""What a workload is: something sent from one end of a lab to the other, and one number from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, Self

from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.errors import EbpfnetError
from datapath.variants import Options

_MOST_LOST: Final = 0.1  # of what was sent; beyond it, a figure says nothing


@dataclass(frozen=True, slots=True)
class Effort:
    """How much one sample is: frames injected at most, or seconds that a tool runs."""

    packets: int = 250_000
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


@dataclass(frozen=True, slots=True)
class Plain:
    """A Workload without options, and with nothing to make ready: `sample` is all there is."""

    name: str
    summary: str
    unit: str
    better: Literal["lower", "higher"]
    tools: tuple[Tool, ...]
    sample: Callable[[Lab, Effort], Sample]
    details: Mapping[str, str] = field(default_factory=dict)

    def variant(self, options: Options) -> Self:
        return self

    def missing(self) -> str:
        return ""

    @contextmanager
    def prepared(self, effort: Effort) -> Iterator[Measure]:
        yield lambda lab: self.sample(lab, effort)


def require_arrivals(lab: Lab, what: str, sent: int, arrived: int) -> None:
    """Raises EbpfnetError where so many were lost that nothing can be concluded.

    A few are none of a workload's business: reports count them.
    """
    if sent - arrived > sent * _MOST_LOST:
        raise EbpfnetError(
            f"mode {lab.mode.name} lost {what}: {arrived} of {sent} arrived",
            remedy="nothing is to be concluded from that; give the CPU to this run alone",
        )
