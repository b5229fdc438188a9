"""A lab in words and as a document, and the matrix of who reaches whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from cli import output

if TYPE_CHECKING:
    from datapath.labs.checks import Cell, Outcome
    from datapath.labs.model import Lab, Target

MANY: Final = 12  # nodes; what has more is told in fewer words


def document(shown: Lab) -> dict[str, Any]:
    """All that it declares, and the networks that join its nodes by eBPF."""
    return {
        "name": shown.name,
        "title": shown.title,
        "teaches": shown.teaches,
        "try": [{"run": each.run, "see": each.see} for each in shown.tries],
        "nodes": {
            node.name: {
                interface.name: {
                    "type": interface.kind,
                    "addresses": [str(address) for address in interface.addresses],
                }
                for interface in node.interfaces.values()
            }
            for node in shown.nodes.values()
        },
        "links": [[str(end) for end in link.ends] for link in shown.links],
        "joined": _joined(shown),
    }


def _joined(shown: Lab) -> list[dict[str, Any]]:
    """Networks that join nodes of a lab, where it is up; with `error` for one that is half made."""
    from datapath import status
    from datapath.labs import switching

    if not _is_up(shown):
        return []
    told = ("network", "mode", "hook", "otherwise", "error")
    return [
        {
            "node": group.node,
            "members": list(group.members),
            **{key: value for key, value in status.of(group.network).items() if key in told},
        }
        for group in switching.joined(shown)
    ]


def _is_up(shown: Lab) -> bool:
    from datapath.labs import catalogue

    return shown.name in {each.name for each in catalogue.running()}


def tell(shown: Lab) -> None:
    """What it teaches, how it looks, what joins it, what to try."""
    from datapath.labs.drawing import draw

    click.echo(f"{shown.name}: {shown.title}\n")
    if shown.teaches:
        click.echo(f"{shown.teaches}\n")
    click.echo(draw(shown))
    networks = _joined(shown)
    if shown.ebpf and _is_up(shown) and not networks:
        click.echo("\nDeclared to be joined by eBPF, which it is not now:")
        click.echo(f"  ebpfnet attach --lab {shown.name}")
    for network in networks:
        way = network.get("error") or f"mode {network['mode']} at {network['hook']}"
        click.echo(f"\nJoined by eBPF at {network['node']}: {', '.join(network['members'])}")
        click.echo(f"  network {network['network']}, {way}")
    if shown.tries:
        click.echo("\nTry:")
    for each in shown.tries:
        click.echo(f"  {each.run}")
        if each.see:
            click.echo(f"      {each.see}")


def cell_document(cell: Cell) -> dict[str, Any]:
    """One try of the matrix; the round-trip time in milliseconds."""
    return {
        "source": cell.source,
        "target": str(cell.target),
        "node": cell.target.node,
        "expected": cell.expected,
        "reached": cell.round_trip is not None,
        "round_trip_ms": None if cell.round_trip is None else round(cell.round_trip * 1e3, 4),
        "as_declared": cell.as_declared,
    }


def name(target: Target) -> str:
    """Who is to be reached, and at which address or port."""
    return f"{target.node} {target}".strip()


def print_matrix(outcome: Outcome, targets: Sequence[Target]) -> None:
    """Targets down, in this order, sources across; what is not as declared has a mark."""
    sources = list(dict.fromkeys(cell.source for cell in outcome.cells))
    if len(sources) > MANY:
        for cell in outcome.differing:
            click.echo(f"{cell.source} -> {name(cell.target)}: {_entry(cell)}")
        reached = sum(cell.round_trip is not None for cell in outcome.cells)
        click.echo(
            f"{reached} of {len(outcome.cells)} tries got an answer, "
            f"{len(outcome.cells) - len(outcome.differing)} as declared"
        )
    else:
        rows = {target: {"": name(target)} for target in targets}
        for cell in outcome.cells:
            rows[cell.target][cell.source] = _entry(cell)
        headings = {"": "to", **{source: f"from {source}" for source in sources}}
        output.rows(
            "table",
            [row for row in rows.values() if len(row) > 1],
            headings,
            empty="there is nobody to be reached",
        )
    if len(outcome.cells) < outcome.possible:
        click.echo(f"tried {len(outcome.cells)} of {outcome.possible} pairs", err=True)


def _entry(cell: Cell) -> str:
    answer = "no" if cell.round_trip is None else f"{cell.round_trip * 1e3:.3f} ms"
    return answer if cell.as_declared else f"{answer} (!)"
