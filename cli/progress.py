"""How a measuring run goes, live on a terminal: the numbers so far, and what is done just now."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

import click

if TYPE_CHECKING:
    from datapath.compare import Report

_BAR: Final = 20  # cells
# Of ECMA-48: up so many lines, and erase from there to the end of the screen.
_UP_AND_ERASE: Final = "\x1b[{}F\x1b[J"


class Live:
    """A datapath.compare.Watcher. Use as a context manager, whose end takes the drawing away.

    `report` is what there is after the last whole round, None before. Drawn is on stderr, and on a
    terminal alone.
    """

    def __init__(self, table: Callable[[Report], str], keep: Callable[[Report], None]) -> None:
        """`table` makes the numbers so far, `keep` has them after every round."""
        self.report: Report | None = None
        self._table = table
        self._keep = keep
        self._draws = sys.stderr.isatty()
        self._numbers = ""
        self._drawn = 0  # lines

    def doing(self, what: str, part: float) -> None:
        if self._draws:
            full = round(min(part, 1.0) * _BAR)
            self._draw(f"{self._numbers}[{'#' * full:{_BAR}}] {part:4.0%}  {what}")

    def round(self, report: Report) -> None:
        self.report = report
        self._keep(report)
        if self._draws:
            self._numbers = f"{self._table(report)}\n\n"

    def _draw(self, text: str) -> None:
        """In place of what was drawn before; as much as the terminal shows, the last lines."""
        size = shutil.get_terminal_size()
        lines = [line[: size.columns - 1] for line in text.splitlines()][-(size.lines - 1) :]
        self._erase()
        click.echo("\n".join(lines), err=True)
        self._drawn = len(lines)

    def _erase(self) -> None:
        if self._drawn:
            click.echo(_UP_AND_ERASE.format(self._drawn), err=True, nl=False)
            self._drawn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._erase()
