"""A lab as a picture: boxes in columns by how far they are from the busiest node, links between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from datapath import svg
from datapath.labs.drawing import Row, arcs_of, rows_of, title_of
from datapath.labs.model import HOST, VETH, End, Lab

_CHARACTER: Final = 7.3  # px, of a 12 px monospace font
_LINE: Final = 18
_TITLE: Final = 24
_PADDING: Final = 10
_GAP_X: Final = 110
_GAP_Y: Final = 22
_MARGIN: Final = 20

_STYLE: Final = """
svg { background: #ffffff; font: 12px ui-monospace, monospace }
.box { fill: #f6f8fa; stroke: #57606a } .host { fill: #fff8e5 }
.title { font-weight: bold } text { fill: #1f2328; white-space: pre } .detail { fill: #57606a }
.link { fill: none; stroke: #0969da; stroke-width: 1.5 } .stands { stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } .box { fill: #161b22; stroke: #8b949e } .host { fill: #2d2710 }
  text { fill: #e6edf3 } .detail { fill: #8b949e } .link { stroke: #58a6ff }
}
"""


@dataclass(frozen=True, slots=True)
class _Box:
    """A node's box: its rows, and where it is (px)."""

    node: str
    title: str
    rows: tuple[Row, ...]
    x: float
    y: float
    width: float

    @property
    def height(self) -> float:
        return _TITLE + _LINE * len(self.rows) + _PADDING / 2

    def line(self, row: int) -> float:
        """The middle of a row."""
        return self.y + _TITLE + _LINE * (row + 0.5)


def draw(lab: Lab) -> str:
    """The whole picture, a document of its own."""
    boxes = _boxes(lab)
    width = max(box.x + box.width for box in boxes.values()) + _MARGIN
    height = max(box.y + box.height for box in boxes.values()) + _MARGIN
    image = svg.image(
        "lab",
        f"{lab.name}: {lab.title}",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=round(width),
        height=round(height),
    )
    svg.add(image, "style", _STYLE)
    for near, far in arcs_of(lab):
        is_cable = lab.nodes[far.node].interfaces[far.ifname].kind == VETH
        css = "link" if is_cable else "link stands"
        svg.add(image, "path", css=css, d=_curve(boxes, near, far))
    for box in boxes.values():
        _draw_box(image, box)
    return svg.text_of(image) + "\n"


def _draw_box(image: svg.Element, box: _Box) -> None:
    svg.add(
        image,
        "rect",
        css="box host" if box.node == HOST else "box",
        x=box.x,
        y=box.y,
        width=box.width,
        height=box.height,
        rx=6,
    )
    left = box.x + _PADDING
    svg.add(image, "text", box.title, css="title", x=left, y=box.y + 16)
    label = max((len(row.label) for row in box.rows), default=0)
    for number, row in enumerate(box.rows):
        y = box.line(number) + 4
        svg.add(image, "text", row.label, x=left, y=y)
        if row.detail:
            x = left + (label + 2) * _CHARACTER
            svg.add(image, "text", row.detail, css="detail", x=x, y=y)


def _curve(boxes: Mapping[str, _Box], near: End, far: End) -> str:
    """From the side of one row to the facing side of the other; around, in the same column."""
    ends = sorted(((boxes[end.node], end) for end in (near, far)), key=lambda pair: pair[0].x)
    (left, first), (right, second) = ends
    y1, y2 = _height(left, first), _height(right, second)
    x1 = left.x + left.width
    if left.x == right.x:
        x2 = right.x + right.width
        bend = max(x1, x2) + _GAP_X / 3
        return f"M{x1:.1f} {y1:.1f}C{bend:.1f} {y1:.1f} {bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    middle = (x1 + right.x) / 2
    return f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {right.x:.1f} {y2:.1f}"


def _height(box: _Box, end: End) -> float:
    return box.line([row.end for row in box.rows].index(end))


def _boxes(lab: Lab) -> dict[str, _Box]:
    columns = _columns(lab)
    rows = {node.name: tuple(rows_of(lab, node)) for node in lab.nodes.values()}
    heights = [
        sum(_TITLE + _LINE * len(rows[name]) + _PADDING / 2 + _GAP_Y for name in column) - _GAP_Y
        for column in columns
    ]
    boxes: dict[str, _Box] = {}
    x = float(_MARGIN)
    for column, height in zip(columns, heights, strict=True):
        widths = {name: _width(lab, name, rows[name]) for name in column}
        y = _MARGIN + (max(heights) - height) / 2
        for name in column:
            box = _Box(name, title_of(lab.nodes[name]), rows[name], x, y, widths[name])
            boxes[name] = box
            y += box.height + _GAP_Y
        x += max(widths.values()) + _GAP_X
    return boxes


def _width(lab: Lab, name: str, rows: tuple[Row, ...]) -> float:
    label = max((len(row.label) for row in rows), default=0)
    texts = [label + 2 + len(row.detail) for row in rows]
    return max(*texts, len(title_of(lab.nodes[name])), 8) * _CHARACTER + 2 * _PADDING


def _columns(lab: Lab) -> list[list[str]]:
    """Nodes by distance from the busiest; in each column near those that they are joined to."""
    joined: dict[str, list[str]] = {name: [] for name in lab.nodes}
    for near, far in arcs_of(lab):
        joined[near.node].append(far.node)
        joined[far.node].append(near.node)
    distance: dict[str, int] = {}
    for start in sorted(lab.nodes, key=lambda name: -len(joined[name])):
        if start in distance:
            continue  # reached from a busier one
        distance[start] = 0
        reached = [start]
        for name in reached:
            for other in joined[name]:
                if other not in distance:
                    distance[other] = distance[name] + 1
                    reached.append(other)
    columns = [
        [name for name in lab.nodes if distance[name] == depth]
        for depth in range(max(distance.values()) + 1)
    ]
    for before, column in pairwise(columns):
        column.sort(key=lambda name: _mean(before.index(n) for n in joined[name] if n in before))
    return columns


def _mean(places: Iterable[int]) -> float:
    found = list(places)
    return sum(found) / len(found)
