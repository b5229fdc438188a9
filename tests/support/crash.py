"""Runs of the kit that are killed, interrupted or hindered at a moment of one's choice.

The kit knows nothing of it. A moment is when a process is about to change the machine or has just
written to a journal; all of that passes through Python: netlink messages, calls of libbpf and libc
by ctypes, file operations, and the steps themselves. To be hit after a change is to be hit before
the next one.

`python -m tests.support.crash` is a process that has the kit loaded and forks for each run, which
starts in a few milliseconds: that is what makes it possible to try every moment.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

from tests.support import inventory
from tests.support.hosts import CHECKOUT, run, until

# What a run would import otherwise, each time anew.
LOADED = (
    *("cli.main", "cli.attach", "cli.endpoint", "cli.status", "datapath.attaching"),
    *("datapath.detaching", "datapath.reloading", "datapath.status", "datapath.tables"),
    *("cli.lab", "datapath.labs.lifecycle", "datapath.labs.checks"),
)
# What changes something, of all that is called by ctypes.
BPF_CALLS = {
    *("bpf_map_update_elem", "bpf_map_delete_elem", "bpf_obj_pin", "bpf_prog_load"),
    *("bpf_link_create", "bpf_link_detach", "bpf_link_update"),
}
LIBC_CALLS = {"mount", "umount2", "unshare"}
# Audit events of Python for files; only in these folders are they the kit's.
FILE_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
FOLDERS = ("/run/", "/sys/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SIOCETHTOOL = 0x8946
RTM_GET = 2  # of the four kinds of each rtnetlink message: new, delete, get, set


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended: `code` is that of its exit, or the signal's, negative.

    `moments` says what it was about to do, in order. What was hit is the last of them.
    """

    code: int
    stdout: str
    stderr: str
    moments: list[str]

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Launcher:
    """Runs command lines of the kit, each in a process of its own. Use as a context manager."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crash"],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask()  # until it has the kit loaded
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._server:
            pass  # closes its input, which ends it

    def run(
        self,
        *argv: str,
        at: int | str = 0,
        signal: signal.Signals = signal.SIGKILL,
        command: Sequence[str] = (),
    ) -> Run:
        """`ebpfnet ARGV`, hit at a moment: the `at`-th, or the first that begins with `at`.

        Hit by `signal`, or, with a `command`, by having that run meanwhile. 0 = not at all.
        """
        return Run(**self._ask(argv=argv, at=at, signal=signal, command=command))

    def succeed(self, *argv: str) -> Run:
        """`ebpfnet ARGV`, undisturbed, which must not fail."""
        done = self.run(*argv)
        assert done.code == 0, done.stderr
        return done

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(request), file=self._server.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


class Judge:
    """Tells whether the machine is as it was when this was made.

    The whole inventory takes longer than many a run of the kit: of ten times that it is asked for,
    a part of it serves nine times.
    """

    def __init__(self) -> None:
        self.inventory = inventory.take()
        self.sketch = self._sketch()
        self.asked = 0

    def differences(self) -> list[str]:
        self.asked += 1
        if self.asked % 10 and until(lambda: self._sketch() == self.sketch, 1):
            return []
        return inventory.left_behind(self.inventory)

    def _sketch(self) -> list[object]:
        """Namespaces, links, bridge ports, pins and journals."""
        ports = run("bridge", "-d", "link").stdout
        return [
            *(sorted(Path(folder).rglob("*")) for folder in ("/run/netns", "/sys/fs/bpf")),
            *(sorted(Path("/sys/class/net").iterdir()), ports),
            *(path.read_text() for path in sorted(Path("/run/ebpfnet").glob("*"))),
        ]


def _serve() -> None:
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_forked(**request) if request else {}), flush=True)


def _forked(argv: list[str], at: int | str, signal: int, command: list[str]) -> dict[str, Any]:
    with (
        tempfile.TemporaryFile("w+") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
        tempfile.TemporaryFile("w+") as log,
    ):
        child = os.fork()
        if child == 0:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            _main(argv, _Moments(log.fileno(), at, signal, command))
        _, status = os.waitpid(child, 0)
        for file in (stdout, stderr, log):
            file.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "stdout": stdout.read(),
            "stderr": stderr.read(),
            "moments": log.read().splitlines(),
        }


def _main(argv: list[str], moment: _Moments) -> None:
    """The kit's command line, as `python -m cli`; never returns."""
    from cli import main

    code: object = 1
    try:
        _install(moment)
        sys.argv[1:] = argv
        main.main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)


