"""Steps of labs on whole nodes: sysctls, firewall rules, commands, processes, and the lab's record.

All but the record and the processes goes with the node's namespace. `netns` is its path.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datapath.errors import AlreadyExists, EbpfnetError, KernelError
from datapath.kernel.net import netns, sysctl, tools
from datapath.steps.typed import command, inside

_MARK: Final = "EBPFNET_LAB_PROCESS"  # in a process's environment: which step started it
_PACKAGES: Final = str(Path(__file__).parents[2])  # where `python3 -m datapath...` is found
_PATH: Final = str.maketrans("./", "/.")  # of a sysctl under /proc/sys, by its name
_PATIENCE: Final = 1.0  # seconds until a process that was asked to end is killed


@dataclass(frozen=True, slots=True)
class KeepRecord:
    """The lab's declaration, kept beside its journal for as long as it is up."""

    path: str
    text: str

    def commands(self) -> list[str]:
        return []

    def apply(self) -> None:
        try:
            Path(self.path).write_text(self.text)
        except OSError as error:
            raise KernelError(f"writing {self.path}", error.errno or 0) from error

    def revert(self) -> None:
        Path(self.path).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class SetNodeSysctls:
    """Sysctls of a node's namespace."""

    netns: str
    values: dict[str, str]

    def commands(self) -> list[str]:
        words = [f"{name}={value}" for name, value in self.values.items()]
        return [inside(self.netns, "sysctl", "-qw", *words)]

    def apply(self) -> None:
        def write() -> None:
            for name, value in self.values.items():
                sysctl.write(name.translate(_PATH), value)

        netns.run_inside(Path(self.netns), write)

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class LoadRuleset:
    """An nftables ruleset in a node's namespace."""

    netns: str
    ruleset: str

    def commands(self) -> list[str]:
        ruleset = self.ruleset.rstrip("\n")
        return [f"{inside(self.netns, 'nft', '-f', '-')} <<'END'\n{ruleset}\nEND"]

    def apply(self) -> None:
        netns.run_inside(
            Path(self.netns), lambda: tools.run(["nft", "-f", "-"], stdin=self.ruleset)
        )

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class RunInNode:
    """A command in a node's namespace that changes nothing outside of it."""

    netns: str
    argv: list[str]

    def commands(self) -> list[str]:
        return [inside(self.netns, *self.argv)]

    def apply(self) -> None:
        netns.run_inside(Path(self.netns), lambda: tools.run(self.argv))

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class NameServers:
    """Whom a node asks for names: a resolv.conf of its own, where `ip netns exec` looks for it."""

    netns: str
    addresses: list[str]

    @property
    def _file(self) -> Path:
        return netns.own_files(Path(self.netns).name) / "resolv.conf"

    def _text(self) -> str:
        return "".join(f"nameserver {address}\n" for address in self.addresses)

    def commands(self) -> list[str]:
        return [
            command("mkdir", "-p", str(self._file.parent)),
            f"cat > {command(str(self._file))} <<'END'\n{self._text()}END",
        ]

    def apply(self) -> None:
        try:
            self._file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._file.touch(exist_ok=False)
            self._file.write_text(self._text())
        except FileExistsError as error:
            raise AlreadyExists(f"there is {self._file} already") from error
        except OSError as error:
            raise KernelError(f"writing {self._file}", error.errno or 0) from error

    def revert(self) -> None:
        self._file.unlink(missing_ok=True)
        for folder in (self._file.parent, self._file.parent.parent):
            with suppress(OSError):  # somebody else's files are in it, or it has gone
                folder.rmdir()


@dataclass(frozen=True, slots=True)
class StartProcess:
    """A process in a node's namespace for as long as the lab is up.

    It is known by a mark in its environment, which its children inherit. `python3` is the Python
    that runs this, and finds the kit's own modules.
    """

    netns: str
    argv: list[str]
    mark: str

    def _argv(self) -> list[str]:
        first = sys.executable if self.argv[0] == "python3" else self.argv[0]
        return [first, *self.argv[1:]]

    def commands(self) -> list[str]:
        words = inside(self.netns, "env", f"PYTHONPATH={_PACKAGES}", *self._argv())
        return [f"setsid {words} < /dev/null > /dev/null 2>&1 &"]

    def apply(self) -> None:
        argv = self._argv()
        tools.require(argv[0])
        environment = os.environ | {"PYTHONPATH": _PACKAGES, _MARK: self.mark}
        process = netns.run_inside(
            Path(self.netns),
            lambda: subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                cwd="/",
            ),
        )
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(0.02)
            raise EbpfnetError(
                f"{command(*self.argv)} ended at once, with code {code}",
                remedy="bring the lab up without it, and run it by hand: "
                + inside(self.netns, *argv),
            )
        process.returncode = 0  # it is to outlive this one, and not to be waited for

    def revert(self) -> None:
        self.revert_all([self])

    @staticmethod
    def revert_all(steps: list[StartProcess]) -> None:
        """End what was started, politely at first."""
        marks = {f"{_MARK}={step.mark}".encode() for step in steps}
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _PATIENCE
            told: set[int] = set()
            while (alive := {*_marked(marks)}) and time.monotonic() < deadline:
                for process in alive - told:  # also those that were started meanwhile
                    with suppress(ProcessLookupError):
                        os.kill(process, number)
                told |= alive
                time.sleep(0.01)
            for process in told:
                with suppress(ChildProcessError):  # init's, unless this very process started it
                    os.waitpid(process, os.WNOHANG)
            if not any(_marked(marks)):
                return
        raise EbpfnetError("a process of the lab does not end", remedy="see `ps -ef`")


def _marked(marks: set[bytes]) -> Iterator[int]:
    """Processes, apart from zombies, that carry one of the marks."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if marks.intersection((folder / "environ").read_bytes().split(b"\0")):
                yield int(folder.name)
