"""Reports as a run would give them, made up: for what shows reports, on machines of any kind."""

import itertools
import random
from collections.abc import Iterable
from dataclasses import asdict
from statistics import median
from typing import Any, Literal

from datapath import modes
from datapath.compare import Ratio, Report, Result
from datapath.compare.report import REFERENCES, Verdict

ROUNDS = 7
HOSTILE = "</script><script>document.title = 'broken into'</script>"

# Workload, detail, unit, and what each mode has there.
Row = tuple[str, str, str, dict[str, float]]

ROWS: list[Row] = [
    (
        "ns_per_packet",
        "",
        "ns",
        {
            "veth": 416,
            "bridge": 996,
            "bridge-nf": 1356,
            "bridge-nf:rules=100": 2200,
            "bridge-nf:rules=1000": 6010,
            "ebpf": 524,
            "tc": 756,
            "xdp": 522,
        },
    ),
    (
        "ns_per_packet:endpoints=100",
        "",
        "ns",
        {"bridge": 1015, "ebpf": 530, "tc": 760, "xdp": 528},
    ),
    (
        "ns_per_packet:endpoints=10000",
        "",
        "ns",
        {"bridge": 1240, "ebpf": 581, "tc": 818, "xdp": 570},
    ),
    ("ns_per_packet:size=512", "", "ns", {"veth": 421, "bridge": 1004, "ebpf": 529, "xdp": 533}),
    ("ns_per_packet:size=1500", "", "ns", {"veth": 430, "bridge": 1020, "ebpf": 541, "xdp": 562}),
    ("tcp_rr", "", "us", {"veth": 14.4, "bridge": 16.1, "ebpf": 15.0, "tc": 15.5, "xdp": 15.1}),
    ("tcp_rr", "p50", "us", {"veth": 14.1, "bridge": 15.7, "ebpf": 14.7, "tc": 15.1, "xdp": 14.9}),
    ("tcp_rr", "p99", "us", {"veth": 19.2, "bridge": 21.8, "ebpf": 19.9, "tc": 20.4, "xdp": 20.8}),
    ("tcp_stream", "", "Gbit/s", {"veth": 15.1, "bridge": 16.6, "ebpf": 17.1, "tc": 17.2}),
    ("udp_pps", "", "packets/s", {"veth": 912_000, "bridge": 640_000, "ebpf": 871_000}),
]
PARTS: list[Row] = [
    ("ns_per_packet", "stack", "ns", {"ebpf": 418, "tc": 418}),
    ("ns_per_packet", "hook", "ns", {"ebpf": 14, "tc": 14}),
    ("ns_per_packet", "program", "ns", {"ebpf": 48, "tc": 46}),
    ("ns_per_packet", "redirect", "ns", {"ebpf": 44, "tc": 278}),
]
ROWS += PARTS
_LOSING = ("udp_pps", "bridge")  # loses 4 in a thousand


