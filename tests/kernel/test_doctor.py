"""The doctor on this machine, and on what it becomes in a mount namespace of the doctor's own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from datapath.kernel.bpf import features, libbpf
from tests.support import hosts, lane

# Mounts and unmounts in the namespace that it was started in, and then has the doctor look round.
ELSEWHERE = """\
import json, os, subprocess, sys
if os.stat("/proc/self/ns/mnt").st_ino == int(sys.argv.pop(1)):
    sys.exit("these mounts would be everybody's")
for command in json.loads(sys.argv.pop(1)):
    subprocess.run(command, check=True)
os.environ.pop("BCC_KERNEL_SOURCE", None)
from cli import main
main.main()
"""
# A lane's namespace has not got the settings that are the whole machine's.
MACHINE = ("nsenter", f"--net={lane.OUTSIDE}")
NOT_IN_THE_KERNEL = 1 << 12  # no helper, map type or attach type has this number yet


def read(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The checks by name, out of `doctor -o json`."""
    return {row["name"]: row for row in json.loads(done.stdout)}


def elsewhere(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """`doctor -o json` after these commands, whose mounts nobody else sees."""
    here = str(Path("/proc/self/ns/mnt").stat().st_ino)
    return hosts.run(
        *(
            *MACHINE,
            "unshare",
            "--mount",
            sys.executable,
            "-c",
            ELSEWHERE,
            here,
            json.dumps(commands),
        ),
        *("doctor", "-o", "json"),
        check=False,
        cwd=hosts.CHECKOUT,
    )


def under(*command: str, more: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """`doctor -o json`, started by another command."""
    return hosts.run(
        *(*command, sys.executable, "-m", "cli", "doctor", "-o", "json", *more),
        check=False,
        cwd=hosts.CHECKOUT,
    )


def test_this_machine_is_ready() -> None:
    done = hosts.ebpfnet("doctor", "-o", "json")
    assert done.stderr == ""
    checks = read(done)
    assert {row["state"] for row in checks.values() if row["required"]} == {"ok"}
    assert {row["state"] for row in checks.values()} <= {"ok", "optional-missing"}
    assert checks["privileges"]["found"] == "root"
    assert checks["kernel"]["found"] == os.uname().release
    assert checks["compile and load"]["found"].startswith("done in ")
    assert checks["bpftool"]["found"] == hosts.run("which", "bpftool").stdout.strip()


def test_bpftool_is_of_the_same_opinion() -> None:
    checks = read(under(*MACHINE))
    told = json.loads(hosts.run(*MACHINE, "bpftool", "-j", "feature", "probe", "kernel").stdout)
    for name, known in (("devmap", "have_devmap_map_type"), ("sockmap", "have_sockhash_map_type")):
        assert (checks[name]["state"] == "ok") == told["map_types"][known]
    jit = told["system_config"]["bpf_jit_enable"]
    assert checks["jit"]["found"] == f"net.core.bpf_jit_enable is {jit}"


def test_probes_can_say_no() -> None:
    """What no kernel has is not found, whatever this one has."""
    assert features._helper(libbpf.PROG_SCHED_CLS, 1)  # bpf_map_lookup_elem
    assert not features._helper(libbpf.PROG_SCHED_CLS, NOT_IN_THE_KERNEL)
    assert not features._helper(libbpf.PROG_XDP, NOT_IN_THE_KERNEL)
    assert features._map_type(libbpf.MAP_HASH)
    assert not features._map_type(NOT_IN_THE_KERNEL)
    assert features._query_errno(NOT_IN_THE_KERNEL) != 0


def test_without_bpffs() -> None:
    done = elsewhere(["umount", "--lazy", "/sys/fs/bpf"])
    assert done.returncode == 1
    assert done.stderr == (
        "ebpfnet: this machine is not ready: bpffs; type the remedies of these rows\n"
    )
    assert read(done)["bpffs"]["remedy"] == "mount -t bpf bpf /sys/fs/bpf"


def test_without_kernel_headers() -> None:
    empty = ("-t", "tmpfs", "tmpfs")
    done = elsewhere(
        ["mount", *empty, "/usr/src"],
        ["mount", *empty, "/lib/modules"],
    )
    assert done.returncode == 1
    assert "headers, compile and load" in done.stderr
    checks = read(done)
    for name in ("headers", "compile and load"):
        assert checks[name]["state"] == "missing"
        assert checks[name]["remedy"].startswith("apt-get install linux-headers-")


def test_without_cgroup2_it_is_still_ready() -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    done = elsewhere(
        *(["umount", "--lazy", where] for _, where, kind, *_ in mounts if kind == "cgroup2")
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert read(done)["cgroup2"]["state"] == "optional-missing"
    assert read(done)["cgroup2"]["remedy"].startswith("mount -t cgroup2 ")


def test_without_a_place_for_namespaces() -> None:
    done = elsewhere(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/run"])
    assert done.returncode == 1
    assert "not ready: namespaces;" in done.stderr
    assert read(done)["namespaces"]["remedy"] == "mount -o remount,rw /run"


def test_without_veth_and_bridge_in_the_kernel(tmp_path: Path) -> None:
    symbols = tmp_path / "kallsyms"
    symbols.touch()
    done = elsewhere(
        ["mount", "--bind", str(symbols), "/proc/kallsyms"],
        ["mount", "-t", "tmpfs", "tmpfs", "/lib/modules"],
    )
    assert done.returncode == 1
    checks = read(done)
    assert (checks["veth"]["state"], checks["bridge"]["state"]) == ("missing", "optional-missing")
    assert "CONFIG_VETH" in checks["veth"]["remedy"]
    assert "clsact" not in checks["tc hook"]["found"].split()


@pytest.mark.parametrize(
    ("key", "value", "check"),
    [
        ("net.core.bpf_jit_enable", "0", "jit"),
        ("net.ipv6.conf.all.disable_ipv6", "1", "ipv6"),
    ],
)
def test_with_a_sysctl_that_is_in_the_way(key: str, value: str, check: str, tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text(f"{value}\n")
    done = elsewhere(
        ["mount", "--bind", str(setting), f"/proc/sys/{key.replace('.', '/')}"],
    )
    assert (done.returncode, done.stderr) == (0, "")
    row = read(done)[check]
    assert row["state"] == "optional-missing"
    assert f"{key} is {value}" in row["found"]
    assert row["remedy"] == f"sysctl -w {key}={1 - int(value)}"


def test_root_of_a_user_namespace_is_not_root() -> None:
    done = under("unshare", "--user", "--map-root-user")
    assert done.returncode == 1
    checks = read(done)
    assert checks["privileges"]["state"] == "missing"
    assert "CAP_NET_ADMIN and CAP_SYS_ADMIN" in checks["privileges"]["found"]
    assert checks["compile and load"]["state"] == "unknown"


def test_root_without_a_capability_is_told_which() -> None:
    done = under("setpriv", "--bounding-set", "-sys_admin")
    assert done.returncode == 1
    assert read(done)["privileges"]["found"] == "root lacks CAP_SYS_ADMIN"


def test_verbose_prints_the_compilers_words(tmp_path: Path) -> None:
    """The headers look right, and are empty."""
    (tmp_path / "include/linux").mkdir(parents=True)
    (tmp_path / "include/linux/kconfig.h").touch()
    quiet, told = (
        under("env", f"BCC_KERNEL_SOURCE={tmp_path}", more=more) for more in ([], ["-v"])
    )
    assert read(quiet)["headers"]["state"] == "ok"
    assert read(quiet)["compile and load"]["state"] == "missing"
    assert "--verbose" in read(quiet)["compile and load"]["remedy"]
    assert quiet.returncode == told.returncode == 1
    assert quiet.stderr.count("\n") == 1
    assert "error:" in told.stderr
    assert told.stderr.endswith(quiet.stderr)


def test_headers_that_are_none_spoil_no_output(tmp_path: Path) -> None:
    """bcc would say so on stdout, in the middle of the document."""
    done = under("env", f"BCC_KERNEL_SOURCE={tmp_path}")
    assert done.returncode == 1
    assert read(done)["headers"]["state"] == read(done)["compile and load"]["state"] == "missing"
