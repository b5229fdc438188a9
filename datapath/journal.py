"""The journal of a network: each change is written down before it is made.

What cannot be read back from the kernel (which bridge a veth came from, which namespaces are ours)
lives here, in /run/ebpfnet/<network>.journal, readable by root alone. One JSON object a line,
appended as things happen, so that whoever is killed at any moment leaves a journal that can be
undone (and written anew, without what was undone, when all is done):

    {"host": 4026531840}                                                 the host's namespace
    {"step": 7, "owner": 2, "kind": "MakeInterface", "fields": {...}}   about to be done
    {"committed": 7}                                                     all up to 7 stand
    {"leaving": [2]}                                                     these owners are detached
    {"undone": 7}                                                        reverted

`owner` is the endpoint's id, 0 for what the whole network shares. A journal is held under a lock
for as long as somebody works on its network; a lock that is free means that nobody does.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

from datapath.errors import AlreadyExists, Busy, Conflict, KernelError
from datapath.kernel.net import netns

FOLDER: Final = Path("/run/ebpfnet")
NETWORK_OWNER: Final = 0
_SUFFIX = ".journal"
_LOCK_PATIENCE = 60.0  # seconds


class Step(Protocol):
    """One change to the machine that can be described, made and undone.

    A frozen dataclass of plain values (text, numbers, booleans, lists, mappings), so that it can be
    written down. `revert` puts back what was there before, also after a partial or missing `apply`;
    it may be called twice.
    """

    def commands(self) -> list[str]:
        """What a person would type in its place."""
        ...

    def apply(self) -> None:
        """Make the change. Raises EbpfnetError."""
        ...

    def revert(self) -> None:
        """Undo it; no error where there is nothing to undo."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A step in the journal that has not been undone."""

    number: int
    owner: int
    step: Step
    committed: bool


