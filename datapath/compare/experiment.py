"""An experiment as declared: modes, workloads, and how long to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from datapath import modes
from datapath.compare import declared, workloads
from datapath.compare.workloads.base import Effort, Workload
from datapath.errors import InvalidInput
from datapath.labs.loader import load
from datapath.labs.model import Lab
from datapath.modes import user
from datapath.modes.base import Mode

DEFAULT_MODES: Final[tuple[str, ...]] = ("veth", "bridge", "ebpf")
DEFAULT_WORKLOADS: Final[tuple[str, ...]] = tuple(workload.name for workload in workloads.DEFAULT)
DEFAULT_PRECISION: Final = 5.0  # percent
# An interval of fewer says little; a run goes on until it has so many, unless time is spent.
LEAST_ROUNDS: Final = 5
# For the default experiment and each that is no larger: a minute, with starting and ending.
_SECONDS: Final = 58.0


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is to be measured.

    Modes are known in the report by the names that they have here; a user's own, which is written
    NAME=FILE.c:FUNCTION (datapath.modes.user), by its NAME.
    """

    modes: tuple[str, ...] = DEFAULT_MODES
    workloads: tuple[str, ...] = DEFAULT_WORKLOADS
    rounds: int | None = None  # None: until precise enough, or out of time
    precision: float = DEFAULT_PRECISION  # percent to each side of every ratio
    max_time: float | None = None  # seconds; None: a minute, in proportion more for more cells
    cpu: int | None = None  # None: the first that this process may run on
    seed: int | None = None  # of order and intervals; None: a fresh one
    effort: Effort = field(default_factory=Effort)
    check: bool = False  # the one mode against itself
    # A lab that it takes place in, by its name and the lines of its declaration, and the nodes that
    # send and receive; without one, a pair of namespaces that is made for it.
    lab: str = ""
    declaration: tuple[str, ...] = ()
    between: tuple[str, ...] = ()

    def in_lab(self, lab: Lab, between: tuple[str, ...]) -> Experiment:
        """The same in a lab, by the modes that are usual there where none are chosen."""
        chosen = declared.usual(lab) if self.modes == DEFAULT_MODES else self.modes
        lines = tuple(lab.text.splitlines())
        return replace(self, modes=chosen, lab=lab.name, declaration=lines, between=between)

    def labelled(self) -> dict[str, Mode]:
        """The modes by their names in the report.

        Raises InvalidInput for what there is not, for a name given twice, and for a check of
        several.
        """
        chosen: list[tuple[str, Mode]] = []
        if self.lab:
            lab = load("\n".join(self.declaration) + "\n", self.lab, self.lab)
            chosen += declared.modes_of(lab, self.between, self.modes).items()
        else:
            for name in self.modes:
                mode = modes.get(name)
                chosen.append((mode.name if user.is_meant(name) else name, mode))
        if self.check:
            if len(chosen) != 1:
                raise InvalidInput(
                    f"a check sets one mode against itself, and {len(chosen)} are given",
                    remedy="name one",
                )
            name, mode = chosen[0]
            chosen.append((f"{name} again", mode))
        _refuse_twice([name for name, _ in chosen], "mode")
        return dict(chosen)

    def loads(self) -> dict[str, Workload]:
        """The workloads by name. Raises InvalidInput for what there is not, or is given twice."""
        _refuse_twice(self.workloads, "workload")
        return {name: workloads.get(name) for name in self.workloads}

    def seconds(self, cells: int) -> float:
        """How long it may take with so many pairs of mode and workload."""
        usual = len(DEFAULT_MODES) * len(DEFAULT_WORKLOADS)
        return self.max_time or _SECONDS * max(1.0, cells / usual)


def source(name: str) -> Path | None:
    """The C file of a user's own mode, None for a mode of the kit's."""
    return Path(name.partition("=")[2].rpartition(":")[0]) if user.is_meant(name) else None


def placed(name: str, folder: Path) -> str:
    """A mode's name; that of a user's own with the path of its file made absolute from `folder`."""
    if source(name) is None:
        return name
    label, equals, rest = name.partition("=")
    return f"{label}{equals}{folder.absolute() / rest}"


def _refuse_twice(names: Sequence[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(
                f"{what} {name} is given twice",
                remedy="leave one out; --check sets a mode against itself",
            )
