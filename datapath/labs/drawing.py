"""A lab as text: a box for each node, one below the other, and links as arcs at the right.

┌ ns1 ─────────────────────┐
│ veth1     10.1.0.1/24    ├─┐
└──────────────────────────┘ │
┌ host (this machine) ─────┐ │
│ br0       bridge         │ │
│ ├ br-veth1               ├─┘
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from datapath.labs.model import HOST, VETH, End, Interface, Lab, Node, Shape

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8  # where a character of an arc leads
_CHARACTERS: Final = {
    0: " ",
    _UP | _DOWN: "│",
    _LEFT | _RIGHT: "─",
    _LEFT | _DOWN: "┐",
    _LEFT | _UP: "┘",
    _LEFT | _UP | _DOWN: "┤",
    _LEFT | _RIGHT | _DOWN: "┬",
    _LEFT | _RIGHT | _UP: "┴",
    _LEFT | _RIGHT | _UP | _DOWN: "┼",
}


@dataclass(frozen=True, slots=True)
class Row:
    """An interface in its box: how deep below its bridge, and what is said of it."""

    end: End
    label: str
    detail: str


def rows_of(lab: Lab, node: Node) -> list[Row]:
    """A node's interfaces, ports below their bridges."""
    rows = []
    for interface in node.interfaces.values():
        if not interface.master:
            rows.append(_row(lab, node, interface, ""))
            ports = [each for each in node.interfaces.values() if each.master == interface.name]
            for port in ports:
                rows.append(_row(lab, node, port, "└ " if port is ports[-1] else "├ "))
    return rows


def _row(lab: Lab, node: Node, interface: Interface, prefix: str) -> Row:
    end = End(node.name, interface.name)
    shapes = [link.shape for link in lab.links if end in link.ends and link.shape]
    words = [
        *([interface.kind] if interface.kind != VETH else []),
        *(f"{name} {value}" for name, value in interface.options.items() if name == "id"),
        *map(str, interface.addresses),
        *(f"vlan {vlan.vid}" for vlan in interface.vlans),
        *map(describe, shapes),
    ]
    return Row(end, f"{prefix}{interface.name}", "  ".join(words))


def describe(shape: Shape) -> str:
    """A link's shape in words: "10 Mbit/s, 5 ms"."""
    return ", ".join(
        [
            *([f"{shape.rate / 1e6:g} Mbit/s"] if shape.rate else []),
            *([f"{shape.delay:g} ms"] if shape.delay else []),
            *([f"jitter {shape.jitter:g} ms"] if shape.jitter else []),
            *([f"loss {shape.loss:g} %"] if shape.loss else []),
        ]
    )


def title_of(node: Node) -> str:
    """What is written on a node's box."""
    return f"{node.name} (this machine)" if node.name == HOST else node.name


def arcs_of(lab: Lab) -> Iterator[tuple[End, End]]:
    """What joins interfaces of two nodes: links, and what stands on another node's interface."""
    for link in lab.links:
        yield link.ends
    for node, interface in lab.interfaces():
        end = End(node.name, interface.name)
        parent = lab.parent_of(end)
        if parent and parent.node != node.name:
            yield parent, end


def draw(lab: Lab) -> str:
    """The whole topology."""
    boxes = [(node, rows_of(lab, node)) for node in lab.nodes.values()]
    label = max((len(row.label) for _, rows in boxes for row in rows), default=0)
    inner = max(
        *(len(title_of(node)) + 1 for node, _ in boxes),
        *(label + 2 + len(row.detail) for _, rows in boxes for row in rows),
        0,
    )
    lines: list[str] = []
    places: dict[End, int] = {}
    for node, rows in boxes:
        title = title_of(node)
        lines.append(f"┌ {title} {'─' * (inner - len(title))}┐")
        for row in rows:
            places[row.end] = len(lines)
            lines.append(f"│ {f'{row.label:{label}}  {row.detail}':{inner}} │")
        lines.append(f"└{'─' * (inner + 2)}┘")
    gutter = _gutter(len(lines), [(places[a], places[b]) for a, b in arcs_of(lab)])
    for place, arc in enumerate(gutter):
        if arc.startswith(("─", "┐", "┘", "┬", "┴", "┤", "┼")):
            lines[place] = f"{lines[place][:-1]}├"
    return "\n".join(f"{line}{arc}".rstrip() for line, arc in zip(lines, gutter, strict=True))


def _gutter(height: int, arcs: Sequence[tuple[int, int]]) -> list[str]:
    """Arcs between lines, each in a column that it has for itself where they overlap."""
    cells: dict[tuple[int, int], int] = {}
    columns: list[list[tuple[int, int]]] = []
    for near, far in sorted((tuple(sorted(arc)) for arc in arcs), key=lambda arc: arc[1] - arc[0]):
        column = _free_column(columns, near, far)
        for line in range(near, far + 1):
            joins = (_DOWN if line < far else 0) | (_UP if line > near else 0)
            _add(cells, line, 2 * column + 1, joins)
        for line in (near, far):
            _add(cells, line, 2 * column + 1, _LEFT)
            for place in range(2 * column + 1):
                _add(cells, line, place, _LEFT | _RIGHT)
    width = 2 * len(columns)
    return [
        "".join(_CHARACTERS[_clean(cells, line, place)] for place in range(width)).rstrip()
        for line in range(height)
    ]


def _free_column(columns: list[list[tuple[int, int]]], near: int, far: int) -> int:
    for number, taken in enumerate(columns):
        if all(far < first or last < near for first, last in taken):
            taken.append((near, far))
            return number
    columns.append([(near, far)])
    return len(columns) - 1


def _add(cells: dict[tuple[int, int], int], line: int, place: int, joins: int) -> None:
    cells[line, place] = cells.get((line, place), 0) | joins


def _clean(cells: Mapping[tuple[int, int], int], line: int, place: int) -> int:
    return cells.get((line, place), 0)
