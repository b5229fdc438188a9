"""What a user gets: the wheel, the set-up scripts, the Vagrant machine, and CI's own checker."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def run(
    command: Sequence[str | Path], *, cwd: Path = ROOT, user: int | None = None, **env: str | Path
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {name: str(value) for name, value in env.items()}
    return subprocess.run(
        command, cwd=cwd, user=user, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder])
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("ebpfnet-*-py3-none-any.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel alone in it, away from the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    done = run([*pip, "--target", folder, wheel])
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_wheel_holds_the_packages_and_every_c_source_and_nothing_else(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in ("datapath", "cli")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {
        str("datapath/bpf_sources" / path.relative_to(ROOT / "bpf"))
        for path in (ROOT / "bpf").rglob("*")
        if path.is_file()
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert any(name.endswith(".c") for name in names)


def test_installed_command_starts_away_from_the_checkout(installed: Path) -> None:
    shown = run([installed / "bin/ebpfnet", "--help"], cwd=installed, PYTHONPATH=installed)
    assert shown.returncode == 0, shown.stderr
    assert "attach" in shown.stdout


def test_installed_loader_reads_the_c_sources_of_the_wheel(installed: Path) -> None:
    ask = "from datapath.kernel.bpf.compiler import source_folder; print(source_folder())"
    shown = run([sys.executable, "-c", ask], cwd=installed, PYTHONPATH=installed)
    assert shown.stdout.strip() == str(installed / "datapath/bpf_sources"), shown.stderr


def test_bcc_is_left_to_the_distribution(wheel: Path) -> None:
    (metadata,) = (n for n in zipfile.ZipFile(wheel).namelist() if n.endswith("/METADATA"))
    required = [
        line.removeprefix("Requires-Dist: ")
        for line in zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    ]
    assert sorted(name.partition(">=")[0].lower() for name in required) == [
        "click",
        "dnspython",
        "jinja2",
        "markupsafe",
        "pyroute2",
        "pyyaml",
        "scapy",
        "tabulate",
    ]
    assert all(">=" in name for name in required), "every dependency states its lower bound"


@pytest.fixture
def public_copy() -> Iterator[Path]:
    """The scripts where everyone may run them, which pytest's own folders do not allow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(ROOT / "vagrant", folder / "vagrant")
        shutil.copy(ROOT / "Makefile", folder)
        yield folder


@pytest.mark.parametrize(
    "command",
    [["vagrant/provision.sh"], ["vagrant/demo.sh", "ebpfnet"], ["make", "demo"], ["make", "test"]],
    ids=" ".join,
)
def test_without_root_it_says_so_and_does_nothing(command: list[str], public_copy: Path) -> None:
    refused = run(command, cwd=public_copy, user=NOBODY if os.geteuid() == 0 else None)
    assert refused.returncode != 0
    assert "needs root" in refused.stderr
    assert refused.stdout == ""
    assert sorted(path.name for path in public_copy.iterdir()) == ["Makefile", "vagrant"]


def test_vagrantfile_is_valid(tmp_path: Path) -> None:
    if not shutil.which("vagrant"):
        pytest.skip("vagrant is not installed")
    # Neither VirtualBox nor libvirt is needed to read the file; its folder stays as it is.
    checked = run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=ROOT / "vagrant",
        VAGRANT_HOME=tmp_path / "home",
        VAGRANT_DOTFILE_PATH=tmp_path / "dot",
        VAGRANT_CHECKPOINT_DISABLE="1",
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


PASSED = '<testcase file="tests/a.py" name="test_ran"/>'
SKIPPED = '<testcase file="tests/a.py" name="test_x[1]"><skipped message="no netkit"/></testcase>'
FAILED = '<testcase file="tests/a.py" name="test_bad"><failure message="1 != 2"/></testcase>'
WHOLE_FILE = (
    '<testcase file="tests/b.py" name="tests.b"><skipped message="collection skipped">'
    "('/here/tests/b.py', 2, 'Skipped: no vng')</skipped></testcase>"
)
ALLOWED = (
    "# what may be skipped\n\ntests/a.py::test_x* | no netkit\ntests/b.py::* | *Skipped: no vng*\n"
)


@pytest.mark.parametrize(
    ("cases", "allowed", "code", "closing"),
    [
        (PASSED + SKIPPED, ALLOWED, 0, "1 passed, 0 failed, 1 skipped"),
        (PASSED + WHOLE_FILE, ALLOWED, 0, "1 passed, 0 failed, 1 skipped"),
        (PASSED + SKIPPED, "", 1, "1 passed, 0 failed, 1 skipped"),
        (PASSED + SKIPPED, "tests/a.py::test_x* | no tcx", 1, "1 passed, 0 failed, 1 skipped"),
        (PASSED + SKIPPED, "tests/a.py::test_y | no netkit", 1, "1 passed, 0 failed, 1 skipped"),
        (PASSED + FAILED, ALLOWED, 1, "1 passed, 1 failed, 0 skipped"),
        (SKIPPED, ALLOWED, 1, "0 passed, 0 failed, 1 skipped"),
    ],
    ids=["allowed", "file", "unlisted", "other-reason", "other-test", "failure", "none-ran"],
)
def test_ci_accepts_only_the_skips_it_expects(
    tmp_path: Path, cases: str, allowed: str, code: int, closing: str
) -> None:
    report, allow_list = tmp_path / "report.xml", tmp_path / "allowed.txt"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    allow_list.write_text(allowed)
    checked = run([sys.executable, ROOT / ".ci/check_skips.py", report, allow_list])
    assert checked.returncode == code, checked.stderr
    assert checked.stdout.splitlines()[-1] == closing
