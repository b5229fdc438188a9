"""Options that many commands share, and what they complete to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from datapath.privileges import require as require_privileges

__all__ = [
    "complete_lab",
    "complete_netns",
    "complete_preset",
    "complete_standing",
    "is_given",
    "lab",
    "network",
    "output",
    "require_privileges",
    "verbose",
]

Function = TypeVar("Function", bound=Callable[..., Any])

_NETNS: Final = Path("/run/netns")


def _complete_network(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from datapath.errors import EbpfnetError
    from datapath.network import names

    try:
        return [CompletionItem(name) for name in names() if name.startswith(incomplete)]
    except EbpfnetError:
        return []


def complete_netns(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names in /run/netns."""
    try:
        found = sorted(path.name for path in _NETNS.iterdir())
    except OSError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_preset(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Labs of the package; where none is meant, files by the shell itself."""
    from datapath.labs.catalogue import PRESETS

    return _or_file(sorted(path.stem for path in PRESETS.glob("*.yaml")), incomplete)


def complete_lab(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Labs that are up, and as `complete_preset`."""
    from datapath.labs.catalogue import PRESETS, running

    up = [lab.name for lab in running()]
    return _or_file(sorted({*up, *(path.stem for path in PRESETS.glob("*.yaml"))}), incomplete)


def _or_file(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def complete_standing(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Labs that are up."""
    from datapath.labs.catalogue import running

    return [CompletionItem(lab.name) for lab in running() if lab.name.startswith(incomplete)]


network = click.option(
    "--network",
    default="default",
    show_default=True,
    metavar="NAME",
    shell_complete=_complete_network,
    help="The network: its maps are pinned under /sys/fs/bpf/ebpfnet/NAME.",
)
lab = click.option(
    "--lab",
    default="",
    metavar="LAB",
    shell_complete=complete_standing,
    help="What forwards in a lab that is up (see `ebpfnet lab`).",
)
output = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
_verbose = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    help="With an error, print the compiler's, the verifier's or netlink's own words whole.",
)


def is_given(name: str) -> bool:
    """Whether a parameter of the command that runs was written on its line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is ParameterSource.COMMANDLINE


def verbose(function: Function) -> Function:
    """-v: read by cli.main, where errors are printed."""
    return _verbose(function)
