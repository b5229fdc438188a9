"""Every kind of frame, cut at every length from an Ethernet header on, meets the fate it should.

Each is run twice: with zeros in memory behind its end, and with what was cut off still lying there,
the very bytes that a program that reads too far would take for the frame's own. The reference sees
the frame alone. That both runs agree with it in return code, output and counters proves that no
byte beyond the end has a say in anything the program does; the verifier's word is not asked.
"""

from __future__ import annotations

from pathlib import Path

from tests.packet.bench import SHORTEST, Bench
from tests.packet.compare import compare, expected
from tests.packet.frames import Row
from tests.packet.reference import judge
from tests.packet.rows import EVERY_ROW

ZEROS = bytes(64)
TAIL = bytes(range(0xFF, 0xBF, -1))  # behind the whole frame


@EVERY_ROW
def test_cut_frame_meets_its_fate(row: Row, bench: Bench, tmp_path: Path) -> None:
    for length in range(SHORTEST, len(row.frame) + 1):
        frame, rest = row.frame[:length], row.frame[length:]
        wanted = expected(bench.program.spec.type, frame, row.sender, judge(frame, row.sender))
        for behind in (ZEROS, rest + TAIL):
            compare(frame, wanted, bench.run_before(behind, frame, row.sender), tmp_path)