class Journal:
    """The journal of one network, locked. Use as a context manager."""

    def __init__(self, network: str, *, wait: bool = True) -> None:
        """Open, lock and read it; made where it is missing.

        Raises Busy when another process works on the network: at once without `wait`, else after a
        minute; Conflict where another version of the kit wrote it, or in another network namespace;
        KernelError.
        """
        self.network = network
        self.path = FOLDER / f"{network}{_SUFFIX}"
        self._fresh = self.path.with_suffix(".fresh")  # in this one's place soon, see _rewrite
        self._fd = _open_locked(self.path, wait=wait)
        self._entries: dict[int, tuple[int, Step]] = {}
        self._host = 0
        self._committed = 0
        self._last = 0
        self._undone = False
        self.leaving: set[int] = set()
        try:
            self._read()
            if self._host not in (0, netns.host_inode()):
                named = _named(self._host)
                where = f"for {named.name}" if named else "for the machine's own"
                path = named.path if named else "/proc/1/ns/net"
                raise Conflict(
                    f"network {network} was made in another network namespace than this one",
                    remedy=f"run this there: {where}, nsenter --net={path} ebpfnet ...",
                )
        except BaseException:
            os.close(self._fd)
            raise

    def _read(self) -> None:
        self._fresh.unlink(missing_ok=True)  # its writer was killed
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            lines = file.read().split(b"\n")
        # The last piece is empty, or a line that its writer did not live to finish: not done yet.
        for number, line in enumerate(lines[:-1], 1):
            try:
                self._replay(json.loads(line))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise Conflict(
                    f"line {number} of {self.path} is not of this version of ebpfnet",
                    remedy="detach with the version that wrote it, or undo by hand what the file "
                    "lists and delete it",
                    detail=repr(error),
                ) from error
        if lines[-1]:
            os.ftruncate(self._fd, sum(len(line) + 1 for line in lines[:-1]))

    def _replay(self, event: dict[str, Any]) -> None:
        from datapath.steps import decode

        if "host" in event:
            self._host = event["host"]
        elif "step" in event:
            self._last, owner = event["step"], event["owner"]
            self._entries[self._last] = (owner, decode(event["kind"], event["fields"]))
            self.leaving.discard(owner)  # who has left is gone: this is the next one with the id
        elif "committed" in event:
            self._committed = event["committed"]
        elif "leaving" in event:
            self.leaving.update(event["leaving"])
        else:
            self._entries.pop(event["undone"], None)
            self._undone = True

    def entries(self) -> list[Entry]:
        """What stands, oldest first."""
        return [
            Entry(number, owner, step, number <= self._committed)
            for number, (owner, step) in sorted(self._entries.items())
        ]

    def _append(self, event: dict[str, Any]) -> None:
        line = _line(event)
        size = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._fd, size)
            raise KernelError(
                f"writing {self.path}",
                error.errno or errno.EIO,
                remedy=f"make room in {FOLDER.parent}",
            ) from error

    def do(self, owner: int, step: Step) -> None:
        """Write a step down, then make it. Raises what the step raises."""
        if not self._host:
            self._host = netns.host_inode()
            self._append({"host": self._host})
        self._last += 1
        # Known before it is written: whoever is interrupted in between undoes what nobody has done.
        self._entries[self._last] = (owner, step)
        self._append(_step_event(self._last, owner, step))
        try:
            step.apply()
        except AlreadyExists:  # not ours to undo
            self._forget(self._last)
            raise

    def _forget(self, number: int) -> None:
        self._entries.pop(number, None)
        self._undone = True
        with suppress(KernelError):  # no room to say so: what is undone twice does no harm
            self._append({"undone": number})

    def commit(self) -> None:
        """Let what was done stand."""
        self._append({"committed": self._last})
        self._committed = self._last

    def leave(self, owners: Sequence[int]) -> None:
        """Undo all that was done for these endpoints; a crash midway is finished by `recover`."""
        self._append({"leaving": list(owners)})
        self.leaving.update(owners)
        self.undo(entry for entry in self.entries() if entry.owner in self.leaving)

    def recover(self) -> bool:
        """Finish what a killed process left half done; whether there was anything."""
        unfinished = [
            entry for entry in self.entries() if not entry.committed or entry.owner in self.leaving
        ]
        self.undo(unfinished)
        return bool(unfinished)

    def undo(self, entries: Iterable[Entry]) -> None:
        """Revert entries, newest first. One that fails stops no other; the first error is raised
        at the end.
        """
        errors: list[Exception] = []
        newest_first = sorted(entries, key=lambda entry: entry.number, reverse=True)
        for kind, group in itertools.groupby(newest_first, key=lambda entry: type(entry.step)):
            alike = list(group)
            # What can be undone together at the price of one says so.
            together: Callable[[list[Step]], None] | None = getattr(kind, "revert_all", None)
            for run in [alike] if together else [[entry] for entry in alike]:
                try:
                    if together:
                        together([entry.step for entry in run])
                    else:
                        run[0].step.revert()
                    for entry in run:
                        self._forget(entry.number)
                except Exception as error:  # whatever it is, the others are to be undone
                    errors.append(error)  # kept in the journal: the next try may succeed
        self.leaving &= {owner for owner, _ in self._entries.values()}
        if errors:
            raise errors[0]

    @contextmanager
    def passing(self, owner: int, step: Step) -> Iterator[None]:
        """A change for the length of a block, undone at its end or, after a crash, by `recover`.

        To be used inside a transaction: what is committed stands.
        """
        self.do(owner, step)
        number = self._last
        yield
        self.undo([entry for entry in self.entries() if entry.number == number])

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """All of it or nothing: what was done inside is undone when the block raises.

        The clean-up's own errors are noted on the one that is raised.
        """
        start = self._last
        try:
            yield self
            self.commit()
        except BaseException as error:
            try:
                self.undo([entry for entry in self.entries() if entry.number > start])
            except Exception as failure:
                error.add_note(f"undoing it failed too: {failure}; run `ebpfnet gc`")
            raise

    def close(self) -> None:
        """Release the lock; a journal in which nothing stands is removed, and its folder too."""
        if self._fd < 0:
            return
        if not self._entries:
            self.path.unlink(missing_ok=True)
            with suppress(OSError):  # another network's journal is in it
                FOLDER.rmdir()
        elif self._undone:
            self._rewrite()
        os.close(self._fd)
        self._fd = -1

    def _rewrite(self) -> None:
        """Put a journal of what stands in this one's place, so that it grows no longer for ever.

        Whoever waits for the old one's lock looks again once it is free.
        """
        stands = [
            _step_event(number, owner, step)
            for number, (owner, step) in sorted(self._entries.items())
        ]
        host = {"host": self._host}
        committed = max((n for n in self._entries if n <= self._committed), default=0)
        leaving = [{"leaving": sorted(self.leaving)}] if self.leaving else []
        try:
            self._fresh.touch(0o600)
            self._fresh.write_bytes(
                b"".join(map(_line, (host, *stands, {"committed": committed}, *leaving)))
            )
            self._fresh.rename(self.path)
        except OSError:  # no room for both; the old one says the same
            self._fresh.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _step_event(number: int, owner: int, step: Step) -> dict[str, Any]:
    return {
        "step": number,
        "owner": owner,
        "kind": type(step).__name__,
        "fields": asdict(step),  # type: ignore[call-overload]
    }


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def home(network: str) -> int:
    """The inode of the namespace that a network was made in, 0 where no journal says so."""
    try:
        with (FOLDER / f"{network}{_SUFFIX}").open("rb") as file:
            return int(json.loads(file.readline())["host"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def is_here(network: str) -> bool:
    """Whether a network's host ends are in this namespace, where ifindexes are to be told apart."""
    return home(network) in (0, netns.host_inode())


def forget(network: str) -> None:
    """Remove a journal that nothing can be undone of any more; no error where there is none."""
    (FOLDER / f"{network}{_SUFFIX}").unlink(missing_ok=True)
    with suppress(OSError):  # another network's journal is in it
        FOLDER.rmdir()


@contextmanager
def at_home(network: str) -> Iterator[None]:
    """A block in the namespace that a network was made in, where that is another with a name."""
    inode = home(network)
    named = None if inode == netns.host_inode() else _named(inode)
    with netns.entered(named.path) if named else nullcontext():
        yield


def _named(inode: int) -> netns.Netns | None:
    return next((each for each in netns.named() if each.inode == inode), None)


def networks() -> list[str]:
    """Networks that have a journal."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in FOLDER.glob(f"*{_SUFFIX}"))


def title(name: str) -> str:
    """What a journal of this name is of, for people: no network's name has a dot."""
    kind, dot, label = name.partition(".")
    return f"{kind} {label}" if dot else f"network {name}"


def _open_locked(path: Path, *, wait: bool) -> int:
    """Open and lock; whoever removes a journal does so under its lock, so look again afterwards."""
    deadline = time.monotonic() + (_LOCK_PATIENCE if wait else 0)
    told = False
    while True:
        try:
            FOLDER.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the folder went in between
            continue
        except OSError as error:
            raise KernelError(f"opening {path}", error.errno or errno.EIO) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() >= deadline:
                raise Busy(
                    f"another process is working on {title(path.stem)}",
                    remedy="wait for it to end",
                ) from None
            if not told:
                print(f"waiting for another process on {title(path.stem)}", file=sys.stderr)
                told = True
            time.sleep(0.02)
            continue
        try:
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)
