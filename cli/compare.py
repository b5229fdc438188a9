"""compare: forwarding modes measured side by side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from cli import options, output
from datapath.errors import InvalidInput

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from datapath.compare import Ratio, Report, Result

_HEADINGS: Final = {
    "workload": "workload",
    "mode": "mode",
    "median": "median",
    "unit": "unit",
    "interval": "95 % interval",
    "to_bridge": "of bridge",
    "to_veth": "of veth",
}


def _complete_mode(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from datapath import modes

    known = [mode.name for mode in (*modes.BASELINES, *modes.EBPF)]
    return [
        CompletionItem(name) for name in (*known, *modes.ALIASES) if name.startswith(incomplete)
    ]


@click.command(
    epilog="""\b
Examples:
  ebpfnet compare                                a veth pair, a bridge and eBPF
  ebpfnet compare bridge routed tc ebpf xdp      each of them, in turn
  ebpfnet compare --workload ns_per_packet       what forwarding alone costs
  ebpfnet compare --rounds 20 --json run.json    narrower intervals, all samples kept
"""
)
@click.argument("modes", nargs=-1, metavar="[MODE]...", shell_complete=_complete_mode)
@click.option(
    "--workload",
    "workloads",
    metavar="W,...",
    help="What to measure: ns_per_packet, tcp_stream (iperf3), tcp_rr (sockperf).  [default: all]",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    metavar="N",
    help="How often each mode is measured.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 60),
    default=1,
    show_default=True,
    metavar="S",
    help="How long iperf3 and sockperf run each time.",
)
@click.option(
    "--cpu",
    type=click.IntRange(0),
    metavar="N",
    help="Where everything runs.  [default: the first that is allowed]",
)
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the whole report there: environment, samples, intervals.",
)
@options.output
@options.verbose
def compare(
    modes: tuple[str, ...],
    workloads: str | None,
    rounds: int,
    seconds: int,
    cpu: int | None,
    file: Path | None,
    form: str,
) -> None:
    """Measure forwarding modes side by side, on the same two endpoints.

    MODE is veth, bridge, routed, tc, tc-peer (also called ebpf) or xdp; by default veth, bridge and
    ebpf. They are built, measured and taken down in turn, round after round, on one CPU; settings
    that change the result are set alike for all, stated, and put back.
    """
    options.require_privileges()
    from datapath.compare import Effort, Experiment, run
    from datapath.compare.experiment import DEFAULT_MODES
    from datapath.compare.workloads import ALL

    names = [each.name for each in ALL] if workloads is None else workloads.split(",")
    experiment = Experiment(
        modes=modes or DEFAULT_MODES,
        workloads=tuple(name.strip() for name in names),
        rounds=rounds,
        cpu=cpu,
        effort=Effort(seconds=seconds),
    )
    if file:
        _check_writable(file)
    with _progress() as progress:
        report = run(experiment, progress)
    _state(report.environment)
    if file:
        _write(file, json.dumps(report.document(), indent=2) + "\n")
    if form != "table":
        output.document(form, report.document())
        return
    output.rows("table", [_row(report, result) for result in report.results], _HEADINGS)
    if summary := report.summary():
        click.echo(f"\n{summary}")


def _state(environment: Mapping[str, Any]) -> None:
    cpu = environment["measured_on_cpu"]
    click.echo(f"measured on CPU {cpu}, with these alike for every mode, and put back:", err=True)
    for name, value in environment["knobs"].items():
        click.echo(f"  {name}: {value}", err=True)
    click.echo(err=True)


def _row(report: Report, result: Result) -> dict[str, str]:
    several = len(result.samples) > 1
    cell = result.mode, result.workload
    return {
        "workload": f"{result.workload} {result.detail}".strip(),
        "mode": result.mode,
        "median": _digits(result.median),
        "unit": result.unit,
        "interval": f"{_digits(result.low)} to {_digits(result.high)}" if several else "",
        "to_bridge": _quotient(report.ratio(*cell, "bridge", result.detail), several),
        "to_veth": _quotient(report.ratio(*cell, "veth", result.detail), several),
    }


def _digits(value: float) -> str:
    """Three or four digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _quotient(ratio: Ratio | None, several: bool) -> str:
    if ratio is None:
        return ""
    interval = f" ({ratio.low:.2f} to {ratio.high:.2f})" if several else ""
    return f"{ratio.ratio:.2f}{interval}"


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar on stderr with what is being measured; on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done, total, doing: None
        return
    bar: ProgressBar[str] = click.progressbar(
        length=1, file=sys.stderr, item_show_func=lambda doing: doing
    )
    with bar:

        def show(done: int, total: int, doing: str) -> None:
            bar.length, bar.current_item = total, doing
            bar.make_step(done - bar.pos)
            bar.render_progress()

        yield show


def _target(file: Path) -> Path | None:
    """The regular file to put in place of what is there; None for a device or pipe."""
    return None if file.exists() and not file.is_file() else file.resolve()


def _check_writable(file: Path) -> None:
    """Raises InvalidInput: better before the measuring than after it."""
    target = _target(file)
    if not os.access(target.parent if target else file, os.W_OK):
        raise InvalidInput(
            f"cannot write {file}", remedy="give --json a file in a folder that can be written"
        )


def _write(file: Path, text: str) -> None:
    """All of it or nothing: whoever reads the file meanwhile sees the old one."""
    target = _target(file)
    if target is None:
        file.write_text(text)
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
