"""Kernel headers for bcc: any installed ones serve, since our programs use the stable UAPI only.

Looked for in this order: $BCC_KERNEL_SOURCE, the running kernel's own build folder, the newest
under /usr/src. Debian splits headers into -common and -<flavour> halves; bcc wants one folder, so
the two are joined by symlinks in a cache folder. /lib/modules is never written to.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from datapath.errors import Unsupported

_CACHE = Path("/var/cache/ebpfnet/headers")
_SOURCES = Path("/usr/src")


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.name))


def _installed() -> list[Path]:
    """Header folders under /usr/src that know an architecture, newest first."""
    return sorted(
        (
            folder
            for folder in _SOURCES.glob("linux-headers-*")
            if (folder / "include/generated/autoconf.h").exists()
        ),
        key=_version,
        reverse=True,
    )


def _joined(flavour: Path) -> Path:
    """`flavour` itself where it is whole, else the cache folder that joins it with its -common."""
    if (flavour / "include/linux/kernel.h").exists():
        return flavour
    stem = flavour.name
    while not (common := flavour.parent / f"{stem}-common").is_dir():
        stem, dash, _ = stem.rpartition("-")
        if not dash:
            raise Unsupported(
                "kernel headers",
                f"the -common half of {flavour} is not installed",
                remedy="apt-get install --reinstall linux-headers-amd64",
            )
    target = _CACHE / flavour.name
    if target.is_dir():
        return target
    _CACHE.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=_CACHE))
    try:
        _link_together((common, flavour), building)
        building.chmod(0o755)
        building.rename(target)
    except OSError:
        shutil.rmtree(building, ignore_errors=True)
        if not target.is_dir():  # else: another process was faster
            raise
    return target


def _link_together(halves: Sequence[Path], target: Path) -> None:
    """Make `target` a folder with all that the halves have: what only one has is one link."""
    for name in sorted({entry.name for half in halves for entry in half.iterdir()}):
        having = [half / name for half in halves if (half / name).exists()]
        folders = [path for path in having if path.is_dir()]
        if len(folders) > 1:
            (target / name).mkdir()
            _link_together(folders, target / name)
        elif having:
            (target / name).symlink_to(having[0])


def find() -> Path:
    """The folder to compile against. Raises Unsupported, naming the package to install."""
    if given := os.environ.get("BCC_KERNEL_SOURCE"):
        if not (Path(given) / "include/linux/kconfig.h").exists():  # what bcc itself looks for
            raise Unsupported(
                "kernel headers",
                f"{given}, of $BCC_KERNEL_SOURCE, holds no kernel headers",
                remedy="unset BCC_KERNEL_SOURCE",
            )
        return Path(given)
    own = Path("/lib/modules") / os.uname().release / "build"
    if (own / "include/generated/autoconf.h").exists():
        return _joined(own.resolve())
    for folder in _installed():
        return _joined(folder)
    raise Unsupported(
        "kernel headers",
        "no kernel headers are installed; bcc needs them to compile (any version serves)",
        remedy="apt-get install linux-headers-amd64 (Ubuntu: linux-headers-generic)",
    )
