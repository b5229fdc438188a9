"""Packets sent to find out: a ping, a connection; and what the kernel says of those that it drops.

The tracepoint skb:kfree_skb tells why a packet was dropped and in which function, but not at which
device. Those of net: tell which device a packet passes, by the same address in memory: the last one
before the drop is where it happened. Both are read from a trace instance of our own in tracefs.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from datapath.diagnose.walk import Address
from datapath.errors import KernelError, NotFound
from datapath.kernel import tracefs
from datapath.kernel.net import netns
from datapath.kernel.net.netns import Netns

_PATIENCE: Final = 0.5  # seconds for an answer
_LONG_PATIENCE: Final = 3.0  # since the kernel asks for a neighbour only once a second
_MOST_PINGS: Final = 100
_INSTANCE: Final = "ebpfnet-diagnose-"
_BUFFER_KIB: Final = 4096  # for each CPU
_EVENTS: Final = ("skb/kfree_skb", "net/netif_receive_skb", "net/net_dev_queue")
_PROTOCOLS: Final = {4: (0x0800, 0x0806), 6: (0x86DD,)}  # of frames: IPv4 and ARP, IPv6
# Functions that drop without giving their reason.
_REASONS: Final = {"do_xdp_generic": "XDP"}
_PASSED = re.compile(
    r" ([\d.]+): (?:netif_receive_skb|net_dev_queue): dev=(\S+) skbaddr=(?:0x)?(\w+)"
)
_DROPPED = re.compile(r" ([\d.]+): kfree_skb: skbaddr=(?:0x)?(\w+).* location=(\S+) reason: (\S+)")
_AT_ONCE: Final = 0.01  # seconds from a device to the drop; later the address is another packet's


@contextmanager
def pinging(sender: Netns, target: Address) -> Iterator[Callable[[bool], bool]]:
    """Send echo requests; what it yields waits for an answer, patiently or not, and says if any.

    Raises NotFound without ping.
    """
    # No -w and no small -c: with these, ping ends at the first error that a router reports.
    arguments = ["ping", "-n", "-i", "0.1", "-c", str(_MOST_PINGS), str(target)]
    try:
        process = netns.run_inside(
            sender.path,
            lambda: subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
            ),
        )
    except FileNotFoundError as error:
        raise NotFound("ping is not installed", remedy="apt-get install iputils-ping") from error
    with process:
        try:
            yield lambda patiently: _answers(process, _LONG_PATIENCE if patiently else _PATIENCE)
        finally:
            process.kill()


def _answers(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether a ping tells of an answer, as "64 bytes from", within so many seconds."""
    told, until = b"", time.monotonic() + seconds
    while process.stdout and b" bytes from " not in told:
        left = until - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return False
        more = os.read(process.stdout.fileno(), 4096)
        if not more:
            return False
        told += more
    return True


def connect(sender: Netns, target: Address, port: int) -> Literal["open", "refused", "silent"]:
    """What a TCP connection meets with."""

    def attempt() -> Literal["open", "refused", "silent"]:
        try:
            with socket.create_connection((str(target), port), timeout=_PATIENCE):
                return "open"
        except ConnectionRefusedError:
            return "refused"
        except OSError:
            return "silent"

    return netns.run_inside(sender.path, attempt)


@dataclass(frozen=True, slots=True)
class Drop:
    """Packets that the kernel dropped: the last device they passed, where in the kernel, why."""

    device: str
    function: str
    reason: str
    packets: int


@dataclass(slots=True)
class Drops:
    """What was dropped while it listened, of packets that passed certain devices."""

    found: list[Drop] = field(default_factory=list)


@contextmanager
def listening(devices: set[str], versions: set[int]) -> Iterator[Drops]:
    """Listen while the block lasts; the drops are there after it. Nothing without tracefs.

    Of packets of some versions of IP: interfaces send to groups of IPv6, unasked, and nobody misses
    what becomes of that.
    """
    drops = Drops()
    if not devices:
        yield drops
        return
    with ExitStack() as undo:
        try:
            root = undo.enter_context(tracefs.opened())
            instance = _instance(undo, root / "instances")
        except (KernelError, OSError):
            yield drops
            return
        # On a busy machine the first events matter: they are not overwritten.
        (instance / "buffer_size_kb").write_text(str(_BUFFER_KIB))
        (instance / "options/overwrite").write_text("0")
        passing = " || ".join(f"name == {_quoted(device)}" for device in sorted(devices))
        carrying = " || ".join(
            f"protocol == {each}" for version in sorted(versions) for each in _PROTOCOLS[version]
        )
        for event in _EVENTS:
            wanted = passing if event.startswith("net/") else carrying
            (instance / "events" / event / "filter").write_text(wanted)
            (instance / "events" / event / "enable").write_text("1")
        yield drops
        for event in _EVENTS:
            (instance / "events" / event / "enable").write_text("0")
        drops.found = _read((instance / "trace").read_text(), devices)


def _quoted(device: str) -> str:
    """As a filter takes it, which knows two kinds of quotes and no way to write both."""
    return f"'{device}'" if '"' in device else f'"{device}"'


def _instance(undo: ExitStack, instances: Path) -> Path:
    """A trace of our own, which is not disturbed by others and disturbs none."""
    _remove_abandoned(instances)
    instance = instances / f"{_INSTANCE}{os.getpid()}"
    instance.mkdir()

    def remove() -> None:
        with suppress(OSError):
            (instance / "tracing_on").write_text("0")
        instance.rmdir()

    undo.callback(remove)
    return instance


def _remove_abandoned(instances: Path) -> None:
    """Those of diagnoses that were killed."""
    for path in instances.glob(f"{_INSTANCE}*"):
        if not Path("/proc", path.name.removeprefix(_INSTANCE)).exists():
            with suppress(OSError):
                path.rmdir()


def _read(trace: str, devices: set[str]) -> list[Drop]:
    # By address of a packet: the device that it passed last, and when.
    at: dict[str, tuple[str, float]] = {}
    found: Counter[tuple[str, str, str]] = Counter()
    for line in trace.splitlines():
        if passed := _PASSED.search(line):
            at[passed[3]] = (passed[2], float(passed[1]))
        elif dropped := _DROPPED.search(line):
            device, when = at.pop(dropped[2], ("", 0.0))
            if device in devices and float(dropped[1]) - when < _AT_ONCE:
                function = dropped[3].partition("+")[0]
                found[device, function, _REASONS.get(function, dropped[4])] += 1
    return [Drop(*place, packets) for place, packets in found.most_common()]
