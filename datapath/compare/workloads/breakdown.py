"""Where the nanoseconds of a frame go, for modes that are a program at the sender's host end.

    program   its own run time per call: what the kernel clocks (bpf_stats) less what it clocks for
              a program that does nothing, which is the price of reading the clock
    hook      what a program costs apart from what it does: a few that do nothing are put before
              it, and what the path takes longer is theirs
    stack     all that a plain veth pair needs too: source, crossing, reception, the sink and its
              hook. Measured by having the sink in the program's place
    redirect  the rest: from the verdict to the reception in the other namespace

stack + hook + program + redirect is ns_per_packet. Program and sizes are there for every such mode,
the others where several programs may share the hook (tcx). All is measured in injections of their
own, behind the one that gives the figure: reading the clock is not in that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from datapath.compare.lab import Lab
from datapath.compare.workloads.injection import Injected, Injector
from datapath.kernel.bpf import libbpf, runs
from datapath.kernel.net import links
from datapath.modes.base import EbpfMode
from datapath.network import Network
from datapath.records import HookId

# In the order that a frame meets them, and what they are to people.
PARTS: Final[Mapping[str, str]] = {
    "stack": "what a plain veth pair needs too",
    "hook": "what any program at the hook costs, apart from what it does",
    "program": "the program's own run time",
    "redirect": "from its verdict to the reception in the other namespace",
}
DETAILS: Final[Mapping[str, str]] = {
    **dict.fromkeys(PARTS, "ns"),
    "instructions": "insns",
    "verified": "insns",
    "machine code": "bytes",
}

_SHARE: Final = 4  # one frame for this many of the figure's is sent for each part
_CALIBRATION: Final = 100_000  # runs
_EMPTY: Final = bytes(64)  # a frame that nobody looks at


def of(
    injector: Injector, lab: Lab, send: Callable[[int], Injected], frames: int, total: float
) -> dict[str, float]:
    """The parts of `total` ns per packet by name, empty for modes without a program of ours.

    `send` is the figure's own source, with its sink still in place. Raises KernelError.
    """
    if not isinstance(lab.mode, EbpfMode):
        return {}
    frames //= _SHARE
    with _program(lab.network.name, lab.mode.program.function) as program:
        size = runs.size(program)
        own = _own_time(injector, send, frames, program)
    found = {
        "program": own,
        "instructions": size.instructions,
        "verified": size.verified,
        "machine code": size.machine_code,
    }
    if lab.network.hook is HookId.TCX:
        with _first(lab, [injector.sink]):
            stack = send(frames).ns_per_frame
        with _first(lab, injector.idle):
            hook = (send(frames).ns_per_frame - total) / len(injector.idle)
        found |= {"stack": stack, "hook": hook, "redirect": total - stack - hook - own}
    return {name: found[name] for name in DETAILS if name in found}


def _own_time(
    injector: Injector, send: Callable[[int], Injected], frames: int, program: int
) -> float:
    idle = injector.idle[0]
    before, idle_before = runs.timed(program), runs.timed(idle)
    with runs.timing():
        send(frames)
        libbpf.test_run(idle, _EMPTY, repeat=_CALIBRATION)
    clock = runs.timed(idle).per_run_since(idle_before)
    return runs.timed(program).per_run_since(before) - clock


@contextmanager
def _program(network: str, function: str) -> Iterator[int]:
    """A network's program as a descriptor."""
    with Network(network) as opened:
        program = libbpf.object_get(opened.path / "progs" / function)
    try:
        yield program
    finally:
        os.close(program)


@contextmanager
def _first(lab: Lab, programs: Sequence[int]) -> Iterator[None]:
    """Programs at the sender's host end, before the mode's own, for as long as the block lasts."""
    ifindex = links.get(lab.sender.host_ifname).index
    with ExitStack() as stack:
        for program in programs:
            link = libbpf.link_create(
                program, ifindex, libbpf.ATTACH_TCX_INGRESS, libbpf.TCX_BEFORE
            )
            stack.callback(os.close, link)
        yield
