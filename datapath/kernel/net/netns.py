"""Network namespaces: finding them by name, PID or path, making and deleting them, working inside.

A namespace is known by the inode of its nsfs file, whatever it is called. Work inside one is done
by a thread of its own that never comes back out: the process stays where it is, and its mount
namespace (where bpffs is) is never left. Names live in /run/netns, as iproute2 keeps them.
"""

from __future__ import annotations

import ctypes as ct
import errno
import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from datapath.errors import AlreadyExists, KernelError

FOLDER: Final = Path("/run/netns")
_FILES: Final = Path("/etc/netns")  # see own_files

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_SO_NETNS_COOKIE = 71
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE, _MS_SHARED = 0x1000, 0x4000, 0x80000, 0x100000
_MNT_DETACH = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Netns:
    """A namespace that exists: what to call it, a path that opens it, and its identity."""

    name: str
    path: Path
    inode: int


@cache
def _libc() -> ct.CDLL:
    return ct.CDLL(None, use_errno=True)


def _call(operation: str, function: str, *arguments: object) -> None:
    if getattr(_libc(), function)(*arguments) < 0:
        raise KernelError(operation, ct.get_errno())


def _is_netns(path: Path) -> bool:
    """Whether the path opens a network namespace: a mere file may lie in /run/netns too."""
    try:
        if path.stat().st_dev != Path("/proc/self/ns/net").stat().st_dev:
            return False
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
        finally:
            os.close(fd)
    except OSError:
        return False


def host_inode() -> int:
    """Identity of the namespace that this process is in."""
    return Path("/proc/self/ns/net").stat().st_ino


def at(name: str, path: Path) -> Netns | None:
    """The namespace that `path` opens, None where it opens none."""
    return Netns(name, path, path.stat().st_ino) if _is_netns(path) else None


def named() -> list[Netns]:
    """Every namespace with a name in /run/netns."""
    try:
        paths = sorted(FOLDER.iterdir())
    except FileNotFoundError:
        return []
    return [found for path in paths if (found := at(path.name, path))]


def create(name: str, prepare: Callable[[], None] = lambda: None) -> None:
    """Make a namespace and bind it to /run/netns/`name`, as `ip netns add` does.

    `prepare` is run inside before it has its name, so that nobody sees it half made. Raises
    AlreadyExists where the name is taken, KernelError.
    """
    if not FOLDER.is_dir():
        FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
    # A shared mount, so that a name removed here is removed in other mount namespaces too.
    shared = _libc().mount(b"", os.fsencode(FOLDER), b"none", _MS_SHARED | _MS_REC, None)
    if shared < 0:
        folder = os.fsencode(FOLDER)
        _call("mounting /run/netns", "mount", folder, folder, b"none", _MS_BIND | _MS_REC, None)
        _call("sharing /run/netns", "mount", b"", folder, b"none", _MS_SHARED | _MS_REC, None)
    path = FOLDER / name
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0))
    except FileExistsError as error:
        raise AlreadyExists(f"namespace {name} exists already") from error
    except OSError as error:
        raise KernelError(f"making namespace {name}", error.errno or errno.EIO) from error

    def make() -> None:
        _call(f"making namespace {name}", "unshare", _CLONE_NEWNET)
        prepare()
        _call(
            f"naming namespace {name}",
            "mount",
            b"/proc/thread-self/ns/net",
            os.fsencode(path),
            b"none",
            _MS_BIND,
            None,
        )

    try:
        _in_thread(make)
    except BaseException:
        delete(name)  # ctrl-C may have come when it had its name already
        raise


def delete(name: str) -> None:
    """Take the name away; the namespace goes when nothing is in it any more. No error if gone."""
    path = FOLDER / name
    if _libc().umount2(os.fsencode(path), _MNT_DETACH) < 0 and ct.get_errno() not in (
        errno.EINVAL,  # a file without a mount: left by a crash between the two
        errno.ENOENT,
    ):
        raise KernelError(f"deleting namespace {name}", ct.get_errno())
    path.unlink(missing_ok=True)


def run_inside(path: Path, work: Callable[[], T]) -> T:
    """Run `work` in the namespace that `path` opens and return what it returns.

    Sockets that it opens belong to that namespace. Raises KernelError, and whatever `work` raises.
    """

    def enter() -> T:
        _enter(path)
        return work()

    return _in_thread(enter)


@contextmanager
def entered(path: Path) -> Iterator[None]:
    """A block in the namespace that `path` opens, for all that the process does in it.

    For the main thread, which is what others take for the process (/proc/self). Raises KernelError.
    """
    before = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(path)
        try:
            yield
        finally:
            _call("coming back from a namespace", "setns", before, _CLONE_NEWNET)
    finally:
        os.close(before)


def _enter(path: Path) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"opening namespace {path}", error.errno or errno.EIO) from error
    try:
        _call(f"entering namespace {path}", "setns", fd, _CLONE_NEWNET)
    finally:
        os.close(fd)


def own_files(name: str) -> Path:
    """The folder of files that a named namespace has in place of those in /etc: ip-netns(8)."""
    return _FILES / name


def show_own_files(name: str) -> None:
    """Put a named namespace's own files in /etc for the calling thread and whatever it becomes.

    Raises KernelError.
    """
    files = [file for file in own_files(name).glob("*") if (Path("/etc") / file.name).exists()]
    if not files:
        return
    operation = f"showing the files of {name}"
    _call(operation, "unshare", _CLONE_NEWNS)
    _call(operation, "mount", b"none", b"/", None, _MS_SLAVE | _MS_REC, None)
    for file in files:
        target = os.fsencode(Path("/etc") / file.name)
        _call(operation, "mount", os.fsencode(file), target, b"none", _MS_BIND, None)


def cookie(path: Path) -> int:
    """What BPF programs know the namespace by, and no other ever has: 64 bits (Linux 5.14).

    Raises KernelError.
    """

    def ask() -> int:
        with socket.socket(socket.AF_UNIX) as any_socket:
            raw = any_socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        return int.from_bytes(raw, sys.byteorder)

    return run_inside(path, ask)


def scratch(work: Callable[[], T]) -> T:
    """Run `work` in a namespace of its own, which goes with all that it made: for trying things.

    Raises KernelError, and whatever `work` raises.
    """

    def enter() -> T:
        _call("making a namespace to try in", "unshare", _CLONE_NEWNET)
        return work()

    return _in_thread(enter)


def _in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # An interrupt while the thread starts would leave it unknown whether it has.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        thread.join()
    except BaseException:
        if thread.ident:
            thread.join()  # ctrl-C: what is under way ends before anything is undone
        raise
    if errors:
        raise errors[0]
    return results[0]
