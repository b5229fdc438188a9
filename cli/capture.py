"""capture: what passes several places at once, in one order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.show import complete_node
from datapath.errors import InvalidInput

if TYPE_CHECKING:
    from datapath.capture import Frame, Place


@click.command(
    epilog="""\b
Examples:
  ebpfnet capture ns0
  ebpfnet capture ns0 veth0 "tcp port 80"
  ebpfnet capture ns0 ns1 host:br0 --filter "icmp or arp"
  ebpfnet capture ns0:veth0 host:h-ns1 -w both.pcapng --count 20
"""
)
@click.argument(
    "words",
    nargs=-1,
    required=True,
    metavar="NODE[:IFNAME]... [FILTER]",
    shell_complete=complete_node,
)
@click.option(
    "-f",
    "--filter",
    "expression",
    default="",
    metavar="EXPR",
    help="The same as FILTER.",
)
@click.option(
    "-w",
    "--write",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write frames there as pcapng, for Wireshark; each place is an interface.",
)
@click.option("-c", "--count", type=click.IntRange(1), help="Stop after so many frames.")
@options.verbose
def capture(words: tuple[str, ...], expression: str, file: Path | None, count: int | None) -> None:
    """Show what passes, at several places at once, in the order of time.

    NODE is a namespace by name, PID or path, or "host" for this one; IFNAME may be left out where
    there is only one, and may follow as a word of its own. FILTER is as in pcap-filter(7). Where
    frames skip a host end (modes tc-peer and xdp), that is said, and the namespace's own interface
    is watched too. Ends with ctrl-C.
    """
    options.require_privileges()
    from datapath import capture as capturing
    from datapath.capture.pcapng import Writer

    chosen, last = capturing.places(words)
    if last and expression:
        raise click.UsageError(f"two filters: {last!r} and {expression!r}")
    expression = expression or last
    for place in list(chosen):
        if found := capturing.advice(place):
            click.echo(f"note: {found[0]}", err=True)
            if found[1] not in chosen:
                chosen.append(found[1])
    seen = 0
    with suppress(KeyboardInterrupt), ExitStack() as stack:  # ctrl-C is how a capture ends
        writer = None
        if file:
            try:
                opened = stack.enter_context(file.open("wb"))
            except OSError as error:
                raise InvalidInput(f"cannot write {file}: {error.strerror}") from error
            writer = Writer(opened, [place.label for place in chosen])
        frames = stack.enter_context(capturing.capture(chosen, expression))
        click.echo(f"capturing at {', '.join(place.label for place in chosen)}", err=True)
        for frame in itertools.islice(frames, count):
            seen += 1
            if writer:
                writer.write(frame)
            click.echo(_line(frame, chosen))
    click.echo(f"{seen} frames" + (f" in {file}" if file else ""), err=True)


def _line(frame: Frame, places: Sequence[Place]) -> str:
    """A frame for people: local time, where it passed, and what it is in scapy's words."""
    from scapy.layers import inet, inet6  # noqa: F401 - they tell Ether of their protocols
    from scapy.layers.l2 import Ether

    seconds, nanoseconds = divmod(frame.time, 1_000_000_000)
    clock = datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
    width = max(len(place.label) for place in places)
    where = places[frame.place].label
    return f"{clock}.{nanoseconds // 1000:06d}  {where:{width}}  {Ether(frame.data).summary()}"