def report(rows: Iterable[Row] = ROWS, *, rounds: int = ROUNDS, seed: int = 1) -> Report:
    """What a run gives whose samples lie within some 2 % of the figures in `rows`."""
    rows = list(rows)
    noise = random.Random(seed)
    results = [
        _result(mode, row, [figure * noise.gauss(1, 0.01) for _ in range(rounds)])
        for row in rows
        for mode, figure in row[3].items()
    ]
    by_cell: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        by_cell.setdefault((result.workload, result.detail), []).append(result)
    labels = list(dict.fromkeys(result.mode for result in results))
    workloads = list(dict.fromkeys(result.workload for result in results))
    return Report(
        environment={
            "kernel": "6.18.5-amd64",
            "architecture": "x86_64",
            "distribution": "Debian GNU/Linux 13 (trixie)",
            "cpu": "AMD EPYC 7B13",
            "cpus": 2,
            "measured_on_cpu": 0,
            "governor": None,
            "load_average": 0.31,
            "bpf_jit": "1",
            "legacy_tables": ["filter"],
            "versions": {"ebpfnet": "0.1.0", "python": "3.13.5", "iperf3": "3.18"},
            "modes": {label: described(label) for label in labels},
            "knobs": {
                "net.bridge.bridge-nf-call-iptables": "0 (was 1)",
                "net.ipv4.conf.all.rp_filter": "0 (was 2)",
                "GRO": "on at every veth end (that is what gives them NAPI)",
                "MTU": "1500",
            },
            "offloads": {
                label: {"sender": {"rx-gro": True, "tx-scatter-gather": True}} for label in labels
            },
        },
        experiment={
            "modes": labels,
            "workloads": workloads,
            "rounds": rounds,
            "cpu": 0,
            "seed": seed,
            "effort": {"packets": 1_000_000, "seconds": 1},
        },
        results=tuple(results),
        ratios=tuple(
            Ratio(mode.mode, mode.workload, mode.detail, to.mode, *_quotient(mode, to, 1.0))
            for cell in by_cell.values()
            for mode, to in itertools.permutations(cell, 2)
            if to.mode in REFERENCES
        ),
        verdicts=tuple(
            _verdict(mode, to)
            for cell in by_cell.values()
            for mode, to in itertools.combinations(cell, 2)
        ),
    )


def hostile() -> Report:
    """A report whose every text tries to leave its place in a page."""
    figures = {"veth": 400.0, f"mine{HOSTILE}": 500.0, "bridge": 900.0}
    made = report([(f"load{HOSTILE}", detail, f"ns{HOSTILE}", figures) for detail in ("", HOSTILE)])
    made.environment["kernel"] = HOSTILE
    made.environment["knobs"][HOSTILE] = HOSTILE
    made.environment["modes"]["veth"]["path"][0]["label"] = HOSTILE
    made.experiment["modes"].append(HOSTILE)
    return made


def described(label: str) -> dict[str, Any]:
    """A mode as an environment describes it; one that this kit does not know, as a user's own."""
    name = label.partition(":")[0]
    known = {mode.name: mode for mode in (*modes.BASELINES, *modes.EBPF)}
    mode = known.get(modes.ALIASES.get(name, name), modes.get("bridge"))
    return {
        "name": name,
        "summary": mode.summary,
        "hook": "tcx" if mode in modes.EBPF else None,
        "path": [asdict(station) for station in mode.path],
    }


def _result(mode: str, row: Row, samples: list[float]) -> Result:
    workload, detail, unit, _ = row
    spread = sorted(samples)
    sent = 1_000_000 * len(samples) if unit in ("ns", "packets/s") else 0
    arrived = sent - (sent // 250 if (workload, mode) == _LOSING else 0)
    return Result(
        *(mode, workload, detail, unit, median(samples), spread[0], spread[-1], tuple(samples)),
        sent=sent,
        arrived=arrived,
    )


def _quotient(mode: Result, to: Result, wider: float) -> tuple[float, float, float]:
    """Ratio, low, high; the interval is that of both, as if they had nothing in common."""
    ratio = mode.median / to.median
    width = wider * (mode.high / mode.low - 1)
    return ratio, ratio * (1 - width), ratio * (1 + width)


def _verdict(mode: Result, to: Result) -> Verdict:
    ratio, low, high = _quotient(mode, to, 1.3)
    lower_is_better = mode.unit in ("ns", "us")
    verdict: Literal["faster", "slower", "no difference shown"] = "no difference shown"
    if not low <= 1 <= high:
        verdict = "faster" if (ratio < 1) == lower_is_better else "slower"
    says = f"{mode.mode} is {verdict} than" if verdict != "no difference shown" else f"{verdict}:"
    return Verdict(
        *(mode.workload, mode.detail, mode.mode, to.mode, ratio, low, high, verdict),
        sentence=f"{says} {to.mode}: {ratio:.2f} times its {mode.workload} "
        f"(95 % interval {low:.2f} to {high:.2f})",
    )
