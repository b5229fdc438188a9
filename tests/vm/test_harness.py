"""What test_kernels.py stands on: that it finds the right kernel, and hears of every failure."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import inventory
from tests.support.hosts import CHECKOUT
from tests.vm import machine, results
from tests.vm.kernels import KERNELS, Kernel
from tests.vm.selected import SELECTED

PACKAGES = [
    "linux-image-6.1.0-9-amd64",
    "linux-image-6.1.0-56-amd64",
    "linux-image-6.1.0-57-amd64-unsigned",
    "linux-image-6.1.0-58-cloud-amd64",
    "linux-image-6.12.9+deb13-amd64",
    "linux-image-6.12.117+deb12-amd64",
    "linux-image-6.12-amd64",
    "linux-image-6.12.118+deb12-rt-amd64",
]
INNER = """
import pytest

def test_passes():
    pass

def test_fails():
    print("said before")
    assert 1 + 1 == 3

def test_skips():
    pytest.skip("why not")

@pytest.fixture
def leaves():
    yield
    pytest.fail("left behind: a link")

def test_is_undone_badly(leaves):
    pass

def test_after():
    pass
"""


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ("6.1", "linux-image-6.1.0-56-amd64"),
        ("6.12", "linux-image-6.12.117+deb12-amd64"),
        ("6.6", None),
    ],
)
def test_the_newest_plain_kernel_of_a_series_is_taken(series: str, expected: str | None) -> None:
    assert Kernel(series).newest(PACKAGES) == expected


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report log of INNER."""
    folder = tmp_path_factory.mktemp("inner")
    (folder / "test_inner.py").write_text(INNER)
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--report-log=log"]
    subprocess.run(argv, cwd=folder, check=False, stdout=subprocess.DEVNULL)
    return folder / "log"


@pytest.mark.parametrize(
    ("test", "outcome", "text"),
    [
        ("test_passes", "passed", ""),
        ("test_fails", "failed", "assert (1 + 1) == 3"),
        ("test_fails", "failed", "said before"),
        ("test_skips", "skipped", "why not"),
        ("test_is_undone_badly", "failed", "left behind: a link"),
    ],
)
def test_every_outcome_is_read_with_its_reason(
    log: Path, pytestconfig: pytest.Config, test: str, outcome: str, text: str
) -> None:
    result = results.read(log, f"test_inner.py::{test}", pytestconfig)
    assert result is not None
    assert result.outcome == outcome
    assert text in result.text


def test_what_is_not_over_has_no_result(
    log: Path, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    test = "test_inner.py::test_after"
    assert results.read(tmp_path / "none yet", test, pytestconfig) is None
    whole, cut = log.read_text(), tmp_path / "cut"
    # Cut anywhere: in a line, between lines, before the last of the test's reports.
    end = whole.rindex('"teardown"')
    for length in range(0, end, 97):
        cut.write_text(whole[:length])
        assert results.read(cut, test, pytestconfig) is None
    cut.write_text(whole)
    assert results.read(cut, test, pytestconfig) == results.Result("passed")


def test_every_selected_test_is_one() -> None:
    selected = sorted({test for tests in SELECTED.values() for test in tests})
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", ""]
    done = subprocess.run(
        [*argv, "-p", "no:cacheprovider", *selected], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(line for line in done.stdout.splitlines() if "::" in line) == selected


@pytest.fixture
def kernel() -> Kernel:
    """One that boots here."""
    for each in KERNELS:
        if not machine.missing(each):
            return each
    pytest.skip(machine.missing(KERNELS[0]))


def test_a_command_runs_on_the_kernel_and_leaves_nothing(kernel: Kernel, tmp_path: Path) -> None:
    before = inventory.take()
    script = "uname -r; touch made-there /usr/made-there && ls made-there; exit 7"
    with machine.running(kernel, ["sh", "-c", script], tmp_path, seconds=110) as running:
        running.process.wait()
        assert running.status() == 7, running.last_words()
        release, made = running.output().split()
        assert release.startswith(kernel.series)
        assert made == "made-there"
    assert not (CHECKOUT / "made-there").exists()
    assert not Path("/usr/made-there").exists()
    assert inventory.left_behind(before) == []


@pytest.mark.parametrize("seconds", [2, 100])
def test_a_machine_ends_at_its_time_or_with_its_user(
    kernel: Kernel, tmp_path: Path, seconds: int
) -> None:
    before = inventory.take()
    with machine.running(kernel, ["sleep", "100"], tmp_path, seconds) as running:
        if seconds == 2:
            running.process.wait()
        assert running.status() is None
    assert running.ended()
    assert inventory.left_behind(before) == []
