"""What a comparison ran on: the machine, its versions, and how each mode's interfaces were set."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from datapath.compare.declared import LabMode
from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.kernel.bpf import compiler, features
from datapath.kernel.net import ethtool, netns, sysctl
from datapath.modes.base import EbpfMode
from datapath.steps.interfaces import HOST_NETNS
from datapath.version import VERSION

OFFLOADS: Final = (
    "rx-gro",
    "rx-gro-list",
    "rx-udp-gro-forwarding",
    "rx-checksum",
    "tx-checksum-ip-generic",
    "tx-scatter-gather",
    "tx-tcp-segmentation",
    "tx-generic-segmentation",
    "tx-vlan-hw-insert",
)
# What says where and with what a run was; the rest tells how it went.
_IDENTITY: Final = (
    *("kernel", "architecture", "distribution", "cpu", "cpus", "measured_on_cpu", "governor"),
    *("bpf_jit", "legacy_tables", "versions", "sources", "modes", "offloads"),
)
_VERSION = re.compile(r"\d+(\.\d+)+")


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that two environments do not have in common; None where one has it not."""

    name: str
    first: object
    second: object


def machine(cpu: int, tools: Iterable[Tool]) -> dict[str, Any]:
    """The machine and the versions of what measures on it; null for what cannot be found out."""
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "distribution": _distribution(),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "measured_on_cpu": cpu,
        "governor": _read(Path(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")),
        "load_average": os.getloadavg()[0],
        "bpf_jit": sysctl.read("net/core/bpf_jit_enable"),
        "versions": {
            "ebpfnet": VERSION,
            "python": platform.python_version(),
            "bcc": _bcc_version(),
            **{tool.command: _tool_version(tool.command) for tool in tools},
        },
    }


def sources(programs: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of every C source of the kit and of users' own programs."""
    folder = compiler.source_folder()
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*.[ch]"))}
    files |= {str(file): file for file in programs}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Where two environments differ in what may make a difference."""
    one, other = ({key: each.get(key) for key in _IDENTITY} for each in (first, second))
    before, after = dict(_leaves(one)), dict(_leaves(other))
    return tuple(
        Difference(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    )


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every single value in nested mappings, by its dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def mode(lab: Lab) -> dict[str, Any]:
    """What a name in the report stands for, where an eBPF mode's programs sit, a packet's path."""
    program = lab.mode.ebpf if isinstance(lab.mode, LabMode) else lab.mode
    hook = features.preferred_hook(program.hooks) if isinstance(program, EbpfMode) else None
    return {
        "name": lab.mode.name,
        "summary": lab.mode.summary,
        "hook": hook.name.lower() if hook else None,
        "path": [asdict(station) for station in lab.mode.path],
    }


def offloads(lab: Lab) -> dict[str, dict[str, bool]]:
    """Offload features at each veth end of a lab, by ethtool's names."""
    return {
        end: netns.run_inside(
            Path(where) if where else HOST_NETNS,
            lambda ifname=ifname: ethtool.get_features(ifname, OFFLOADS),  # type: ignore[misc]
        )
        for end, (where, ifname) in lab.ends().items()
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _cpu_model() -> str | None:
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def _bcc_version() -> str | None:
    try:
        return metadata.version("bcc")
    except metadata.PackageNotFoundError:
        return None


def _tool_version(tool: str) -> str | None:
    done = subprocess.run(
        [tool, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else None
