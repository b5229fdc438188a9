"""completion: the shell's own script, made by click."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli import main


@click.command(
    epilog="""\b
Examples:
  eval "$(ebpfnet completion bash)"
  ebpfnet completion fish > ~/.config/fish/completions/ebpfnet.fish
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion for bash, zsh or fish."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(kind(main.cli, {}, "ebpfnet", "_EBPFNET_COMPLETE").source())
