"""Sysctls under /proc/sys, of the calling thread's network namespace."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from datapath.errors import KernelError

_ROOT: Final = Path("/proc/sys")


def read(name: str) -> str | None:
    """The value of `name` ("net/ipv4/ip_forward"), None where this kernel has none such."""
    try:
        return (_ROOT / name).read_text().strip()
    except FileNotFoundError:
        return None


def write(name: str, value: str) -> None:
    """Set a value. Raises KernelError."""
    try:
        (_ROOT / name).write_text(value)
    except OSError as error:
        raise KernelError(f"setting sysctl {name}", error.errno or errno.EIO) from error
