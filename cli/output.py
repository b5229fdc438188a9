"""Rendering: the same rows as a table, JSON or YAML, on stdout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click


def rows(
    form: str,
    records: Sequence[Mapping[str, Any]],
    headings: Mapping[str, str] | None = None,
    *,
    empty: str = "",
) -> None:
    """Print records; `headings` maps their keys, in order, to column titles of the table.

    An empty table prints `empty` on stderr instead; JSON and YAML print an empty list.
    """
    if form != "table":
        document(form, list(records))
        return
    if not records:
        if empty:
            click.echo(empty, err=True)
        return
    click.echo(table(records, headings or {key: key for key in records[0]}))


def table(records: Sequence[Mapping[str, Any]], headings: Mapping[str, str]) -> str:
    """Records as a table; `headings` as for `rows`."""
    from tabulate import tabulate

    # Numbers are those of the records: a namespace may well be called 1e5.
    numeric = [
        all(isinstance(record.get(key), int | float | None) for record in records)
        for key in headings
    ]
    return tabulate(
        [[_cell(record.get(key)) for key in headings] for record in records],
        headers=list(headings.values()),
        tablefmt="plain",
        disable_numparse=True,
        colalign=["right" if is_number else "left" for is_number in numeric],
    )


def document(form: str, value: Any) -> None:
    """Print any value as JSON or YAML."""
    if form == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(value, indent=2))


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return str(value)
