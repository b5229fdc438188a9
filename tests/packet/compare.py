"""What a program did to a frame, compared with what it should have done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scapy.layers.l2 import Ether
from scapy.utils import RawPcapWriter, hexdump

from datapath.kernel.bpf import libbpf
from datapath.records import DropReason
from tests.packet.reference import Answered, Forwarded, Host, Left, Verdict

# enum xdp_action, TC_ACT_*: by program type and fate
CODES: dict[int, dict[type, int]] = {
    libbpf.PROG_SCHED_CLS: {DropReason: 2, Forwarded: 7, Answered: 7, Left: 0xFFFFFFFF},
    libbpf.PROG_XDP: {DropReason: 1, Forwarded: 4, Answered: 4, Left: 2},
}
SHOWN = 512  # bytes of a frame


@dataclass(frozen=True, slots=True)
class Observation:
    """A program's return code, the frame it left, and the counters that moved, by how much.

    Counters by map and key: {("drops", 3): {"packets": 1, "bytes": 60}}.
    """

    code: int
    frame: bytes
    counters: dict[tuple[str, int], dict[str, int]]


def expected(program_type: int, frame: bytes, sender: Host, verdict: Verdict) -> Observation:
    """What is to be observed where a verdict is right: these counters move, and no other."""
    counters: dict[tuple[str, int], dict[str, int]] = {}
    length = len(frame)
    match verdict.fate:
        case DropReason() as reason:
            counters["drops", reason] = {"packets": 1, "bytes": length}
            sent = {"drops": 1}
        case Forwarded(to):
            counters["endpoint_stats", to.id] = {"rx_packets": 1, "rx_bytes": length}
            sent = {"tx_packets": 1, "tx_bytes": length}
        case Answered():
            sent = {"answers": 1}
        case Left():
            sent = {"left": 1}
    if sender.id:  # else there is no such endpoint
        counters.setdefault(("endpoint_stats", sender.id), {}).update(sent)
    return Observation(CODES[program_type][type(verdict.fate)], verdict.frame, counters)


def compare(frame: bytes, wanted: Observation, seen: Observation, folder: Path) -> None:
    """Fails where the two differ: shows how, and writes the frames to a pcap file in `folder`."""
    if wanted == seen:
        return
    file = folder / "frames.pcap"
    with RawPcapWriter(str(file), linktype=1) as pcap:
        pcap.write([frame, wanted.frame, seen.frame])
    lines = [
        f"{what}: expected {before}, got {after}"
        for what, before, after in (
            ("return code", wanted.code, seen.code),
            ("counters", _readable(wanted), _readable(seen)),
        )
        if before != after
    ]
    shown = {"the frame": frame}
    if wanted.frame != seen.frame:
        shown |= {"expected output": wanted.frame, "output": seen.frame}
    for title, content in shown.items():
        lines.append(f"--- {title}, {len(content)} bytes")
        lines += [Ether(content[:SHOWN]).show(dump=True), hexdump(content[:SHOWN], dump=True)]
    lines.append(f"frame, expected output and output are in {file}")
    raise AssertionError("\n".join(lines))


def _readable(observation: Observation) -> str:
    return ", ".join(
        f"{DropReason(key).name if name == 'drops' else f'{name} {key}'} {moved}"
        for (name, key), moved in sorted(observation.counters.items())
    )
