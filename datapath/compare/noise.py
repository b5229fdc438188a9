"""What may have disturbed a run: watched from its begin to its end, and put into words.

Whatever the run itself does happens on one CPU; what the others do is somebody else's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_PROC: Final = Path("/proc")
_CPUS: Final = Path("/sys/devices/system/cpu")
_STEAL, _IDLE = 7, (3, 4)  # columns of a CPU's line in /proc/stat; idle and waiting for I/O
# From where on something is named as a likely cause.
_STOLEN: Final = 1.0  # percent of the time of the CPU that is measured on
_BUSY: Final = 20.0  # percent of the time of the other CPUs
_WAITING: Final = 5.0  # percent of the time
_SWAY: Final = 1.05  # greatest frequency over the least


class Watch:
    """Counters of the machine from when it was made; `look` now and then at what has no counter."""

    def __init__(self, cpu: int) -> None:
        self._cpu = f"cpu{cpu}"
        self._began = time.monotonic()
        self._load = os.getloadavg()[0]
        self._times = _cpu_times()
        self._stalls = _stalls()
        self._throttled = self._counter("thermal_throttle/core_throttle_count")
        self._frequencies: list[float] = []
        self.look()

    def look(self) -> None:
        """Note the CPU's frequency, where the kernel tells it."""
        if khz := self._counter("cpufreq/scaling_cur_freq"):
            self._frequencies.append(khz / 1000)

    def found(self) -> dict[str, Any]:
        """Percentages of the time since the beginning, and what else was seen; None: not told.

        "causes" names in words what of it is likely to have disturbed.
        """
        spent = {
            cpu: [now - before for now, before in zip(times, self._times[cpu], strict=True)]
            for cpu, times in _cpu_times().items()
            if cpu in self._times
        }
        others = [times for cpu, times in spent.items() if cpu != self._cpu]
        elapsed = max(time.monotonic() - self._began, 1e-3)
        throttled = self._counter("thermal_throttle/core_throttle_count")
        found = {
            "stolen": _share(spent.get(self._cpu, []), lambda column: column == _STEAL),
            "other_cpus_busy": max(
                (_share(times, lambda column: column not in _IDLE) for times in others), default=0.0
            ),
            "load_average_before": self._load,
            **{
                f"waited_for_{kind}": round((total - self._stalls[kind]) / elapsed / 1e4, 1)
                for kind, total in _stalls().items()
                if kind in self._stalls
            },
            "governor": _read(_CPUS / self._cpu / "cpufreq/scaling_governor") or None,
            "frequency_mhz": (
                [min(self._frequencies), max(self._frequencies)] if self._frequencies else None
            ),
            "throttled": throttled - self._throttled,
        }
        return found | {"causes": causes(found)}

    def _counter(self, name: str) -> int:
        return int(_read(_CPUS / self._cpu / name) or 0)


def causes(found: Mapping[str, Any]) -> list[str]:
    """What is likely to have disturbed, for people, each with its remedy."""
    named = []
    if (stolen := found["stolen"]) > _STOLEN:
        named.append(
            f"the hypervisor took {stolen} % of the CPU's time (steal): use a quieter host"
        )
    if (busy := found["other_cpus_busy"]) > _BUSY:
        named.append(f"another CPU was {busy} % busy with something else: end it, see `top`")
    for kind in ("memory", "io"):
        if (waited := found.get(f"waited_for_{kind}", 0.0)) > _WAITING:
            named.append(f"tasks waited for {kind} {waited} % of the time: see `vmstat 1`")
    if found["throttled"]:
        named.append("the CPU was throttled for its heat: cool it")
    if (seen := found["frequency_mhz"]) and seen[1] > seen[0] * _SWAY:
        named.append(
            f"the CPU ran at {seen[0]:.0f} to {seen[1]:.0f} MHz (governor {found['governor']}): "
            "cpupower frequency-set --governor performance"
        )
    return named


def _cpu_times() -> dict[str, list[int]]:
    """Ticks of each CPU by what they were spent on, as /proc/stat has them in its columns."""
    lines = (line.split() for line in _read(_PROC / "stat").splitlines())
    return {
        name: [int(ticks) for ticks in columns[: _STEAL + 1]]
        for name, *columns in lines
        if name.startswith("cpu") and name != "cpu"
    }


def _share(times: list[int], counts: Any) -> float:
    whole = sum(times)
    part = sum(ticks for column, ticks in enumerate(times) if counts(column))
    return round(100 * part / whole, 1) if whole else 0.0


def _stalls() -> dict[str, int]:
    """Microseconds that some task has waited for memory and for I/O (/proc/pressure)."""
    found = {}
    for kind in ("memory", "io"):
        some = _read(_PROC / "pressure" / kind).partition("\n")[0]
        if total := some.rpartition("total=")[2]:
            found[kind] = int(total)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
