"""The doctor on machines that lack something. Needs no root, and says the same with it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

from cli import main
from datapath import doctor
from datapath.doctor import Check, State
from datapath.errors import Unsupported
from datapath.kernel.bpf import features

ROOT = Path(__file__).parents[2]
NOBODY = 65534
TOOLS = {"ip", "tc", "ethtool", "bpftool", "ping", "iperf3", "sockperf", "tcpdump", "arping"}
# Runs the doctor without the libraries that it looks for, whatever is installed.
WITHOUT_LIBRARIES = """\
import ctypes, sys
class Loader(ctypes.CDLL):
    def __init__(self, name, *args, **kwargs):
        if name and "bpf" in name:
            raise OSError(f"{name}: cannot open shared object file")
        super().__init__(name, *args, **kwargs)
ctypes.CDLL = Loader
sys.modules["bcc"] = sys.modules["pyroute2"] = None
from cli import main
main.main()
"""
# Runs it as nobody, to whom the checkout and the virtual environment may be closed.
AS_NOBODY = f"""\
import os
import pyroute2, yaml, tabulate
from cli import doctor, main
from datapath import doctor
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
main.main()
"""


@pytest.fixture(autouse=True)
def _compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """That takes root, and is tried by the tests on the machine itself."""
    monkeypatch.setattr(doctor, "_compile_and_load", lambda: "done in 0.10 s")


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing_capabilities", lambda: [])


def examined() -> dict[str, Check]:
    checks = doctor.examine()
    found = {check.name: check for check in checks}
    assert len(found) == len(checks)
    return found


def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, "doctor", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_looks_for_every_prerequisite() -> None:
    checks = examined()
    assert {*checks} >= {
        *("privileges", "kernel", "bpffs", "namespaces", "veth", "tc hook", "libbpf", "bcc"),
        *("headers", "compile and load", "pyroute2", "jit", "ipv6", "cgroup2", "bridge-nf"),
        *(feature.name for feature in features.ALL),
        *TOOLS,
    }


def test_whatever_is_not_ok_has_a_remedy() -> None:
    for check in doctor.examine():
        assert check.found
        assert check.remedy or check.state is State.OK, check


def test_tools_are_optional_and_come_by_apt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_PATH", str(tmp_path))
    checks = examined()
    for name in TOOLS:
        assert checks[name].state is State.OPTIONAL_MISSING
        assert checks[name].found.startswith("not installed; without: no ")
        assert checks[name].remedy.startswith("apt-get install ")
        assert not checks[name].failed
    assert checks["ping"].remedy == "apt-get install iputils-ping"
    assert "tcp_rr" in checks["sockperf"].found


@pytest.mark.parametrize(("code", "state"), [(0, State.OK), (2, State.OPTIONAL_MISSING)])
def test_ubuntus_stand_in_is_no_bpftool(
    code: int, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bpftool"
    tool.write_text(f"#!/bin/sh\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(doctor, "_PATH", str(tmp_path))
    check = examined()["bpftool"]
    assert check.state is state
    assert str(tool) in check.found
    assert (os.uname().release in check.remedy) == bool(code)


@pytest.mark.parametrize(
    ("release", "state"),
    [
        ("5.10.0-33-amd64", State.MISSING),
        ("5.14.21", State.MISSING),
        ("5.15.0-generic", State.OK),
        ("6.1.0-rc1", State.OK),
        ("10.0", State.OK),
    ],
)
def test_kernels_from_5_15_on_will_do(
    release: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "uname", lambda: SimpleNamespace(release=release))
    check = examined()["kernel"]
    assert check.state is state
    assert release in check.found
    assert check.required


@pytest.mark.usefixtures("as_root")
def test_features_say_what_is_lost_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "has", lambda feature: False)
    checks = examined()
    for feature in features.ALL:
        check = checks[feature.name]
        assert check.remedy == f"boot a kernel >= {feature.since} with {feature.option}"
        if feature is features.REDIRECT_PEER:  # the default mode takes it
            assert check.state is State.MISSING
            assert check.failed
        else:
            assert check.state is State.OPTIONAL_MISSING
            assert check.found == f"no {feature.summary}; without: {feature.without}"
            assert not check.failed


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize(
    ("tcx", "modules", "found"),
    [
        (True, {"sch_ingress", "cls_bpf"}, "tcx and clsact"),
        (True, {"sch_ingress"}, "tcx"),
        (False, {"sch_ingress", "cls_bpf"}, "clsact"),
        (False, {"cls_bpf"}, "this kernel has neither tcx nor clsact with BPF filters"),
    ],
)
def test_one_tc_hook_is_required(
    tcx: bool, modules: set[str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "has", lambda feature: tcx)
    monkeypatch.setattr(doctor, "_modules", lambda: frozenset(modules))
    check = examined()["tc hook"]
    assert check.found == found
    assert check.failed == (found not in ("tcx and clsact", "tcx", "clsact"))
    assert ("CONFIG_NET_SCH_INGRESS" in check.remedy) == check.failed
    assert examined()["veth"].failed


@pytest.mark.parametrize(("user", "remedy"), [(0, "--cap-add SYS_ADMIN"), (1000, "ebpfnet doctor")])
def test_names_the_capabilities_that_are_missing(
    user: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "missing_capabilities", lambda: ["CAP_SYS_ADMIN"])
    monkeypatch.setattr(doctor.os, "geteuid", lambda: user)
    checks = examined()
    check = checks["privileges"]
    assert check.state is State.MISSING
    assert "CAP_SYS_ADMIN" in check.found
    assert "CAP_NET_ADMIN" not in check.found
    assert remedy in check.remedy
    # Without them the kernel's answers are worth nothing.
    assert checks["tcx"].state is checks["redirect_peer"].state is State.UNKNOWN
    assert checks["redirect_peer"].failed
    assert not checks["tcx"].failed


def test_nobody_learns_what_can_be_known_and_that_root_is_needed() -> None:
    done = run(AS_NOBODY, "-o", "json")
    assert done.returncode == 1
    assert done.stderr.startswith("ebpfnet: this machine is not ready: privileges, ")
    assert done.stderr.count("\n") == 1
    checks = {row["name"]: row for row in json.loads(done.stdout)}
    assert checks["privileges"]["state"] == "missing"
    assert "not root" in checks["privileges"]["found"]
    assert checks["compile and load"]["state"] == "unknown"
    assert {checks[feature.name]["state"] for feature in features.ALL[:-1]} == {"unknown"}
    for name in ("kernel", "bpffs", "veth", "ipv6", *TOOLS):
        assert checks[name]["state"] != "unknown"


def test_without_bcc_libbpf_and_pyroute2_it_names_their_packages() -> None:
    done = run(WITHOUT_LIBRARIES, "-o", "json", "-v")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "libbpf.so.1: cannot open shared object file" in done.stderr
    checks = {row["name"]: row for row in json.loads(done.stdout)}
    for name in ("libbpf", "bcc", "pyroute2"):
        assert checks[name]["state"] == "missing"
        assert checks[name]["required"] is True
    assert checks["libbpf"]["remedy"] == "apt-get install python3-bpfcc"
    assert "python3" in checks["bcc"]["remedy"]
    assert checks["pyroute2"]["remedy"].endswith("-m pip install --upgrade pyroute2")
    assert sys.executable in checks["bcc"]["found"]
    last = done.stderr.splitlines()[-1]
    assert all(name in last for name in ("libbpf", "bcc", "pyroute2"))


@pytest.mark.parametrize(
    ("installed", "remedy"),
    [(True, "/usr/bin/python3 -m venv"), (False, "apt-get install python3-bpfcc")],
)
def test_a_python_that_is_not_the_distributions_is_told_from_a_missing_package(
    installed: bool, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bcc", None)
    monkeypatch.setattr(doctor, "_DISTRIBUTION_BCC", tmp_path if installed else tmp_path / "bcc")
    check = examined()["bcc"]
    assert check.state is State.MISSING
    assert check.remedy.startswith(remedy)
    assert "bcc" in check.detail


def test_a_folder_that_holds_no_headers_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(tmp_path))
    check = examined()["headers"]
    assert check.state is State.MISSING
    assert str(tmp_path) in check.found
    assert check.remedy == "unset BCC_KERNEL_SOURCE"


@pytest.mark.parametrize(
    ("folder", "whose"),
    [(f"linux-headers-{os.uname().release}", "of this kernel"), ("other", "of another kernel")],
    ids=["own", "other"],
)
def test_says_whose_headers_they_are(
    folder: str, whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = tmp_path / folder
    (headers / "include/linux").mkdir(parents=True)
    (headers / "include/linux/kconfig.h").touch()
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(headers))
    check = examined()["headers"]
    assert check.state is State.OK
    assert check.found.startswith(f"{headers} ({whose}")


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "br_netfilter is not loaded"), ("0", "are spared iptables"), ("1", "pay for iptables")],
)
def test_bridge_netfilter_is_told_and_never_asked_for(
    value: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.sysctl, "read", lambda name: value)
    check = examined()["bridge-nf"]
    assert check.state is State.OK
    assert words in check.found


@pytest.mark.parametrize("name", ["jit", "ipv6"])
def test_a_kernel_may_be_built_without_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sysctl, "read", lambda name: None)
    check = examined()[name]
    assert check.state is State.OPTIONAL_MISSING
    assert check.remedy.startswith("boot ")


def test_one_broken_check_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> str:
        raise ValueError(f"{name} is not as expected")

    monkeypatch.setattr(doctor.sysctl, "read", broken)
    checks = examined()
    assert checks["jit"].found.startswith("ValueError: net/core/bpf_jit_enable is not as expected")
    assert checks["jit"].state is State.OPTIONAL_MISSING
    assert checks["arping"].name == "arping"


FINE = Check("kernel", True, State.OK, "6.1")
NO_NETKIT = Check("netkit", False, State.OPTIONAL_MISSING, "no netkit devices", "boot another")
UNTOLD = Check("tcx", False, State.UNKNOWN, "only root can tell", "mend privileges first")
NO_BPFFS = Check("bpffs", True, State.MISSING, "not mounted", "mount it", "what mount said")
UNTOLD_BUT_NEEDED = Check("redirect_peer", True, State.UNKNOWN, "only root can tell", "sudo")


@pytest.mark.parametrize(
    ("checks", "failed"),
    [
        ([FINE], []),
        ([FINE, NO_NETKIT, UNTOLD], []),
        ([FINE, NO_BPFFS], ["bpffs"]),
        ([NO_BPFFS, FINE, UNTOLD_BUT_NEEDED, NO_NETKIT], ["bpffs", "redirect_peer"]),
    ],
    ids=["fine", "optional", "missing", "unknown"],
)
def test_fails_for_what_is_required_and_only_for_that(
    checks: list[Check], failed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    done = CliRunner().invoke(main.cli, ["doctor", "-o", "json"])
    assert [row["name"] for row in json.loads(done.stdout)] == [check.name for check in checks]
    if failed:
        assert isinstance(done.exception, Unsupported)
        assert done.exception.message == f"this machine is not ready: {', '.join(failed)}"
    else:
        assert done.exit_code == 0


def test_every_form_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [FINE, NO_NETKIT, NO_BPFFS]
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    printed = {
        form: CliRunner().invoke(main.cli, ["doctor", "-o", form])
        for form in ("json", "yaml", "table")
    }
    rows = json.loads(printed["json"].stdout)
    assert rows == [
        {"name": "kernel", "required": True, "state": "ok", "found": "6.1", "remedy": ""},
        {
            "name": "netkit",
            "required": False,
            "state": "optional-missing",
            "found": "no netkit devices",
            "remedy": "boot another",
        },
        {
            "name": "bpffs",
            "required": True,
            "state": "missing",
            "found": "not mounted",
            "remedy": "mount it",
        },
    ]
    assert yaml.safe_load(printed["yaml"].stdout) == rows
    heading, *lines = printed["table"].stdout.splitlines()
    assert heading.split() == ["check", "state", "found", "remedy"]
    assert [line.split("  ")[0].strip() for line in lines] == ["kernel", "netkit", "bpffs"]
    for line, row in zip(lines, rows, strict=True):
        assert row["state"] in line
        assert line.rstrip().endswith(row["remedy"] or "-")


def test_verbose_adds_the_words_of_others_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [FINE, NO_BPFFS])
    quiet, told = (
        CliRunner().invoke(main.cli, ["doctor", "-o", "json", *more]) for more in ([], ["-v"])
    )
    assert quiet.stderr == ""
    assert told.stderr == "bpffs: what mount said\n"
    assert told.stdout == quiet.stdout
