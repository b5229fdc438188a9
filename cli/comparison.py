"""What comparisons look like in a terminal: tables, verdicts, two runs side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from cli import bars, output

if TYPE_CHECKING:
    from datapath.compare import Ratio, Report, Result
    from datapath.compare.environment import Difference
    from datapath.compare.repeating import Held
    from datapath.compare.sides import Sides

_HEADINGS: Final = {
    "workload": "workload",
    "mode": "mode",
    "median": "median",
    "unit": "unit",
    "interval": "95 % interval",
    "to_bridge": "of bridge",
    "to_veth": "of veth",
    "lost": "lost",
}
_WHERE_THERE_ARE_SOME: Final = ("to_bridge", "to_veth", "lost")


@dataclass(frozen=True, slots=True)
class View:
    """How comparisons are shown: as a table, JSON or YAML; a table with `details` or without."""

    form: str
    details: bool

    def report(self, report: Report) -> None:
        """A report on stdout; what it was measured under on stderr, where that is a table."""
        if self.form != "table":
            output.document(self.form, report.document())
            return
        _conditions(report)
        click.echo(self.table(report, sys.stdout))
        if sentences := _verdicts(report):
            click.echo("\n" + "\n".join(sentences))
        if summary := report.summary():
            click.echo(f"\n{summary}")

    def repeated(self, report: Report, held: Sequence[Held]) -> None:
        """A repetition on stdout, and what became of the first run's verdicts."""
        found = [asdict(each) for each in held]
        if self.form != "table":
            output.document(self.form, report.document() | {"held": found})
            return
        self.report(report)
        click.echo()
        output.rows(self.form, found)

    def table(self, report: Report, stream: TextIO) -> str:
        """Figures with their intervals and their ratios to the references.

        And bars, where the terminal is wide enough; the encoding of `stream` decides of what.
        """
        results = [result for result in report.results if self.details or not result.detail]
        rows = [_row(report, result) for result in results]
        headings = {
            key: title
            for key, title in _HEADINGS.items()
            if key not in _WHERE_THERE_ARE_SOME or any(row[key] for row in rows)
        }
        narrow = output.table(rows, headings)
        if not (room := bars.room(max(map(len, narrow.splitlines())))):
            return narrow
        style = bars.style(stream)
        for _, group in groupby(zip(results, rows, strict=True), key=_same_scale):
            alike, of_them = zip(*group, strict=True)
            drawn = bars.column([(r.low, r.median, r.high) for r in alike], room, style)
            for row, bar in zip(of_them, drawn, strict=True):
                row["bar"] = bar
        return output.table(rows, {**headings, "bar": ""})

    def sides(self, names: tuple[str, str], sides: Sides) -> None:
        """Two runs on stdout; what their machines do not have in common on stderr."""
        from datapath.compare.figures import digits

        if self.form != "table":
            output.document(self.form, asdict(sides))
            return
        first, second = names
        output.rows(
            "table",
            [
                {
                    "workload": f"{each.workload} {each.detail}".strip(),
                    "mode": each.mode,
                    first: digits(each.first),
                    second: digits(each.second),
                    "unit": each.unit,
                    "second of first": f"{each.quotient:.2f}" if each.quotient else "",
                }
                for each in sides.figures
                if self.details or not each.detail
            ],
            empty="these runs have no figure in common",
        )
        if sides.relations:
            click.echo("\n" + "\n".join(each.sentence for each in sides.relations))
            click.echo(
                "\nOnly how modes relate within a run is judged: figures of two runs also carry "
                "all that changed between them."
            )
        self.differences(sides.differences)

    def differences(self, differences: Sequence[Difference]) -> None:
        """What two runs' environments do not have in common, on stderr."""
        click.echo(f"\nthe runs differ in {len(differences) or 'nothing'}", err=True)
        for each in differences:
            click.echo(f"  {each.name}: {each.first} / {each.second}", err=True)

    def available(self, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Modes and workloads by kind, and whether there are all that they need."""
        if self.form != "table":
            output.document(self.form, found)
            return
        rows = [
            {
                "kind": kind.removesuffix("s"),
                **each,
                "available": "yes" if each["available"] else "no",
            }
            for kind, listed in found.items()
            for each in listed
        ]
        output.rows("table", rows)


def _conditions(report: Report) -> None:
    environment = report.environment
    cpu, seed = environment.get("measured_on_cpu"), report.experiment.get("seed")
    click.echo(f"measured on CPU {cpu}, with these alike for every mode, and put back:", err=True)
    for name, value in environment.get("knobs", {}).items():
        click.echo(f"  {name}: {value}", err=True)
    if tables := environment.get("legacy_tables"):
        names = ", ".join(map(str, tables))
        click.echo(f"  tables of legacy iptables, which all visit: {names}", err=True)
    click.echo(f"{report.ended or f'{report.rounds} rounds so far'}; seed {seed}", err=True)
    for gap in report.gaps:
        click.echo(f"not measured: {gap.workload} by {gap.mode}: {gap.reason}", err=True)
    for cause in environment.get("noise", {}).get("causes", ()):
        click.echo(f"may have disturbed: {cause}", err=True)
    click.echo(err=True)


def _row(report: Report, result: Result) -> dict[str, Any]:
    from datapath.compare.figures import digits, interval

    several = len(result.samples) > 1
    cell = result.mode, result.workload
    return {
        "workload": f"{result.workload} {result.detail}".strip(),
        "mode": result.mode,
        "median": digits(result.median),
        "unit": result.unit,
        "interval": interval(result.low, result.high) if several else "",
        "to_bridge": _quotient(report.ratio(*cell, "bridge", result.detail), several),
        "to_veth": _quotient(report.ratio(*cell, "veth", result.detail), several),
        "lost": f"{100 * result.lost:.2f} % (!)" if result.lossy else "",
    }


def _same_scale(each: tuple[Result, dict[str, Any]]) -> tuple[str, str]:
    return each[0].workload, each[0].detail


def _quotient(ratio: Ratio | None, several: bool) -> str:
    if ratio is None:
        return ""
    interval = f" ({ratio.low:.2f} to {ratio.high:.2f})" if several else ""
    return f"{ratio.ratio:.2f}{interval}"


def _verdicts(report: Report) -> list[str]:
    """Sentences about the references, where they were measured; all are in the document."""
    from datapath.compare.report import REFERENCES

    about = [each for each in report.verdicts if {each.mode, each.to} & {*REFERENCES}]
    return [each.sentence for each in about or report.verdicts]
