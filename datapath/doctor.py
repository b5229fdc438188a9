"""What the kit needs of this machine: each prerequisite found, or with the command that mends it.

Runs without root and with anything missing, and says then what it could not tell. Changes nothing:
the program that is compiled and loaded as a proof is gone again at once. (It goes the way that
`attach` goes, which may fill the cache of joined headers that datapath.kernel.bpf.headers keeps.)
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Final

from datapath.errors import EbpfnetError, Unsupported
from datapath.kernel.bpf import features, headers, libbpf, sockets
from datapath.kernel.net import netns, sysctl
from datapath.network import BPFFS, require_bpffs
from datapath.privileges import missing_capabilities

_OLDEST_KERNEL: Final = (5, 15)
_DISTRIBUTION_BCC: Final = Path("/usr/lib/python3/dist-packages/bcc")
# Tools of root's that are not on everybody's PATH.
_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
# Modules, and a symbol by which each is known where it is built in.
_MODULES: Final = {
    "veth": "veth_newlink",
    "bridge": "br_dev_newlink",
    "sch_ingress": "clsact_init",
    "cls_bpf": "cls_bpf_init",
}
_PROOF: Final = """\
#include <uapi/linux/if_ether.h>
int proof(struct __sk_buff *frame) { return frame->len > ETH_HLEN; }
"""
# Tool, Debian's package, and what is lost without it. None is required: the kit itself talks to
# the kernel directly.
_TOOLS: Final = (
    ("ip", "iproute2", "no `ip netns exec` to work inside namespaces"),
    ("tc", "iproute2", "no second opinion on filters"),
    ("ethtool", "ethtool", "no second opinion on offloads"),
    ("bpftool", "bpftool (Ubuntu: linux-tools-generic)", "no second opinion on maps and programs"),
    ("ping", "iputils-ping", "no first try of a network, and no `make demo`"),
    ("iperf3", "iperf3", "no workload tcp_stream in compare"),
    ("sockperf", "sockperf", "no workload tcp_rr in compare"),
    ("tcpdump", "tcpdump", "no watching of frames"),
    ("arping", "arping", "no trying of ARP by hand"),
)


class State(StrEnum):
    """What came of a check; UNKNOWN is what only root may find out."""

    OK = "ok"
    MISSING = "missing"
    OPTIONAL_MISSING = "optional-missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Check:
    """One prerequisite: what was found, and what to type where that is not enough.

    `detail` is the compiler's, the verifier's or the system's own words.
    """

    name: str
    required: bool
    state: State
    found: str
    remedy: str = ""
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether the kit cannot work on this machine, or not be known to, because of it."""
        return self.required and self.state is not State.OK


def examine() -> list[Check]:
    """Every check, in the order in which to mend them. Raises nothing."""
    return [_check(name, probe, without) for name, probe, without in _probes()]


# A probe returns what it found. Unsupported says that it is missing, PermissionError that only root
# can tell. With it goes what is lost without, None for what is required.
_Probe = tuple[str, Callable[[], str], str | None]


def _probes() -> Iterator[_Probe]:
    yield "privileges", _privileges, None
    yield "kernel", _kernel, None
    yield "bpffs", _bpffs, None
    yield "namespaces", _namespaces, None
    yield "veth", partial(_module, "veth", "CONFIG_VETH"), None
    yield "tc hook", _tc_hook, None
    yield "libbpf", features.libbpf_version, None
    yield "bcc", _bcc, None
    yield "headers", _headers, None
    yield "compile and load", _compile_and_load, None
    yield "pyroute2", _pyroute2, None
    for feature in features.ALL:
        yield feature.name, partial(_feature, feature), feature.without
    yield "jit", _jit, "programs run several times slower"
    yield "ipv6", _ipv6, "endpoints have no IPv6 addresses"
    yield "cgroup2", _cgroup2, "no mode sockmap"
    yield "bridge", partial(_module, "bridge", "CONFIG_BRIDGE"), "no mode bridge to compare with"
    yield "bridge-nf", _bridge_netfilter, ""
    for name, package, without in _TOOLS:
        yield name, partial(_tool, name, package), without


def _check(name: str, probe: Callable[[], str], without: str | None) -> Check:
    check = partial(Check, name, without is None)
    missing = State.MISSING if without is None else State.OPTIONAL_MISSING
    lost = f"; without: {without}" if without else ""
    try:
        return check(State.OK, probe())
    except PermissionError:
        return check(State.UNKNOWN, "only root can tell", "mend privileges first")
    except EbpfnetError as error:
        return check(missing, error.message + lost, error.remedy, error.detail)
    except Exception as error:  # whatever is wrong with this machine, the other checks go on
        return check(missing, f"{type(error).__name__}: {error}{lost}")


def _require_root() -> None:
    if missing_capabilities():
        raise PermissionError


def _privileges() -> str:
    if uid := os.geteuid():
        who = f"user {uid}, not root,"
        remedy = "sudo ebpfnet doctor" if shutil.which("sudo") else 'su -c "ebpfnet doctor"'
    else:
        who = "root"
        remedy = "docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN, as the machine's own root"
    if missing := missing_capabilities():
        raise Unsupported("root", f"{who} lacks {' and '.join(missing)}", remedy=remedy)
    return who


def _kernel() -> str:
    release = os.uname().release
    numbers = tuple(map(int, re.findall(r"\d+", release)[:2]))
    if numbers < _OLDEST_KERNEL:
        oldest = ".".join(map(str, _OLDEST_KERNEL))
        raise Unsupported(
            "kernel",
            f"{release} is older than {oldest}",
            remedy="apt-get install linux-image-amd64 (Ubuntu: linux-generic), and reboot",
        )
    return release


