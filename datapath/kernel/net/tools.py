"""What has no netlink library worth having: nft, iptables, tc's shapers, and processes.

A tool runs in the namespace of the calling thread, which children inherit.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from datapath.errors import EbpfnetError, NotFound
from datapath.kernel.net import netns

_PATIENCE = 20  # seconds


def run(argv: Sequence[str], *, stdin: str = "") -> str:
    """Run a tool and return what it printed. It dies with us: who is killed changes nothing later.

    Raises NotFound where it is not installed, EbpfnetError with its own words where it fails.
    """
    require(argv[0])
    try:
        done = subprocess.run(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EbpfnetError(
            f"{shlex.join(argv)} did not end within {_PATIENCE} s", remedy="run it by hand"
        ) from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        first = said.splitlines()[0] if said else f"exit code {done.returncode}"
        raise EbpfnetError(f"{shlex.join(argv)}: {first}", detail=said)
    return done.stdout


def require(tool: str) -> None:
    """Raises NotFound unless a tool is on the PATH (or is the path of one)."""
    if not shutil.which(tool):
        raise NotFound(f"there is no {tool} on this machine", remedy=f"install {tool}")


def loads_on_demand(alias: str) -> bool:
    """Whether the kernel would load a module for `alias` ("rtnl-link-vxlan") when it is wanted.

    False for what is built in, loaded already, or not there. Nothing is loaded.
    """
    try:
        names = run(["modprobe", "--resolve-alias", alias]).split()
    except EbpfnetError:
        return False
    return any(not Path("/sys/module", name).exists() for name in names)


@cache
def shapes(kind: str) -> bool:
    """Whether this kernel has a queueing discipline ("tbf", "netem"); see devices.supports."""
    if loads_on_demand(f"sch_{kind}") or loads_on_demand(f"net-sch-{kind}"):
        return True
    words = {
        "tbf": ("rate", "1mbit", "burst", "32kb", "latency", "50ms"),
        "netem": ("delay", "1ms"),
    }[kind]

    def add() -> bool:
        try:
            run(["tc", "qdisc", "add", "dev", "lo", "root", kind, *words])
        except EbpfnetError:
            return False
        return True

    return netns.scratch(add)


@cache
def filters(tool: str) -> bool:
    """Whether nft or iptables can translate addresses here, which wants more than the tool."""
    table = "add table ip t; add chain ip t c { type nat hook postrouting priority 100; }"
    rules = {
        "nft": ["nft", f"{table}; add rule ip t c masquerade"],
        "iptables": ["iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"],
    }[tool]

    def add() -> bool:
        try:
            run(rules)
        except EbpfnetError:
            return False
        return True

    return netns.scratch(add)
