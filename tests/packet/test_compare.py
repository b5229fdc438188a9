"""The comparer itself: a wrong expectation fails, and says how."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from datapath.kernel.bpf import libbpf
from datapath.records import DropReason
from tests.packet.bench import Bench
from tests.packet.compare import Observation, compare, expected
from tests.packet.frames import DATA, TO_B, TO_NOBODY, ip
from tests.packet.reference import A, B, Verdict, judge

FRAME = bytes(TO_NOBODY / ip() / DATA)
RIGHT = expected(libbpf.PROG_SCHED_CLS, FRAME, A, judge(FRAME, A))
SENT = ("endpoint_stats", A.id)
RECEIVED = ("endpoint_stats", B.id)
ONE_DROP = {"packets": 1, "bytes": len(FRAME)}


def moved(*missing: tuple[str, int], **changed: int) -> dict[tuple[str, int], dict[str, int]]:
    """The right counters without some, and with some of the sender's changed."""
    counters = {**RIGHT.counters, SENT: {**RIGHT.counters[SENT], **changed}}
    return {key: value for key, value in counters.items() if key not in missing}


def test_right_expectation_passes(tmp_path: Path) -> None:
    compare(FRAME, RIGHT, replace(RIGHT), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (replace(RIGHT, code=2), "return code: expected 2, got 7"),
        (replace(RIGHT, frame=FRAME), "dst       = 02:00:00:00:00:99"),
        (replace(RIGHT, frame=RIGHT.frame[:-1]), f"expected output, {len(FRAME) - 1} bytes"),
        (replace(RIGHT, frame=RIGHT.frame + b"z"), f"expected output, {len(FRAME) + 1} bytes"),
        (replace(RIGHT, counters={}), "counters: expected , got endpoint_stats"),
        (replace(RIGHT, counters=moved(SENT)), "counters: expected endpoint_stats 2 {"),
        (replace(RIGHT, counters=moved(RECEIVED)), "counters: expected endpoint_stats 5 {"),
        (replace(RIGHT, counters=moved(tx_packets=2)), "'tx_packets': 2"),
        (replace(RIGHT, counters=moved(tx_bytes=len(FRAME) - 14)), "'tx_bytes': 44"),
        (replace(RIGHT, counters=moved(drops=1)), "'drops': 1"),
        (
            replace(RIGHT, counters=moved() | {("drops", DropReason.TRUNCATED): ONE_DROP}),
            "TRUNCATED",
        ),
    ],
)
def test_wrong_expectation_fails_and_shows_the_difference(
    wrong: Observation, told: str, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError) as failure:
        compare(FRAME, wrong, RIGHT, tmp_path)
    text = str(failure.value)
    assert told in text
    assert "###[ IP ]###" in text
    assert "0000  02 00 00 00 00 99" in text, "a hexdump of the frame"
    with closing(RawPcapReader(str(tmp_path / "frames.pcap"))) as pcap:
        assert [data for data, _ in pcap] == [FRAME, wrong.frame, RIGHT.frame]


@pytest.mark.parametrize(
    "wrong",
    [
        Verdict(DropReason.SPOOFED_MAC, FRAME),
        Verdict(judge(FRAME, A).fate, FRAME),
        judge(bytes(TO_B / ip(dst="10.1.1.4") / DATA), A),
    ],
    ids=["reason", "output", "receiver"],
)
def test_program_is_held_to_a_wrong_verdict(wrong: Verdict, bench: Bench, tmp_path: Path) -> None:
    seen = bench.run(FRAME, A)
    with pytest.raises(AssertionError):
        compare(FRAME, expected(bench.program.spec.type, FRAME, A, wrong), seen, tmp_path)
