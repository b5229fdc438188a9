"""lab: topologies that are declared, brought up, checked and taken down."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cli import options, output, topology
from datapath.errors import Conflict, EbpfnetError, InvalidInput

if TYPE_CHECKING:
    from datapath.labs.model import Lab


def _complete_node(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from datapath.labs.catalogue import running
    from datapath.labs.planning import netns_name

    labs = running()
    nodes = Counter(node for lab in labs for node in lab.nodes)
    alone = [node for node, times in nodes.items() if times == 1]
    full = [netns_name(lab.name, node) for lab in labs for node in lab.nodes if node != "host"]
    return [CompletionItem(name) for name in (*alone, *full) if name.startswith(incomplete)]


_standing = click.argument(
    "name", required=False, default="", metavar="[LAB]", shell_complete=options.complete_standing
)


@click.group(
    epilog="""\b
Examples:
  ebpfnet lab list
  ebpfnet lab up bridge
  ebpfnet lab exec ns1 -- ping -c 3 10.1.0.2
  ebpfnet lab check
  ebpfnet lab down bridge
"""
)
def lab() -> None:
    """Topologies that are declared in a few lines of YAML: up and down with one command each.

    The presets are what people type to learn container networking. Copy one, change it, and give
    the file in place of the name.
    """


@lab.command(
    "list",
    epilog="""\b
Examples:
  ebpfnet lab list
  ebpfnet lab list -o json
""",
)
@options.output
@options.verbose
def list_labs(form: str) -> None:
    """The presets, and whether this machine can make them; what is up."""
    options.require_privileges()
    from datapath.labs import catalogue, needs, switching

    up = {each.name: each for each in catalogue.running()}
    labs = {each.name: each for each in catalogue.presets()}
    rows = []
    for each in (labs | up).values():
        lacking = needs.missing(each)
        rows.append(
            {
                "name": each.name,
                "title": each.title,
                "available": not lacking,
                "reason": "; ".join(lacking),
                "up": each.name in up,
                "switched": each.name in up and bool(switching.joined(each)),
            }
        )
    if form == "table":
        rows = [{**row, "state": _state(row)} for row in rows]
    output.rows(form, rows, {"name": "lab", "title": "title", "state": "state"})


def _state(row: Mapping[str, Any]) -> str:
    if row["up"]:
        return "up, joined by eBPF" if row["switched"] else "up"
    return row["reason"] or "available"


@lab.command(
    epilog="""\b
Examples:
  ebpfnet lab up nat
  ebpfnet lab up ./mine.yaml
"""
)
@click.argument("source", metavar="LAB|FILE.yaml", shell_complete=options.complete_preset)
@options.verbose
def up(source: str) -> None:
    """Build a lab; all of it, or nothing where something fails.

    What this machine cannot make is said before anything is built. Several labs may be up side by
    side. Each node is the namespace LAB-NODE.
    """
    options.require_privileges()
    from cli.attach import Progress
    from datapath.labs import catalogue, lifecycle

    declared = catalogue.declared(source)
    lifecycle.up(declared, Progress("building"))
    few = len(declared.nodes) <= topology.MANY
    nodes = ", ".join(declared.nodes) if few else f"{len(declared.nodes)} nodes"
    click.echo(f"lab {declared.name} is up: {nodes}", err=True)
    click.echo(f"see `ebpfnet lab show {declared.name}` for what to try", err=True)


@lab.command(
    epilog="""\b
Examples:
  ebpfnet lab show vxlan
  ebpfnet lab show vxlan --commands     the same lab, typed by hand
  ebpfnet lab show vxlan --yaml > mine.yaml
"""
)
@click.argument(
    "source", metavar="[LAB|FILE.yaml]", default="", shell_complete=options.complete_lab
)
@click.option("--commands", "as_commands", is_flag=True, help="What a person would type for it.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Its declaration, to copy and change.")
@options.output
@options.verbose
def show(source: str, as_commands: bool, as_yaml: bool, form: str) -> None:
    """What a lab teaches, what to try in it, what it is made of, and what eBPF joins there now."""
    from datapath.labs import planning

    shown = _meant(source)
    if as_yaml:
        click.echo(shown.text, nl=False)
    elif as_commands:
        for command in planning.commands(shown):
            click.echo(command)
    elif form != "table":
        output.document(form, topology.document(shown))
    else:
        topology.tell(shown)


def _meant(source: str) -> Lab:
    """The lab that is up under this name, else a preset or file; the only one up for ""."""
    from datapath.labs import catalogue

    up = {each.name: each for each in catalogue.running()}
    if not source:
        return catalogue.standing("")
    return up.get(source) or catalogue.declared(source)


@lab.command(
    epilog="""\b
