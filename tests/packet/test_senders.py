"""What a program has found out about a sender counts until the next generation, and no longer."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from scapy.layers.inet import UDP

from datapath.records import ConfigRecord, DropReason, EndpointRecord, Mac, Number
from tests.packet.bench import Bench
from tests.packet.frames import TO_B, ip
from tests.packet.reference import NO_IPV4, A

FRAME = bytes(TO_B / ip() / UDP())
KEY = bytes(Number(A.ifindex))
FORWARDED = {"tx_packets": 1, "tx_bytes": len(FRAME)}


def begin_generation(bench: Bench) -> None:
    def change(config: ConfigRecord) -> None:
        config.generation += 1

    bench.configure(change)


@pytest.fixture(autouse=True)
def stays_on_one_cpu() -> Iterator[None]:
    """Each CPU finds out for itself."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.fixture
def entry(bench: Bench) -> Iterator[bytes]:
    """The sender's entry, which comes back to what it was."""
    before = bench.maps["endpoints"].lookup(KEY)
    assert before
    yield before
    bench.maps["endpoints"].update(KEY, before)
    begin_generation(bench)


def test_changed_sender_is_known_anew(bench: Bench, entry: bytes) -> None:
    assert bench.run(FRAME, A).counters["endpoint_stats", A.id] == FORWARDED
    changed = EndpointRecord.from_buffer_copy(entry)
    changed.mac = Mac.parse(NO_IPV4.mac)
    bench.maps["endpoints"].update(KEY, bytes(changed))
    begin_generation(bench)
    assert ("drops", DropReason.SPOOFED_MAC) in bench.run(FRAME, A).counters


def test_deleted_sender_is_unknown(bench: Bench, entry: bytes) -> None:
    assert bench.run(FRAME, A).counters["endpoint_stats", A.id] == FORWARDED
    bench.maps["endpoints"].delete(KEY)
    begin_generation(bench)
    assert ("drops", DropReason.UNKNOWN_ENDPOINT) in bench.run(FRAME, A).counters


def test_added_sender_needs_no_generation(bench: Bench, entry: bytes) -> None:
    bench.maps["endpoints"].delete(KEY)
    begin_generation(bench)
    assert ("drops", DropReason.UNKNOWN_ENDPOINT) in bench.run(FRAME, A).counters
    bench.maps["endpoints"].update(KEY, entry)
    assert bench.run(FRAME, A).counters["endpoint_stats", A.id] == FORWARDED


def test_known_sender_is_not_looked_for(bench: Bench, entry: bytes) -> None:
    """What the generation is for; were it not so, a search would be paid for each frame."""
    assert bench.run(FRAME, A).counters["endpoint_stats", A.id] == FORWARDED
    bench.maps["endpoints"].delete(KEY)
    assert bench.run(FRAME, A).counters["endpoint_stats", A.id] == FORWARDED
