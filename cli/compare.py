"""compare: forwarding modes measured side by side, again, or set beside an earlier run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from cli import options
from cli.comparison import View
from cli.progress import Live
from cli.saving import Outputs
from datapath.errors import EbpfnetError, InvalidInput

if TYPE_CHECKING:
    from datapath.compare import Experiment, Report

_YAML: Final = (".yaml", ".yml")
_FILE: Final = click.Path(dir_okay=False, path_type=Path)


def _complete_mode(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from datapath import modes

    names = [*(mode.name for mode in (*modes.BASELINES, *modes.EBPF)), *modes.ALIASES]
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def _complete_workload(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from datapath.compare.workloads import ALL

    before, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(f"{before}{comma}{each.name}") for each in ALL if each.name.startswith(last)
    ]


@click.command(
    epilog="""\b
Examples:
  ebpfnet compare                                a veth pair, a bridge and eBPF
  ebpfnet compare bridge routed tc:clsact xdp    each of them, in turn
  ebpfnet compare --workload ns_per_packet,tcp_crr
  ebpfnet compare --mode mine=prog.c:handle      your own program beside them
  ebpfnet compare --lab docker                   its bridge, and eBPF in its place
  ebpfnet compare --json run.json --report run.html    every sample, and a page to show
  ebpfnet compare --example > mine.yaml; ebpfnet compare mine.yaml --json run.json
  ebpfnet compare --resume run.json              go on after ctrl-C
  ebpfnet compare --repeat run.json              measure it again: which verdicts hold?
  ebpfnet compare --check xdp                    against itself: is this machine quiet enough?
  ebpfnet compare --from a.json b.json           two kernels or machines side by side