Examples:
  ebpfnet lab draw flannel-vxlan
  ebpfnet lab draw flannel-vxlan --svg lab.svg
"""
)
@click.argument(
    "source", metavar="[LAB|FILE.yaml]", default="", shell_complete=options.complete_lab
)
@click.option(
    "--svg",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write a picture there instead.",
)
@options.verbose
def draw(source: str, file: Path | None) -> None:
    """Draw the topology, in the terminal or as SVG."""
    from datapath.labs import drawing, picture

    shown = _meant(source)
    if file is None:
        click.echo(drawing.draw(shown))
        return
    try:
        file.write_text(picture.draw(shown), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror}") from error


@lab.command(
    epilog="""\b
Examples:
  ebpfnet lab check             the one that is up
  ebpfnet lab check nat -o json
"""
)
@_standing
@options.output
@options.verbose
def check(name: str, form: str) -> None:
    """Try who reaches whom, and compare that with what the lab declares.

    Prints round-trip times, the least of three. Exit code 1 where something is not as declared.
    """
    options.require_privileges()
    from datapath.labs import catalogue, checks

    checked = catalogue.standing(name)
    outcome = checks.check(checked)
    if form != "table":
        output.document(form, [topology.cell_document(cell) for cell in outcome.cells])
    else:
        topology.print_matrix(outcome, checked.targets)
    if outcome.differing:
        first = outcome.differing[0]
        does = "does not reach" if first.expected else "reaches"
        raise Conflict(
            f"lab {checked.name} is not as declared in {len(outcome.differing)} of "
            f"{len(outcome.cells)} tries: {first.source} {does} {topology.name(first.target)}",
            remedy="see what has changed, or bring it up anew",
        )


@lab.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  ebpfnet lab exec ns1 -- ping -c 3 10.1.0.2
  ebpfnet lab exec nat-router -- nft list ruleset
  ebpfnet lab exec ns1 -- bash
""",
)
@click.argument("node", metavar="NODE", shell_complete=_complete_node)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@options.verbose
def execute(node: str, command: Sequence[str]) -> None:
    """Run a command in a node's network namespace, and end with its exit code.

    NODE is a node's name, or LAB-NODE where several labs have one of that name.
    """
    options.require_privileges()
    from datapath.kernel.net import netns
    from datapath.labs import catalogue

    path = catalogue.namespace_of(node)

    def become() -> None:
        netns.show_own_files(path.name)
        # The thread that is inside becomes the whole process: signals and exit code are its own.
        os.execvp(command[0], list(command))  # noqa: S606 a list of arguments, no shell

    try:
        netns.run_inside(path, become)
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no command {command[0]}") from error
    except PermissionError as error:
        raise InvalidInput(f"{command[0]} cannot be run: {error.strerror}") from error


@lab.command(
    epilog="""\b
Examples:
  ebpfnet lab down bridge
  ebpfnet lab down --all
"""
)
@_standing
@click.option("--all", "everything", is_flag=True, help="Every lab that is up.")
@options.verbose
def down(name: str, everything: bool) -> None:
    """Take a lab down: everything that it made goes. Without LAB, the one that is up."""
    options.require_privileges()
    from datapath.labs import catalogue, lifecycle

    if everything and name:
        raise click.UsageError("--all takes no LAB")
    one = catalogue.name_of(name) if name else ""
    names = catalogue.journalled() if everything else [one or catalogue.standing("").name]
    if not names:
        click.echo("no lab is up", err=True)
    errors: list[EbpfnetError] = []
    for each in names:
        try:
            lifecycle.down(each)
            click.echo(f"lab {each} is down", err=True)
        except EbpfnetError as error:  # whatever it is, the others are to go
            errors.append(error)
    if errors:
        for other in errors[1:]:
            errors[0].add_note(str(other))
        raise errors[0]
