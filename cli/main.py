"""The `ebpfnet` command: which commands there are, and how an error becomes a line and a code.

Commands are imported when they are called, so that `ebpfnet --help` costs no more than click.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from datapath.errors import EbpfnetError, InvalidInput
from datapath.version import VERSION

# Name: module under cli, and the line that `ebpfnet --help` shows.
COMMANDS: Final = {
    "attach": ("attach", "Join namespaces by eBPF, without a bridge."),
    "detach": ("attach", "Undo attach: put everything back as it was."),
    "reload": ("attach", "Replace a live network's programs; maps stay, no packet is lost."),
    "gc": ("attach", "Repair what was killed midway, drop what has vanished."),
    "status": ("status", "Networks with their modes, hooks, programs and endpoints."),
    "endpoint": ("endpoint", "Endpoint tables, read from the pinned maps."),
    "map": ("map", "BPF maps: list, dump, look up, watch, check."),
    "compare": ("compare", "Measure forwarding modes side by side."),
    "lab": ("lab", "Topologies to learn from, up and down with one command."),
    "show": ("show", "What is in a namespace: links, neighbours, FDB, routes."),
    "neigh": ("show", "Have a namespace forget its neighbours."),
    "link": ("show", "Set an interface promiscuous."),
    "capture": ("capture", "What passes several places at once, in time order."),
    "diagnose": ("diagnose", "Find out why one namespace cannot reach another."),
    "doctor": ("doctor", "Check every prerequisite of this machine."),
    "completion": ("completion", "Print shell completion for bash, zsh or fish."),
}
EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
# click >= 8.2 raises it where a group is called without a command; before, it printed the help.
_NO_COMMAND: Final = getattr(click.exceptions, "NoArgsIsHelpError", ())


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"cli.{COMMANDS[cmd_name][0]}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="ebpfnet")
def cli() -> None:
    """Join network namespaces by eBPF, compare that with a bridge, look into every map.

    \b
    ebpfnet attach               make ns0 and ns1, joined without a bridge
    ebpfnet endpoint list        who is on the network, what they sent
    ebpfnet compare              a veth pair, a bridge and eBPF, measured in turn
    ebpfnet detach               all gone
    """


def main() -> None:
    """Run the command line; never returns.

    Where nobody reads stdout any more (`| head`), click ends it quietly with exit code 1.
    """
    verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        code = cli.main(prog_name="ebpfnet", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (click.Abort, KeyboardInterrupt) as stop:
        interrupt = stop.__cause__ or stop
        undone = "" if hasattr(interrupt, "__notes__") else "; what was begun is undone"
        _complain(f"interrupted{undone}", interrupt)
        code = EXIT_INTERRUPTED
    except _NO_COMMAND as error:
        click.echo(error.format_message())
        code = 0
    except click.UsageError as error:
        # An option without its value knows no context.
        typed = [word for word in sys.argv[1:2] if word in COMMANDS]
        path = error.ctx.command_path if error.ctx else " ".join(["ebpfnet", *typed])
        _complain(f"{error.format_message().rstrip('.')}; see `{path} --help`")
        code = EXIT_USAGE
    except click.ClickException as error:
        _complain(error.format_message())
        code = EXIT_FAILURE
    except EbpfnetError as error:
        _complain(str(error), error)
        if verbose and error.detail:
            click.echo(error.detail, err=True)
        code = EXIT_USAGE if isinstance(error, InvalidInput) else EXIT_FAILURE
    except Exception as error:  # a bug: say so in a line, and all of it to those who ask
        if verbose:
            raise
        _complain(f"internal error: {type(error).__name__}: {error}; see all with --verbose", error)
        code = EXIT_FAILURE
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, error: BaseException | None = None) -> None:
    """One line on stderr, whatever the message is made of, and one for each note on the error."""
    for text in (message, *getattr(error, "__notes__", ())):
        click.echo(f"ebpfnet: {' '.join(text.split())}", err=True)
