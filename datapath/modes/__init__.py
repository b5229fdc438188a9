"""Forwarding modes: one file each, one line each here."""

from __future__ import annotations

from typing import Final

from datapath.errors import InvalidInput
from datapath.modes import bridge, routed, tc, tc_peer, veth, xdp
from datapath.modes.base import EbpfMode, Mode
from datapath.records import ModeId
from datapath.variants import Options

DEFAULT: Final = "tc-peer"
ALIASES: Final = {"ebpf": DEFAULT}

EBPF: Final[tuple[EbpfMode, ...]] = (tc_peer.MODE, tc.MODE, xdp.MODE)
BASELINES: Final[tuple[Mode, ...]] = (veth.MODE, bridge.MODE, routed.MODE)


def get(name: str) -> Mode:
    """A mode by name or alias, or a variant of it ("tc:clsact"; datapath.variants).

    Raises InvalidInput, naming those there are.
    """
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
    """The eBPF mode of a pinned network."""
    return next(mode for mode in EBPF if mode.id is mode_id)
