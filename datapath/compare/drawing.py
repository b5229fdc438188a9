"""A packet's path by a mode, drawn: from the sender's stack through the host to the receiver's.

Drawings that are made together have one height, so that what a mode leaves out shows at a glance.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from datapath import svg
from datapath.modes.base import Station

# Pixels, but for the last.
_WIDTH: Final = 300
_MARGIN: Final = 28  # on both sides of a box
_LINE: Final = 18  # of text
_PADDING: Final = 8
_GAP: Final = 20  # between boxes: room for an arrow
_TITLE: Final = 28  # of a zone
_ZONE_GAP: Final = 8
_CHARACTERS: Final = 32  # of a line in a box

_ZONES: Final = ("sender", "host", "receiver")
_STACK: Final = "socket, TCP or UDP, IP"


@dataclass(frozen=True, slots=True)
class _Box:
    """A station as it is drawn; `css` tells the namespaces' own stacks from what a mode adds."""

    lines: tuple[str, ...]
    hook: str
    css: str

    @property
    def height(self) -> int:
        return (len(self.lines) + bool(self.hook)) * _LINE + 2 * _PADDING


def paths(modes: Mapping[str, Sequence[Station]]) -> dict[str, str]:
    """An SVG image of each mode's path, by the name that is its title."""
    drawn = {
        name: {zone: _boxes(zone, stations) for zone in _ZONES} for name, stations in modes.items()
    }
    heights = {
        zone: max(
            (_TITLE + sum(box.height + _GAP for box in boxes[zone]) for boxes in drawn.values()),
            default=0,
        )
        for zone in _ZONES
    }
    return {name: _path(name, modes[name], boxes, heights) for name, boxes in drawn.items()}


def in_words(stations: Sequence[Station]) -> str:
    """The same, for whoever cannot see it."""
    return ", then ".join(
        f"{station.where}: {station.label}"
        + (f", with an eBPF program at {station.hook}" if station.hook else "")
        for station in stations
    )


def _boxes(zone: str, stations: Sequence[Station]) -> list[_Box]:
    stack = _Box((_STACK,), "", "stack")
    between = [
        _Box(
            tuple(textwrap.wrap(station.label, _CHARACTERS)) or ("",),
            textwrap.shorten(f"eBPF at {station.hook}", _CHARACTERS) if station.hook else "",
            "station hooked" if station.hook else "station",
        )
        for station in stations
        if station.where == zone
    ]
    return {"sender": [stack, *between], "receiver": [*between, stack]}.get(zone, between)


def _path(
    name: str,
    stations: Sequence[Station],
    boxes: Mapping[str, Sequence[_Box]],
    heights: Mapping[str, int],
) -> str:
    height = sum(heights.values()) + (len(heights) - 1) * _ZONE_GAP
    image = svg.image(
        "path",
        f"Packet path of {name}",
        viewBox=f"0 0 {_WIDTH} {height}",
        width=_WIDTH,
        height=height,
    )
    svg.add(image, "desc", in_words(stations))
    top = 0
    for zone in _ZONES:  # all of them first: arrows lie across their borders
        svg.add(image, "rect", css="zone", y=top, width=_WIDTH, height=heights[zone], rx=6)
        svg.add(image, "text", zone, css="zone-title", x=14, y=top + 19)
        top += heights[zone] + _ZONE_GAP
    top = 0
    left = None  # where the packet left the box before
    for zone in _ZONES:
        y = top + _TITLE
        for box in boxes[zone]:
            if left is not None:
                _arrow(image, left, y)
            _draw(image, box, y)
            left = y + box.height
            y = left + _GAP
        top += heights[zone] + _ZONE_GAP
    return svg.text_of(image)


def _draw(image: svg.Element, box: _Box, top: int) -> None:
    group = svg.add(image, "g", css=box.css)
    width = _WIDTH - 2 * _MARGIN
    svg.add(group, "rect", x=_MARGIN, y=top, width=width, height=box.height, rx=4)
    baseline = top + _PADDING + 13
    for line in box.lines:
        svg.add(group, "text", line, x=_WIDTH // 2, y=baseline, text_anchor="middle")
        baseline += _LINE
    if box.hook:
        svg.add(
            group, "text", box.hook, css="hook", x=_WIDTH // 2, y=baseline, text_anchor="middle"
        )


def _arrow(image: svg.Element, start: int, end: int) -> None:
    x = _WIDTH // 2
    svg.add(image, "path", css="wire", d=f"M{x} {start}V{end - 1}m-4 -5l4 5l4 -5")