def _bpffs() -> str:
    require_bpffs()
    return str(BPFFS)


def _namespaces() -> str:
    folder = netns.FOLDER if netns.FOLDER.is_dir() else netns.FOLDER.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        _require_root()
        raise Unsupported(
            "namespaces",
            f"{folder} cannot be written to",
            remedy=f"mount -o remount,rw {folder}",
        )
    return f"{netns.FOLDER}, {len(netns.named())} there"


@cache
def _modules() -> frozenset[str]:
    """Those of _MODULES that are built in, loaded or to be loaded; finding out loads none."""
    folder = Path("/lib/modules", os.uname().release)
    lists = [folder / "modules.builtin", folder / "modules.dep"]
    listed = "".join(path.read_text() for path in lists if path.exists())
    symbols = {
        *re.findall(rf" ({'|'.join(_MODULES.values())})\s", Path("/proc/kallsyms").read_text())
    }
    return frozenset(
        module
        for module, symbol in _MODULES.items()
        if f"/{module}.ko" in listed or symbol in symbols
    )


def _module(module: str, option: str) -> str:
    if module not in _modules():
        raise Unsupported(
            module,
            f"this kernel has no {module} devices",
            remedy=f"boot a kernel with {option} (Ubuntu: "
            f"apt-get install linux-modules-extra-{os.uname().release})",
        )
    return "in the kernel, or a module of it"


def _tc_hook() -> str:
    hooks = []
    if not missing_capabilities() and features.has(features.TCX):
        hooks.append("tcx")
    if _modules() >= {"sch_ingress", "cls_bpf"}:
        hooks.append("clsact")
    if not hooks:
        _require_root()
        raise Unsupported(
            "tc",
            "this kernel has neither tcx nor clsact with BPF filters",
            remedy="boot a kernel with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF",
        )
    return " and ".join(hooks)


def _bcc() -> str:
    try:
        version = features.bcc_version()
    except Exception as error:  # of another package by that name, or of a broken installation
        venv = "/usr/bin/python3 -m venv --system-site-packages .venv; pip install ebpfnet there"
        raise Unsupported(
            "bcc",
            f"{sys.executable} cannot import bcc",
            remedy=venv if _DISTRIBUTION_BCC.is_dir() else "apt-get install python3-bpfcc",
            detail=f"{type(error).__name__}: {error}",
        ) from error
    return f"{version} in {sys.executable}"


def _headers() -> str:
    folder = headers.find()
    release = os.uname().release
    own = Path("/lib/modules", release, "build").resolve() == folder or release in folder.name
    return f"{folder} ({'of this kernel' if own else 'of another kernel, which serves'})"


def _compile_and_load() -> str:
    _require_root()
    from datapath.kernel.bpf import compiler

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "proof.c")
        source.write_text(_PROOF)
        started = time.monotonic()
        with compiler.Module(source, {}) as module:
            fd = compiler.load(module.function("proof"), libbpf.PROG_SCHED_CLS)
        os.close(fd)
    return f"done in {time.monotonic() - started:.2f} s"


def _pyroute2() -> str:
    try:
        importlib.import_module("datapath.kernel.net.links")
    except ImportError as error:
        raise Unsupported(
            "pyroute2",
            f"{sys.executable} cannot import pyroute2",
            remedy=f"{sys.executable} -m pip install --upgrade pyroute2",
            detail=str(error),
        ) from error
    return importlib.metadata.version("pyroute2")


def _feature(feature: features.Feature) -> str:
    if feature is not features.BTF:
        _require_root()
    if not features.has(feature):
        raise Unsupported(
            feature.name,
            f"no {feature.summary}",
            remedy=f"boot a kernel >= {feature.since} with {feature.option}",
        )
    return feature.summary


def _jit() -> str:
    name = "net.core.bpf_jit_enable"
    value = sysctl.read(name.replace(".", "/"))
    if value is None:
        raise Unsupported(
            "jit",
            f"no {name}",
            remedy="boot a kernel with CONFIG_BPF_JIT, or leave this network namespace",
        )
    if value == "0":
        raise Unsupported("jit", f"{name} is 0", remedy=f"sysctl -w {name}=1")
    return f"{name} is {value}"


def _ipv6() -> str:
    name = "net.ipv6.conf.all.disable_ipv6"
    value = sysctl.read(name.replace(".", "/"))
    if value is None:
        raise Unsupported("ipv6", "this kernel has no IPv6", remedy="boot without ipv6.disable=1")
    if value != "0":
        raise Unsupported("ipv6", f"{name} is {value}", remedy=f"sysctl -w {name}=0")
    return "on"


def _cgroup2() -> str:
    return str(sockets.cgroup_root())


def _bridge_netfilter() -> str:
    value = sysctl.read("net/bridge/bridge-nf-call-iptables")
    if value is None:
        return "br_netfilter is not loaded: bridges are spared iptables"
    cost = "are spared" if value == "0" else "pay for"
    return f"bridge-nf-call-iptables is {value}: bridges {cost} iptables"


def _tool(name: str, package: str) -> str:
    path = shutil.which(name, path=_PATH)
    if path is None:
        raise Unsupported(name, "not installed", remedy=f"apt-get install {package}")
    # Ubuntu installs a script by this name that only looks for the running kernel's own bpftool.
    if name == "bpftool" and subprocess.run([path, "version"], capture_output=True).returncode:
        raise Unsupported(
            name,
            f"{path} finds no bpftool for this kernel",
            remedy=f"apt-get install linux-tools-{os.uname().release}",
        )
    return path
