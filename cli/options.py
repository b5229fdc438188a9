"""Options that many commands share, and what they complete to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from datapath.errors import Unsupported

Function = TypeVar("Function", bound=Callable[..., Any])

_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21


def require_privileges() -> None:
    """Raises Unsupported without root's capabilities over networks, namespaces and BPF."""
    status = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    if not (effective >> _CAP_NET_ADMIN & 1 and effective >> _CAP_SYS_ADMIN & 1):
        user = "root without CAP_SYS_ADMIN" if os.geteuid() == 0 else f"user {os.geteuid()}"
        raise Unsupported("root", f"this needs root, and you are {user}", remedy="run it with sudo")


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
        found = sorted(path.name for path in Path("/run/netns").iterdir())
    except OSError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


network = click.option(
    "--network",
    default="default",
    show_default=True,
    metavar="NAME",
    shell_complete=_complete_network,
    help="The network: its maps are pinned under /sys/fs/bpf/ebpfnet/NAME.",
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


def verbose(function: Function) -> Function:
    """-v: read by cli.main, where errors are printed."""
    return _verbose(function)
