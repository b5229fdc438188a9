"""Forwarding modes: one file each, one line each here, and what this machine can do of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from datapath.errors import Conflict, InvalidInput
from datapath.modes import (
    bridge,
    bridge_nf,
    netkit,
    routed,
    sockmap,
    stacked,
    tc,
    tc_peer,
    user,
    veth,
    xdp,
)
from datapath.modes.base import EbpfMode, Mode
from datapath.records import ModeId
from datapath.variants import Options

DEFAULT: Final = "tc-peer"
ALIASES: Final = {"ebpf": DEFAULT}

EBPF: Final[tuple[EbpfMode, ...]] = (
    *(tc_peer.MODE, tc.MODE, xdp.MODE),
    *(sockmap.MODE, netkit.MODE),
)
BASELINES: Final[tuple[Mode, ...]] = (
    *(veth.MODE, bridge.MODE, bridge_nf.MODE),
    *(routed.MODE, stacked.MACVLAN, stacked.IPVLAN),
)
# What people choose from: each mode, and the variants that differ in what they cost.
LISTED: Final = (
    *("veth", "bridge"),
    *("bridge-nf", "bridge-nf:conntrack", "bridge-nf:rules=100", "bridge-nf:rules=100,legacy"),
    *("routed", "routed:rules=100"),
    *("macvlan", "ipvlan:l2", "ipvlan:l3"),
    *("tc:tcx", "tc:clsact", "tc-peer:tcx", "tc-peer:clsact"),
    *("xdp:native", "xdp:generic", "sockmap", "netkit"),
)


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether this machine can do a mode, and the reason where not."""

    name: str
    summary: str
    available: bool
    reason: str


def available() -> list[Availability]:
    """Every mode in LISTED. Needs root: the kernel is asked for what they need."""
    found = []
    for name in LISTED:
        mode = get(name)
        missing = mode.missing()
        reason = f"this machine lacks {missing}" if missing else ""
        found.append(Availability(name, mode.summary, not missing, reason))
    return found


def get(name: str) -> Mode:
    """A mode by name or alias, a variant of it ("tc:clsact"; datapath.variants), or the user's own
    ("mine=prog.c:function"; datapath.modes.user).

    Raises InvalidInput, naming those there are.
    """
    if user.is_meant(name):
        return user.parse(name)
    options = Options(name)
    wanted = ALIASES.get(options.name, options.name)
    for mode in (*EBPF, *BASELINES):
        if mode.name == wanted:
            chosen = mode.variant(options)
            options.refuse_others()
            return chosen
    known = ", ".join(mode.name for mode in (*EBPF, *BASELINES))
    raise InvalidInput(f"there is no mode {options.name!r}", remedy=f"choose one of {known}, ebpf")


def ebpf(name: str) -> EbpfMode:
    """An eBPF mode by name or alias. Raises InvalidInput for baselines and unknown names."""
    mode = get(name)
    if not isinstance(mode, EbpfMode):
        raise InvalidInput(
            f"{mode.name} is a baseline that `ebpfnet compare` builds, not an eBPF mode",
            remedy=f"choose one of {', '.join(each.name for each in EBPF)}",
        )
    return mode


def by_id(mode_id: ModeId) -> EbpfMode:
    """The eBPF mode of a pinned network. Raises Conflict for a program of the user's own."""
    for mode in EBPF:
        if mode.id is mode_id:
            return mode
    raise Conflict(
        "its program is one that `ebpfnet compare` measures for a user",
        remedy="wait for that to end; what a killed one left behind goes with `ebpfnet gc`",
    )
