"""Processes at the other end of tun and tap interfaces, and the UDP ports that they have open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DEVICE: Final = "/dev/net/tun"
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_PROC_NET_INODE: Final = 9  # column of /proc/net/udp


@dataclass(frozen=True, slots=True)
class Reader:
    """A process that reads what the kernel sends out by a tun or tap interface."""

    pid: int
    name: str
    udp_ports: frozenset[int]  # that its sockets are bound to


def readers(ifname: str, inode: int) -> Iterator[Reader]:
    """Those of an interface: processes in its namespace, which has this inode."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if (folder / "ns/net").stat().st_ino == inode and _reads(folder, ifname):
                name = (folder / "comm").read_text().strip()
                yield Reader(int(folder.name), name, frozenset(_udp_ports(folder)))


def _reads(process: Path, ifname: str) -> bool:
    """The kernel tells which interface a descriptor is for (drivers/net/tun.c, Linux 4.2)."""
    return any(
        f"iff:\t{ifname}\n" in (process / "fdinfo" / fd.name).read_text()
        for fd in (process / "fd").iterdir()
        if str(fd.readlink()) == _DEVICE
    )


def _udp_ports(process: Path) -> Iterator[int]:
    inodes = {
        found[1]
        for fd in (process / "fd").iterdir()
        if (found := _SOCKET.fullmatch(str(fd.readlink())))
    }
    for table in ("udp", "udp6"):
        with suppress(FileNotFoundError):
            for line in (process / "net" / table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[_PROC_NET_INODE] in inodes:
                    yield int(columns[1].rpartition(":")[2], 16)
