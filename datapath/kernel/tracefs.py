"""The kernel's tracing file system, mounted or not (Documentation/trace/ftrace.rst)."""

from __future__ import annotations

import ctypes as ct
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from datapath.errors import KernelError

_MOUNTED: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

# linux/mount.h; these calls came with Linux 5.2 and have one number on all of its architectures.
_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_CLOEXEC: Final = 1
_CMD_CREATE: Final = 6


@contextmanager
def opened() -> Iterator[Path]:
    """Its root: where it is mounted, else in a mount of our own that nobody else sees.

    Raises KernelError where the kernel has none, or keeps it from us.
    """
    with ExitStack() as undo:
        yield next((root for root in _MOUNTED if (root / "instances").is_dir()), None) or _own(undo)


def _own(undo: ExitStack) -> Path:
    libc = ct.CDLL(None, use_errno=True)

    def call(number: int, *arguments: object) -> int:
        result: int = libc.syscall(number, *arguments)
        if result < 0:
            raise KernelError("mounting tracefs", ct.get_errno())
        return result

    context = call(_SYS_FSOPEN, b"tracefs", _CLOEXEC)
    undo.callback(os.close, context)
    call(_SYS_FSCONFIG, context, _CMD_CREATE, None, None, 0)
    mount = call(_SYS_FSMOUNT, context, _CLOEXEC, 0)
    undo.callback(os.close, mount)
    return Path(f"/proc/self/fd/{mount}")
