"""A network may leave what is for no endpoint to the kernel, and that alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.records import NOBODYS_REASONS, ConfigRecord, DropReason, Otherwise, OtherwiseField
from tests.packet.bench import Bench
from tests.packet.compare import compare, expected
from tests.packet.frames import Row
from tests.packet.reference import FORGED_OR_BROKEN, Left, judge_beside_the_kernel
from tests.packet.rows import EVERY_ROW, ROWS


@pytest.fixture(scope="module")
def beside(bench: Bench) -> Iterator[Bench]:
    """The program in a network that is so."""

    def set_to(otherwise: Otherwise) -> None:
        def change(config: ConfigRecord) -> None:
            config.otherwise = OtherwiseField(otherwise)

        bench.configure(change)

    set_to(Otherwise.KERNEL)
    yield bench
    set_to(Otherwise.DROP)


@EVERY_ROW
def test_frame_meets_its_fate(row: Row, beside: Bench, tmp_path: Path) -> None:
    verdict = judge_beside_the_kernel(row.frame, row.sender)
    wanted = expected(beside.program.spec.type, row.frame, row.sender, verdict)
    compare(row.frame, wanted, beside.run(row.frame, row.sender), tmp_path)


def test_every_reason_is_of_one_kind_or_the_other() -> None:
    assert NOBODYS_REASONS.isdisjoint(FORGED_OR_BROKEN)
    assert NOBODYS_REASONS | FORGED_OR_BROKEN | {DropReason.NONE} == set(DropReason)


def test_there_are_frames_of_every_reason_that_is_left() -> None:
    left = {row.fate for row in ROWS if isinstance(row.fate, DropReason)} & NOBODYS_REASONS
    assert left == NOBODYS_REASONS
    for row in ROWS:
        if row.fate in left:
            assert judge_beside_the_kernel(row.frame, row.sender).fate == Left()
