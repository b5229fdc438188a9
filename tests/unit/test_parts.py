"""Which figures are parted, and how long their parts are drawn."""

import pytest

from datapath.compare.parts import parted
from datapath.compare.workloads.breakdown import PARTS
from tests.support import reports

WHOLE: reports.Row = ("ns_per_packet", "", "ns", {"veth": 416.0, "ebpf": 524.0, "tc": 756.0})


def test_only_figures_with_every_part_are_parted_in_the_order_of_the_way() -> None:
    rows = [WHOLE, *reversed(reports.PARTS), ("tcp_rr", "", "us", {"ebpf": 15.0})]
    some = [(load, detail, unit, {"ebpf": figures["ebpf"]}) for load, detail, unit, figures in rows]
    lacking = [WHOLE, *some[1:-2]]
    assert parted(reports.report(lacking)) == {}
    found = parted(reports.report(rows))
    assert {load: [each.whole.mode for each in those] for load, those in found.items()} == {
        "ns_per_packet": ["ebpf", "tc"]
    }
    assert [part.detail for part in found["ns_per_packet"][0].parts] == [*PARTS]


def test_a_part_below_zero_has_no_length() -> None:
    hook: reports.Row = ("ns_per_packet", "hook", "ns", {"ebpf": -3.0})
    others = [row for row in reports.PARTS if row[1] != "hook"]
    ((ebpf,),) = parted(reports.report([WHOLE, hook, *others], rounds=25)).values()
    assert ebpf.parts[1].median < 0
    assert ebpf.lengths == pytest.approx([418, 0, 48, 44], rel=0.02)
