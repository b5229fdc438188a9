"""The kernels that tests boot: Debian's packages, unpacked aside and never installed.

`python -m tests.vm.kernels` fetches those that apt offers, each in its newest version; for root.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CACHE = Path("/var/cache/ebpfnet/kernels")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A stable series of Linux, of which Debian has one version or several."""

    series: str

    def __str__(self) -> str:
        return f"Linux {self.series}"

    def newest(self, names: Iterable[str]) -> str | None:
        """The newest of this series' packages among these names.

        That is linux-image-6.1.0-56-amd64 or linux-image-6.12.117+deb12-amd64: not the flavour for
        clouds, which lacks 9p and most network devices, nor those for real time or without
        signature.
        """
        pattern = re.compile(
            rf"linux-image-{re.escape(self.series)}\.[0-9]+(-[0-9]+|\+[0-9a-z]+)?-amd64"
        )
        return max(filter(pattern.fullmatch, names), key=_version, default=None)

    def unpacked(self) -> Path | None:
        """The folder that holds boot/ and lib/modules/, if it was fetched."""
        name = self.newest(path.name for path in CACHE.glob("linux-image-*"))
        return CACHE / name if name else None


# The oldest that a supported distribution has, without tcx; and one with tcx and netkit, and with
# the devices that small kernels leave out.
KERNELS = (Kernel("6.1"), Kernel("6.12"))


def fetch(kernel: Kernel) -> Path | None:
    """Unpack the newest package that apt has, unless it is there; None if apt has none.

    Raises CalledProcessError if a tool fails, with its words in `stderr`.
    """
    search = _run("apt-cache", "search", "--names-only", "^linux-image-.*-amd64$")
    package = kernel.newest(line.split()[0] for line in search.splitlines())
    if package is None:
        return None
    folder = CACHE / package
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            # apt would rather be another user, who may not write here.
            _run("apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package, cwd=scratch)
            (archive,) = Path(scratch).glob("*.deb")
            tree = Path(scratch, "tree")
            _run("dpkg-deb", "--extract", str(archive), str(tree))
            if not (tree / "lib").exists():  # Debian 13 packs usr/lib
                (tree / "lib").symlink_to("usr/lib")
            (modules,) = (tree / "lib/modules").iterdir()
            _run("depmod", "--basedir", str(tree), modules.name)
            tree.rename(folder)
    return folder


def _version(package: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", package)]


def _run(*argv: str, cwd: str | None = None) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=cwd).stdout


def main() -> int:
    """Fetch them all; an exit code."""
    for kernel in KERNELS:
        try:
            folder = fetch(kernel)
        except subprocess.CalledProcessError as error:
            print(f"{kernel}: {' '.join(error.cmd)} failed: {error.stderr}", file=sys.stderr)
            return 1
        print(f"{kernel}: {folder or 'apt offers none here, so it will not be tested'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