"""
)
@click.argument("names", nargs=-1, metavar="[MODE]...|[FILE.yaml]", shell_complete=_complete_mode)
@click.option(
    "--mode",
    "own",
    multiple=True,
    metavar="NAME=FILE.c:FUNCTION",
    help="A mode of your own beside them (see bpf/example.c); may be given again.",
)
@click.option(
    "--workload",
    "workloads",
    multiple=True,
    metavar="W,...",
    shell_complete=_complete_workload,
    help="What to measure; see --list.  [default: ns_per_packet,tcp_stream,tcp_rr]",
)
@click.option(
    "--lab",
    metavar="LAB|FILE.yaml",
    shell_complete=options.complete_preset,
    help="Between nodes of that lab: as it is `declared`, and switched to eBPF modes.",
)
@click.option(
    "--between",
    nargs=2,
    metavar="SENDER RECEIVER",
    help="Which nodes of the lab.  [default: two that can be switched, or that reach each other]",
)
@click.option(
    "--precision",
    type=click.FloatRange(0.1, 100),
    metavar="P",
    help="Go on until every ratio is known to +-P percent.  [default: 5]",
)
@click.option(
    "--max-time",
    type=click.FloatRange(1),
    metavar="S",
    help="But no longer than S seconds.  [default: 58, more for more than 9 cells]",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Measure each mode N times, however long that takes.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 60),
    metavar="S",
    help="How long iperf3 and sockperf run each time.  [default: 1]",
)
@click.option(
    "--cpu",
    type=click.IntRange(0),
    metavar="N",
    help="Where everything runs.  [default: the first that is allowed]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, (1 << 32) - 1),
    metavar="N",
    help="Of the modes' order and the intervals.  [default: a fresh one, stated]",
)
@click.option("--details", is_flag=True, help="Percentiles and costs of parts in the table, too.")
@click.option("--json", "file", type=_FILE, metavar="FILE", help="Write the whole report there.")
@click.option("--report", "page", type=_FILE, metavar="FILE.html", help="And as a page to show.")
@click.option("--plot", type=_FILE, metavar="FILE.png|svg", help="And as a figure for a paper.")
@click.option("--check", is_flag=True, help="One mode against itself: the noise of this machine.")
@click.option("--repeat", type=_FILE, metavar="RUN.json", help="Run that again; what still holds?")
@click.option("--resume", type=_FILE, metavar="RUN.json", help="Go on with what was interrupted.")
@click.option(
    "--from",
    "earlier",
    type=_FILE,
    metavar="A.json [B.json]",
    help="Measure nothing: show that run, or two side by side.",
)
@click.option("--list", "listing", is_flag=True, help="Which modes and workloads there are here.")
@click.option("--example", is_flag=True, help="Print an experiment file, with comments.")
@options.output
@options.verbose
def compare(
    names: tuple[str, ...],
    form: str,
    details: bool,
    file: Path | None,
    page: Path | None,
    plot: Path | None,
    check: bool,
    repeat: Path | None,
    resume: Path | None,
    earlier: Path | None,
    listing: bool,
    example: bool,
    **declared: Any,
) -> None:
    """Measure forwarding modes side by side, on the same two endpoints.

    MODE is one of `ebpfnet compare --list`, with options behind a colon; by default veth, bridge
    and ebpf. They are built, measured and taken down in turn, in an order that is left to chance,
    round after round, on one CPU; settings that change the result are set alike for all, stated,
    and put back. Interrupted, it shows what there is.
    """
    if len([each for each in (check, repeat, resume, earlier, listing, example) if each]) > 1:
        raise click.UsageError(
            "--check, --repeat, --resume, --from, --list and --example exclude each other"
        )
    view, outputs = View(form, details), Outputs(file, page, plot)
    if example:
        from datapath.compare import files

        click.echo(files.EXAMPLE.read_text(), nl=False)
        return
    if earlier:
        _show(earlier, names, view, outputs)
        return
    options.require_privileges()
    if listing:
        _list(view)
    elif resume:
        _go_on(resume, names, declared, view, outputs)
    elif repeat:
        _again(repeat, names, declared, view, outputs)
    else:
        _begin(names, declared, check, view, outputs)


def _list(view: View) -> None:
    from datapath import modes
    from datapath.compare import workloads

    found = {
        kind: [
            {"name": each.name, "available": each.available, "reason": each.reason}
            for each in listed
        ]
        for kind, listed in (("modes", modes.available()), ("workloads", workloads.available()))
    }
    view.available(found)


def _show(first: Path, others: tuple[str, ...], view: View, outputs: Outputs) -> None:
    from datapath.compare import files
    from datapath.compare.sides import side_by_side

    if len(others) > 1:
        raise click.UsageError("--from sets two runs side by side, no more")
    report = files.load_report(first)
    if others:
        second = Path(others[0])
        sides = side_by_side(report, files.load_report(second))
        view.sides((str(first), str(second)), sides)
    else:
        outputs.check()
        outputs.write(report)
        view.report(report)


def _begin(
    names: tuple[str, ...], declared: dict[str, Any], check: bool, view: View, outputs: Outputs
) -> None:
    from datapath import modes
    from datapath.compare import Experiment, files
    from datapath.compare.declared import DECLARED

    if [name for name in names if name.endswith(_YAML)]:
        if len(names) > 1:
            raise click.UsageError("an experiment file stands alone: it names the modes")
        experiment = files.load_experiment(Path(names[0]))
    elif names:
        experiment = Experiment(modes=names)
    elif check:
        experiment = Experiment(modes=(DECLARED if declared["lab"] else modes.DEFAULT,))
    else:
        experiment = Experiment()
    experiment = _with(replace(experiment, check=check or experiment.check), declared)
    if declared["lab"]:
        from datapath.labs import catalogue

        lab = catalogue.declared(declared["lab"])
        experiment = experiment.in_lab(lab, declared["between"] or ())
    elif declared["between"]:
        raise click.UsageError("--between names nodes of a lab: give --lab")
    report = _run(experiment, view, outputs)
    view.report(report)
    if experiment.check:
        _judge(report)


def _again(
    repeat: Path, names: tuple[str, ...], declared: dict[str, Any], view: View, outputs: Outputs
) -> None:
    from datapath.compare import files, repeating
    from datapath.compare.environment import differences

    if names or declared["lab"] or declared["between"]:
        raise click.UsageError("--repeat takes modes and lab from the file")
    before, experiment = files.load_to_repeat(repeat)
    report = _run(_with(experiment, declared), view, outputs)
    held = repeating.held(before, report)
    view.repeated(report, held)
    view.differences(differences(before.environment, report.environment))
    lost = [each for each in held if each.holds != "yes"]
    if lost:
        raise EbpfnetError(
            f"{len(lost)} of {len(held)} verdicts do not hold",
            remedy="see which, and whether this machine is quiet: ebpfnet compare --check",
        )


def _go_on(
    resume: Path, names: tuple[str, ...], declared: dict[str, Any], view: View, outputs: Outputs
) -> None:
    from datapath.compare import files

    if names or [each for each in declared.values() if each not in (None, ())]:
        raise click.UsageError("--resume takes the experiment from the file")
    begun = files.partial(resume)
    if not begun.exists():
        raise InvalidInput(
            f"there is nothing to go on with: no {begun}", remedy="name the file that --json named"
        )
    report, experiment = files.load_to_repeat(begun)
    outputs = replace(outputs, json=outputs.json or resume)
    view.report(_run(experiment, view, outputs, report))
    begun.unlink(missing_ok=True)


def _with(experiment: Experiment, declared: dict[str, Any]) -> Experiment:
    """The experiment with what the command line says otherwise."""
    from datapath.compare.experiment import placed

    changes = {
        name: declared[name]
        for name in ("precision", "max_time", "rounds", "cpu", "seed")
        if declared[name] is not None
    }
    if declared["seconds"] is not None:
        changes["effort"] = replace(experiment.effort, seconds=declared["seconds"])
    if declared["workloads"]:
        changes["workloads"] = tuple(name for text in declared["workloads"] for name in split(text))
    named = (*experiment.modes, *declared["own"])
    return replace(experiment, modes=tuple(placed(each, Path.cwd()) for each in named), **changes)


def split(text: str) -> list[str]:
    """Workloads in a list with commas; such behind a colon part a workload's options.

    `ns_per_packet:size=64,flows=9,tcp_rr` is two.
    """
    from datapath.compare.workloads import ALL

    known = {each.name for each in ALL}
    found: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if found and ":" in found[-1] and part.partition(":")[0] not in known:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _run(
    experiment: Experiment, view: View, outputs: Outputs, begun: Report | None = None
) -> Report:
    """Measure, and write what is to be written; interrupted, show what there is."""
    from datapath.compare import run

    outputs.check()
    live = Live(lambda report: view.table(report, sys.stderr), outputs.keep)
    try:
        with live:
            report = run(experiment, live, begun)
    except (KeyboardInterrupt, EbpfnetError):
        if live.report:
            view.report(live.report)
            if outputs.json:
                click.echo(f"go on by: ebpfnet compare --resume {outputs.json}", err=True)
        raise
    outputs.write(report)
    return report


def _judge(report: Report) -> None:
    """Raises EbpfnetError where a mode differs from itself, or nothing can be said of that."""
    from datapath.compare.report import NO_DIFFERENCE

    causes = "; ".join(report.environment["noise"]["causes"]) or "nothing that was seen"
    if report.rounds == 1:
        raise EbpfnetError(
            "the check shows nothing: a single round has no interval", remedy="give it more time"
        )
    if wrong := [each for each in report.verdicts if each.verdict != NO_DIFFERENCE]:
        raise EbpfnetError(
            f"the check failed: {'; '.join(each.sentence for each in wrong)}",
            remedy=f"what may have disturbed: {causes}",
        )
    widest = max(report.verdicts, key=lambda verdict: verdict.high)
    click.echo(
        "the check passed: no difference between a mode and itself, and none would be shown "
        f"of {widest.workload} that is within {widest.low:.2f} to {widest.high:.2f}",
        err=True,
    )
