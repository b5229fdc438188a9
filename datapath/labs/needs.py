"""What a lab needs of this machine, and what of that is missing: said before anything is built."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from datapath import modes
from datapath import network as networks
from datapath.errors import EbpfnetError, Unsupported
from datapath.kernel.net import devices, tools
from datapath.labs.model import Lab
from datapath.labs.planning import qdisc


def missing(lab: Lab) -> list[str]:
    """What this machine lacks for a lab, found out by trying; empty where it can be built."""
    return list(dict.fromkeys(_missing(lab)))


def require(lab: Lab) -> None:
    """Raises Unsupported, which names all that is missing."""
    if lacking := missing(lab):
        raise Unsupported(
            "lab",
            f"lab {lab.name} cannot be built here: {'; '.join(lacking)}",
            remedy="see `ebpfnet lab list` for those that can",
        )


def _missing(lab: Lab) -> Iterator[str]:
    if not shutil.which("ip"):
        yield "there is no ip command (install iproute2)"
    for _, interface in lab.interfaces():
        if not devices.supports(interface.kind):
            yield f"this kernel makes no {interface.kind} interfaces"
        elif interface.options.get("vlan_filtering") and not devices.supports(
            "bridge", (("vlan_filtering", True),)
        ):
            yield "this kernel's bridges do not filter VLANs"
    for link in lab.links:
        if link.shape and not tools.shapes(kind := qdisc(link.shape)[0]):
            yield f"this kernel has no {kind} to shape links with"
    for tool, used in (
        ("nft", any(node.nft for node in lab.nodes.values())),
        ("iptables", any(node.iptables for node in lab.nodes.values())),
    ):
        if used and not shutil.which(tool):
            yield f"there is no {tool} command (install {'nftables' if tool == 'nft' else tool})"
        elif used and not tools.filters(tool):
            yield f"{tool} cannot translate addresses with this kernel"
    if lab.ebpf:
        yield from _missing_for_ebpf(lab.ebpf.mode)
    for node in lab.nodes.values():
        for argv in (*node.commands, *node.processes):
            if argv[0] != "python3" and not shutil.which(argv[0]):
                yield f"there is no {argv[0]} command"


def _missing_for_ebpf(mode: str) -> Iterator[str]:
    try:
        networks.require_bpffs()
    except EbpfnetError as error:
        yield error.message
    if lacking := modes.ebpf(mode).missing():
        yield f"this kernel cannot do mode {mode}: it lacks {lacking}"
