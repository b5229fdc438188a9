"""Tools run inside an endpoint's namespace: clients to their end, servers for as long as needed.

They get the network namespace alone, are pinned as their parent is, and die with it, however it
dies: nobody who is killed leaves a server behind. Start them from a thread that outlives them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from datapath.errors import EbpfnetError, Unsupported
from datapath.kernel.net import netns

_READY = 5.0  # seconds that a server has to listen
# What /proc/net/tcp and udp call a socket that waits for anybody: TCP_LISTEN, TCP_CLOSE.
_WAITING: Final = {"tcp": "0A", "udp": "07"}


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a workload needs, and the package that brings it (Debian's name)."""

    command: str
    package: str

    @property
    def installed(self) -> bool:
        """Whether it is on the PATH."""
        return shutil.which(self.command) is not None

    def unsupported(self) -> Unsupported:
        """The error for a machine that has not got it."""
        return Unsupported(
            self.command,
            f"{self.command} is not installed",
            remedy=f"apt-get install {self.package}",
        )


def _inside(path: Path, arguments: Sequence[str]) -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={path}", *arguments]


def run(path: Path, arguments: Sequence[str], *, timeout: float) -> str:
    """What a tool prints, run to its end in the namespace that `path` opens.

    Raises EbpfnetError where it fails or takes longer than `timeout` seconds.
    """
    tool = arguments[0]
    try:
        done = subprocess.run(
            _inside(path, arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EbpfnetError(
            f"{tool} did not finish in {timeout:.0f} s", detail=" ".join(arguments)
        ) from error
    if done.returncode:
        raise _failure(tool, done.returncode, done.stdout + done.stderr)
    return done.stdout


@contextmanager
def server(
    path: Path,
    arguments: Sequence[str],
    port: int,
    protocol: Literal["tcp", "udp"] = "tcp",
    cpus: Collection[int] = (),
) -> Iterator[None]:
    """A tool that listens on a port over IPv4, from when it does until the block ends.

    It runs where this thread does, or on `cpus`. Raises EbpfnetError where it ends early, never
    listens, or may not run there.
    """
    tool = arguments[0]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            _inside(path, arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            if cpus:
                _move(process, cpus)
            deadline = time.monotonic() + _READY
            while not netns.run_inside(path, lambda: _listening(port, protocol)):
                if (code := process.poll()) is not None:
                    raise _failure(tool, code, _content(output))
                if time.monotonic() > deadline:
                    raise EbpfnetError(
                        f"{tool} does not listen on port {port}", detail=_content(output)
                    )
                time.sleep(0.005)
            yield
        finally:
            process.kill()  # it holds nothing, and sockperf takes its time over SIGTERM
            process.wait()


def _move(process: subprocess.Popen[bytes], cpus: Collection[int]) -> None:
    try:
        os.sched_setaffinity(process.pid, cpus)
    except OSError as error:
        raise Unsupported(
            "a second CPU", "this process may run on one CPU alone", remedy="choose cpus=1"
        ) from error


def _listening(port: int, protocol: str) -> bool:
    lines = Path("/proc/thread-self/net", protocol).read_text().splitlines()[1:]
    return any(
        local.endswith(f":{port:04X}") and state == _WAITING[protocol]
        for _, local, _, state, *_ in map(str.split, lines)
    )


def _content(output: IO[bytes]) -> str:
    output.seek(0)
    return output.read().decode(errors="replace")


def _failure(tool: str, code: int, output: str) -> EbpfnetError:
    said = next((line.strip() for line in output.splitlines() if "error" in line.lower()), "")
    return EbpfnetError(
        f"{tool} failed with code {code}" + (f": {said}" if said else ""),
        remedy="see all that it said with --verbose",
        detail=output,
    )
