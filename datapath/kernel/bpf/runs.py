"""What the kernel says of a program's size, and of the time that its runs took."""

from __future__ import annotations

import ctypes as ct
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from datapath.kernel.bpf import libbpf

_RUN_TIME: Final = 0  # enum bpf_stats_type
_INSTRUCTION: Final = 8  # bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A program as the kernel holds it: instructions after the verifier's rewriting, bytes that the
    JIT made of them (0 without JIT), and how many instructions the verifier walked through.
    """

    instructions: int
    machine_code: int
    verified: int


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of a program that were timed, and nanoseconds that they took, the clock's included."""

    count: int
    ns: int

    def per_run_since(self, before: Runs) -> float:
        """Nanoseconds per run since there were `before`; not a number where it did not run."""
        count = self.count - before.count
        return (self.ns - before.ns) / count if count else math.nan


def size(program: int) -> Size:
    """Of a loaded program. Raises KernelError."""
    info = libbpf.object_info(program, libbpf.ProgInfo)
    return Size(
        info.xlated_prog_len // _INSTRUCTION,
        info.jited_prog_len,
        info.verified_insns,
    )


def timed(program: int) -> Runs:
    """The runs of a program that were timed until now. Raises KernelError."""
    info = libbpf.object_info(program, libbpf.ProgInfo)
    return Runs(info.run_cnt, info.run_time_ns)


@contextmanager
def timing() -> Iterator[None]:
    """All programs of the machine are timed until the block ends, which slows each of them.

    That ends with the process, however that ends. Raises KernelError (Linux 5.8).
    """
    switch = libbpf.call("timing programs", "bpf_enable_stats", ct.c_int(_RUN_TIME))
    try:
        yield
    finally:
        os.close(switch)
