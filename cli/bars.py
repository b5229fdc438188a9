"""Bars with intervals for a table in the terminal, in blocks or in plain ASCII. Never coloured.

███████▏            a narrow interval: the bar ends at the median, to an eighth of a column
██████████▒▒▒░░     a wide one: solid to its low end, fading to the median, then to its high end
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TextIO

LEAST: Final = 8  # columns: fewer show nothing
MOST: Final = 40
_GAP: Final = 2  # columns between a table's columns


@dataclass(frozen=True, slots=True)
class Style:
    """The signs that bars are made of."""

    solid: str
    to_median: str
    to_high: str
    parts: str  # of one column, from an empty one in equal steps


BLOCKS: Final = Style("█", "▒", "░", " ▏▎▍▌▋▊▉")
ASCII: Final = Style("#", "=", "-", " ")


def style(stream: TextIO) -> Style:
    """Blocks where the stream's encoding has them."""
    try:
        "█▒░▏".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def room(table_width: int) -> int:
    """Columns left for bars beside a table on this terminal; 0 where they are too few."""
    left = shutil.get_terminal_size().columns - table_width - _GAP
    return min(left, MOST) if left >= LEAST else 0


def column(
    intervals: Sequence[tuple[float, float, float]], width: int, style: Style = BLOCKS
) -> list[str]:
    """A bar for each (low, median, high), on one scale from 0 to the greatest high.

    None is wider than `width`. Figures are 0 or more.
    """
    most = max((high for _, _, high in intervals), default=0)
    if most <= 0:
        return [""] * len(intervals)
    # Divided first: the quotient is at most 1, however small or great the figures are.
    scaled = [[width * (figure / most) for figure in interval] for interval in intervals]
    return [_bar(low, median, high, style) for low, median, high in scaled]


def _bar(low: float, median: float, high: float, style: Style) -> str:
    """All three in columns."""
    if round(high) - round(low) < 2:
        steps = len(style.parts)
        full, part = divmod(round(median * steps), steps)
        return (style.solid * full + style.parts[part]).rstrip()
    solid, faded, end = round(low), round(median), round(high)
    return style.solid * solid + style.to_median * (faded - solid) + style.to_high * (end - faded)
