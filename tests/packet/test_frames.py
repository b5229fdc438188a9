"""Every kind of frame meets its fate, in every program."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet

from tests.packet.bench import ONE_BUFFER, PROGRAMS, SEVERAL_BUFFERS, Bench
from tests.packet.compare import compare, expected
from tests.packet.frames import TO_ALL, TO_B, TO_NOBODY, Row, arp, ip
from tests.packet.frames_ipv6 import TO_SOLICITED_NODE, asking, ns
from tests.packet.frames_ipv6 import ip as ip6
from tests.packet.reference import A, Answered, Fate, Forwarded, judge
from tests.packet.rows import EVERY_ROW

JUMBO = 9000 + 14  # MTU and Ethernet header


@EVERY_ROW
def test_reference_agrees_with_the_row(row: Row) -> None:
    assert judge(row.frame, row.sender).fate == row.fate


@EVERY_ROW
def test_frame_meets_its_fate(row: Row, bench: Bench, tmp_path: Path) -> None:
    wanted = expected(bench.program.spec.type, row.frame, row.sender, judge(row.frame, row.sender))
    compare(row.frame, wanted, bench.run(row.frame, row.sender), tmp_path)


@pytest.mark.parametrize(
    ("packet", "fate"),
    [
        pytest.param(TO_B / ip() / UDP(), Forwarded, id="IPv4"),
        pytest.param(TO_NOBODY / ip6() / UDP(), Forwarded, id="IPv6"),
        pytest.param(TO_ALL / arp(), Answered, id="ARP"),
        pytest.param(TO_SOLICITED_NODE / asking() / ns(), Answered, id="solicitation"),
    ],
)
def test_long_frame_meets_its_fate(
    packet: Packet, fate: type[Fate], bench: Bench, tmp_path: Path
) -> None:
    for length in (ONE_BUFFER, *((JUMBO, SEVERAL_BUFFERS) if bench.program.frags else ())):
        frame = bytes(packet).ljust(length, b"z")
        verdict = judge(frame, A)
        assert isinstance(verdict.fate, fate)
        wanted = expected(bench.program.spec.type, frame, A, verdict)
        compare(frame, wanted, bench.run(frame, A), tmp_path)


@pytest.mark.parametrize(
    "bench", [each for each in PROGRAMS if not each.is_xdp], ids=lambda each: each.id, indirect=True
)
@pytest.mark.parametrize("ethernet", [TO_B, TO_NOBODY], ids=["right-MAC", "wrong-MAC"])
@pytest.mark.parametrize("network", [ip(len=0), ip6(plen=0)], ids=["IPv4", "IPv6"])
def test_super_packet_counts_as_one(
    network: Packet, ethernet: Packet, bench: Bench, tmp_path: Path
) -> None:
    frame = bytes(ethernet / network / TCP(flags="A") / bytes(3000))
    seen = bench.run(frame, A, gso_size=1000, gso_segs=3)
    compare(frame, expected(bench.program.spec.type, frame, A, judge(frame, A)), seen, tmp_path)
