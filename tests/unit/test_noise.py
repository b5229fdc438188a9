"""What may have disturbed a run: counters that are made up, and what is said of them."""

from pathlib import Path
from typing import Any

import pytest

from datapath.compare import noise

QUIET: dict[str, Any] = {
    "stolen": 0.1,
    "other_cpus_busy": 3.0,
    "waited_for_memory": 0.0,
    "waited_for_io": 0.2,
    "governor": "performance",
    "frequency_mhz": [3000.0, 3010.0],
    "throttled": 0,
}


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"stolen": 4.2}, "took 4.2 % of the CPU's time (steal)"),
        ({"other_cpus_busy": 88.0}, "another CPU was 88.0 % busy"),
        ({"waited_for_memory": 12.0}, "waited for memory 12.0 % of the time"),
        ({"waited_for_io": 9.0}, "waited for io 9.0 % of the time"),
        ({"throttled": 3}, "throttled for its heat"),
        (
            {"frequency_mhz": [1200.0, 3000.0], "governor": "powersave"},
            "1200 to 3000 MHz (governor",
        ),
    ],
)
def test_each_likely_cause_is_named_alone(seen: dict[str, Any], said: str) -> None:
    (cause,) = noise.causes(QUIET | seen)
    assert said in cause


def test_a_quiet_machine_and_one_that_tells_little_are_no_cause() -> None:
    assert noise.causes(QUIET) == []
    silent = {"stolen": 0.0, "other_cpus_busy": 0.0, "frequency_mhz": None, "throttled": 0}
    assert noise.causes(silent) == []


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc and a /sys of two CPUs on which nothing has happened yet."""
    monkeypatch.setattr(noise, "_PROC", tmp_path)
    monkeypatch.setattr(noise, "_CPUS", tmp_path)
    (tmp_path / "pressure").mkdir()
    (tmp_path / "cpu1" / "cpufreq").mkdir(parents=True)
    (tmp_path / "cpu1" / "cpufreq" / "scaling_governor").write_text("powersave\n")
    times(tmp_path, "0 0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 0 0 0 0")
    return tmp_path


def times(proc: Path, cpu0: str, cpu1: str) -> None:
    (proc / "stat").write_text(f"cpu  1 1 1 1 1 1 1 1 1 1\ncpu0 {cpu0}\ncpu1 {cpu1}\nintr 7\n")


def test_what_others_do_is_told_from_what_is_measured(proc: Path) -> None:
    watch = noise.Watch(cpu=1)
    times(proc, cpu0="30 0 10 50 10 0 0 0 0 0", cpu1="90 0 0 0 0 0 0 10 0 0")
    found = watch.found()
    assert found["stolen"] == 10.0
    assert found["other_cpus_busy"] == 40.0
    assert [cause.split(":")[0] for cause in found["causes"]] == [
        "the hypervisor took 10.0 % of the CPU's time (steal)",
        "another CPU was 40.0 % busy with something else",
    ]


def test_frequency_is_looked_at_now_and_then(proc: Path) -> None:
    frequency = proc / "cpu1" / "cpufreq" / "scaling_cur_freq"
    frequency.write_text("2000000")
    watch = noise.Watch(cpu=1)
    frequency.write_text("3000000")
    watch.look()
    found = watch.found()
    assert found["frequency_mhz"] == [2000.0, 3000.0]
    assert found["governor"] == "powersave"


def test_waiting_is_counted_from_the_beginning(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0])
    monkeypatch.setattr(noise.time, "monotonic", lambda: next(clock))
    pressure = proc / "pressure" / "memory"
    pressure.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000\nfull total=1\n")
    watch = noise.Watch(cpu=1)
    pressure.write_text("some avg10=9.00 avg60=0.00 avg300=0.00 total=6500000\nfull total=1\n")
    found = watch.found()
    assert found["waited_for_memory"] == 15.0
    assert "waited_for_io" not in found


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path, proc: Path) -> None:
    (proc / "stat").unlink()
    found = noise.Watch(cpu=1).found()
    assert (found["stolen"], found["frequency_mhz"], found["causes"]) == (0.0, None, [])
