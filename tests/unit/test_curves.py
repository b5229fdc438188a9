"""Which results of a report make curves, and over which numbers."""

import pytest

from datapath.compare import curves
from datapath.compare.curves import Chart
from tests.support import reports

Points = dict[str, list[tuple[int, float]]]


def found(*rows: reports.Row) -> dict[tuple[str, str], Points]:
    """Curves of a report with these rows, by workload and axis."""
    return {
        (chart.workload, chart.axis.option): {
            curve.mode: [(number, round(result.median)) for number, result in curve.points]
            for curve in chart.curves
        }
        for chart in curves.charts(reports.report(rows, rounds=1, seed=0))
    }


def row(workload: str, **figures: float) -> reports.Row:
    return workload, "", "ns", {mode.replace("_", "-"): each for mode, each in figures.items()}


@pytest.mark.parametrize(
    ("option", "base"), [("endpoints", 2), ("flows", 1), ("size", 64), ("streams", 1)]
)
def test_variants_of_a_workload_make_a_curve_for_each_mode(option: str, base: int) -> None:
    rows = [row(f"w:{option}=900", veth=9.0, ebpf=9.0), row("w", veth=1.0, ebpf=2.0, tc=3.0)]
    ((key, points),) = found(*rows).items()
    assert key == ("w", option)
    assert {mode: [number for number, _ in each] for mode, each in points.items()} == {
        "veth": [base, 900],
        "ebpf": [base, 900],
    }


def test_variants_of_a_mode_make_a_curve_for_each_workload() -> None:
    figures = {"bridge-nf:rules=1000": 6000.0, "bridge-nf": 1000.0, "veth": 400.0}
    charts = found(("ns_per_packet", "", "ns", figures), ("tcp_rr", "", "us", figures))
    assert list(charts) == [("ns_per_packet", "rules"), ("tcp_rr", "rules")]
    assert [number for number, _ in charts["tcp_rr", "rules"]["bridge-nf"]] == [0, 1000]


def test_what_rules_do_not_change_stands_beside_curves_over_them() -> None:
    figures = {"bridge-nf": 1000.0, "bridge-nf:rules=9": 1100.0}
    rows: list[reports.Row] = [
        ("ns_per_packet", "", "ns", {**figures, "xdp": 1200.0, "ebpf": 500.0}),
        ("tcp_rr", "", "us", figures),
        ("ns_per_packet:size=512", "", "ns", {"ebpf": 510.0}),
    ]
    charts = {
        (chart.workload, chart.axis.option): chart for chart in curves.charts(reports.report(rows))
    }
    level = charts["ns_per_packet", "rules"].level
    assert level is not None
    assert (level.mode, level.workload, level.detail) == ("ebpf", "ns_per_packet", "")
    assert charts["tcp_rr", "rules"].level is None, "eBPF was not measured there"
    assert charts["ns_per_packet", "size"].level is None, "its cost may depend on that"


def test_a_chart_has_room_for_all_that_is_in_it() -> None:
    figures = {"bridge-nf": 10.0, "bridge-nf:rules=9": 11.0, "ebpf": 500.0}
    report = reports.report([row("w", **figures)])
    (chart,) = curves.charts(report)
    assert chart.most == max(result.high for result in report.results) > 490


def test_other_options_keep_curves_apart() -> None:
    rows = [
        row("w:size=1500", veth=1.0),
        row("w:flows=9,size=1500", veth=2.0),
        row("w:flows=9", veth=2.0),
        row("w", veth=1.0),
    ]
    assert sorted(found(*rows)) == [
        ("w", "flows"),
        ("w", "size"),
        ("w:flows=9", "size"),
        ("w:size=1500", "flows"),
    ]


@pytest.mark.parametrize("label", ["w:size=big", "w:size", "w:size=1,size=2", "w:size=²"])
def test_what_only_looks_like_a_variant_is_none(label: str) -> None:
    assert found(row("w", veth=1.0), row(label, veth=2.0)) == {}


def test_details_make_no_curves() -> None:
    assert found(("w", "p99", "us", {"veth": 1.0}), ("w:size=9", "p99", "us", {"veth": 1.0})) == {}


@pytest.mark.parametrize(("numbers", "expected"), [((64, 1500), False), ((2, 10000), True)])
def test_numbers_far_apart_get_a_logarithmic_axis(numbers: tuple[int, int], expected: bool) -> None:
    rows = [row(f"w:size={number}", veth=1.0) for number in numbers]
    (chart,) = curves.charts(reports.report(rows))
    assert chart.logarithmic is expected


def test_a_mode_looks_alike_in_every_chart() -> None:
    charts: list[Chart] = curves.charts(reports.report())
    assert curves.numbered(charts) == {
        mode: number
        for number, mode in enumerate(["bridge", "ebpf", "tc", "xdp", "veth", "bridge-nf"])
    }
