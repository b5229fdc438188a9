"""Tun and tap interfaces, whose other end is a process (linux/if_tun.h).

A file of /dev/net/tun becomes the other end of one interface; without such a file the interface has
no carrier. One that is made to persist outlives the file.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from io import FileIO
from typing import Final, Literal

from datapath.errors import AlreadyExists, KernelError

Mode = Literal["tun", "tap"]  # packets, or frames

_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_MODES: Final = {"tun": 0x0001, "tap": 0x0002}
_IFF_NO_PI: Final = 0x1000  # packets alone, no header of the driver's before them
_IFF_TUN_EXCL: Final = 0x8000  # make one, or fail


def make(ifname: str, mode: Mode) -> None:
    """Make an interface that persists.

    Raises AlreadyExists where the name is taken, KernelError.
    """
    try:
        with _opened(ifname, _MODES[mode] | _IFF_TUN_EXCL) as device:
            fcntl.ioctl(device, _TUNSETPERSIST, 1)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EEXIST, errno.EINVAL):  # EINVAL: of another kind
            raise AlreadyExists(
                f"interface {ifname} exists already", remedy="see `ip link`"
            ) from error
        raise KernelError(f"making {mode} {ifname}", error.errno or errno.EIO) from error


def other_end(ifname: str, mode: Mode) -> FileIO:
    """The other end of an interface that is there: one packet for each read and write.

    Raises OSError.
    """
    return _opened(ifname, _MODES[mode])


def _opened(ifname: str, flags: int) -> FileIO:
    device = FileIO("/dev/net/tun", "r+b")
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", ifname.encode(), flags | _IFF_NO_PI))
    except BaseException:
        device.close()
        raise
    return device
