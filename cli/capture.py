"""capture: what passes several places at once, in one order."""

from __future__ import annotations

import itertools
import signal
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cli import options
from cli.show import complete_node
from datapath.errors import InvalidInput, KernelError

if TYPE_CHECKING:
    from datapath.capture import Capture, Frame

_STDOUT: Final = Path("-")
_SHOWN: Final = 512  # bytes of a frame that a line can tell of


@click.command(
    epilog="""\b
Examples:
  ebpfnet capture ns0
  ebpfnet capture ns0 veth0 "tcp port 80"
  ebpfnet capture ns0 ns1 host:br0 --filter "icmp or arp"
  ebpfnet capture ns0:veth0 host:h-ns1 -w both.pcapng --count 20
  ebpfnet capture ns0 -w - | wireshark -k -i -
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
    help="Write frames there as pcapng, for Wireshark; each place is an interface. - is stdout.",
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
    with ExitStack() as stack:
        opened = stack.enter_context(_opened(file)) if file else None
        session = stack.enter_context(
            capturing.capture(chosen, expression, snapshot=0 if file else _SHOWN)
        )
        stack.enter_context(_ended_by_signals(session))
        labels = [place.label for place in chosen]
        click.echo(f"capturing at {', '.join(labels)}", err=True)
        with _writing(file):
            writer = (
                Writer(opened, [*zip(labels, session.link_types, strict=True)]) if opened else None
            )
        seen = 0
        for frame in itertools.islice(session.frames(), count):
            seen += 1
            if writer:
                with _writing(file):
                    writer.write(frame)
            if file != _STDOUT:
                click.echo(_line(frame, labels, session.link_types))
    if session.left_out:
        click.echo(f"{session.left_out} frames came too fast, and were left out", err=True)
    click.echo(f"{seen} frames" + (f" in {file}" if file and file != _STDOUT else ""), err=True)


def _opened(file: Path) -> FileIO:
    """Unbuffered, so that what is captured is there at once, and what fails fails at once."""
    try:
        return FileIO("/dev/stdout" if file == _STDOUT else file, "w")
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror}") from error


@contextmanager
def _writing(file: Path | None) -> Iterator[None]:
    """Errors of the file as errors of the kit; that nobody reads stdout any more is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KernelError(f"writing {file}", error.errno or 0) from error


@contextmanager
def _ended_by_signals(session: Capture) -> Iterator[None]:
    """Ctrl-C, or `timeout`, is how a capture ends: what has passed is shown. Twice ends at once."""

    def end(number: int, _: object) -> None:
        session.end()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(frame: Frame, labels: Sequence[str], link_types: Sequence[int]) -> str:
    """A frame for people: local time, where it passed, and what it is in scapy's words."""
    from scapy.config import conf
    from scapy.layers import inet, inet6, l2  # noqa: F401 - they tell of what begins how

    seconds, nanoseconds = divmod(frame.time, 1_000_000_000)
    clock = datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
    where = f"{labels[frame.place]:{max(map(len, labels))}}"
    layer = conf.l2types.num2layer.get(link_types[frame.place], conf.raw_layer)
    try:
        told = layer(frame.data).summary()
    except struct.error:  # it is shorter than its header
        told = conf.raw_layer(frame.data).summary()
    return f"{clock}.{nanoseconds // 1000:06d}  {where}  {told}"