class _Moments:
    """Counts moments, and strikes at the one that was asked for."""

    def __init__(self, log: int, at: int | str, signal: int, command: list[str]) -> None:
        self.log = log
        self.at = at
        self.signal = signal
        self.command = command
        self.count = 0
        self.struck = not at

    def __call__(self, what: str, dying: Callable[[], object] = lambda: None) -> None:
        """Pass a moment; `dying` is done only if it is the one, just before it strikes."""
        if self.struck:
            return
        self.count += 1
        os.write(self.log, what.encode() + b"\n")
        if self.count == self.at or (isinstance(self.at, str) and what.startswith(self.at)):
            self.struck = True
            dying()
            if self.command:
                subprocess.run(self.command, check=True)
            else:
                os.kill(os.getpid(), self.signal)


class _Library:
    """A library loaded by ctypes, with a moment before each call that changes something."""

    def __init__(self, library: Any, names: set[str], moment: _Moments) -> None:
        self._library = library
        self._names = names
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)
        return _before(self._moment, name, function) if name in self._names else function


def _before(moment: _Moments, what: str, function: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        paths = [os.fsdecode(each) for each in args if isinstance(each, bytes) and each[:1] == b"/"]
        moment(" ".join([what, *paths]))
        return function(*args, **options)

    return call


def _install(moment: _Moments) -> None:
    """Put a moment before everything by which the kit changes the machine."""
    from pyroute2.netlink.core import AsyncCoreSocket

    from datapath.journal import Journal
    from datapath.kernel.bpf import libbpf
    from datapath.kernel.net import netlink, netns
    from datapath.steps import devices, firewall, interfaces, kinds, nodes, programs, queues

    bpf = _Library(libbpf.library(), BPF_CALLS, moment)
    libc = _Library(netns._libc(), LIBC_CALLS, moment)
    libbpf.library = lambda: bpf  # type: ignore[assignment]
    netns._libc = lambda: libc  # type: ignore[assignment]

    append = Journal._append

    def announced(send: Callable[..., Any]) -> Callable[..., Any]:
        def send_messages(self: Any, data: bytes, flags: int = 0) -> Any:
            kinds, at = [], 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)  # of struct nlmsghdr
                kinds.append(kind)
                at += length
            if any(kind & 3 != RTM_GET for kind in kinds):
                moment(f"netlink {kinds}")
            return send(self, data, flags)

        return send_messages

    class Channel(socket.socket):
        send = announced(socket.socket.send)

    def append_line(self: Journal, event: dict[str, Any]) -> None:
        line = json.dumps(event)
        moment(f"write {line}")
        moment("write half of it", lambda: os.write(self._fd, line[: len(line) // 2].encode()))
        append(self, event)
        moment(f"wrote {line}")

    AsyncCoreSocket.send = announced(AsyncCoreSocket.send)
    netlink.socket = SimpleNamespace(**{**vars(socket), "socket": Channel})  # type: ignore[assignment]
    Journal._append = append_line  # type: ignore[method-assign]

    steps = [
        each
        for module in (interfaces, programs, queues, kinds, firewall, devices, nodes)
        for each in vars(module).values()
    ]
    for kind in {each for each in steps if isinstance(each, type)}:
        for action in ("apply", "revert", "revert_all"):
            if action in vars(kind):
                wrapped = _before(moment, f"{action} {kind.__name__}", getattr(kind, action))
                setattr(kind, action, staticmethod(wrapped) if action == "revert_all" else wrapped)

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS:
            path = os.fsdecode(args[0]) if isinstance(args[0], str | bytes | os.PathLike) else ""
            if path.startswith(FOLDERS) and (event != "open" or args[2] & WRITING):
                moment(f"{event} {path}")
        elif event == "fcntl.ioctl" and args[1] == SIOCETHTOOL:
            moment("ethtool")

    sys.addaudithook(audit)


if __name__ == "__main__":
    _serve()
