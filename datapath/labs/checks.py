"""Whether a lab does what it declares: who reaches whom, tried by real traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from datapath.labs.catalogue import require_nodes
from datapath.labs.model import Lab, Target
from datapath.labs.planning import namespace
from datapath.labs.probes import Question, ask

# The kernel knows some thousand neighbours, of all namespaces together (gc_thresh3).
_MOST: Final = 300  # tries, each of which makes two of them
# Seconds for an answer. A question for a MAC that is lost while links settle is asked again after
# one; a lab's processes may just be starting.
_PATIENCE: Final = 4.0
_PATIENCE_WITH_PROCESSES: Final = 20.0
_UNEXPECTED_PATIENCE: Final = 1.5


@dataclass(frozen=True, slots=True)
class Cell:
    """What became of one try: the least round trip in seconds, None without an answer."""

    source: str
    target: Target
    expected: bool
    round_trip: float | None

    @property
    def as_declared(self) -> bool:
        """Whether it is what the lab says."""
        return self.expected == (self.round_trip is not None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was tried, by source and target as declared, and how much there was to try."""

    cells: tuple[Cell, ...]
    possible: int

    @property
    def differing(self) -> list[Cell]:
        """What is not as the lab declares."""
        return [cell for cell in self.cells if not cell.as_declared]


def check(lab: Lab) -> Outcome:
    """Try everything that the lab says something of, or an even share of it where that is much.

    The lab is to be up. Raises NotFound where a node is gone.
    """
    require_nodes(lab, lab.nodes)
    processes = any(node.processes for node in lab.nodes.values())
    expected = _PATIENCE_WITH_PROCESSES if processes else _PATIENCE
    # What has the address itself as well answers itself.
    own = {name: {each.ip for each in lab.nodes[name].addresses()} for name in lab.reach}
    possible = [
        Question(source, target, expected if target in reached else _UNEXPECTED_PATIENCE)
        for source, reached in lab.reach.items()
        for target in lab.targets
        if target.node != source and target.address not in own[source]
    ]
    questions = possible[:: len(possible) // _MOST + 1]
    sources = {name: namespace(lab, name) for name in lab.reach}
    cells = (
        Cell(each.source, each.target, each.target in lab.reach[each.source], round_trip)
        for each, round_trip in zip(questions, ask(sources, questions), strict=True)
    )
    return Outcome(tuple(cells), len(possible))
