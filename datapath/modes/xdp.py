"""Mode xdp: XDP at the host end, redirected by a devmap.

Native, the default: frames arrive in the receiver's namespace as XDP frames, which asks three
things of its interface: NAPI, which GRO switches on, or the redirect fails; checksums filled in by
the sender, since a redirected frame loses the note that they are still to be done; and VLAN tags in
the frame, since their place beside it is lost too. Segmentation offload the kernel itself takes
away from the peer of an XDP interface: TCP sends MTU-sized packets, more than the host end's ring
has room for, and so waits for it in a queue.

Generic: what the kernel does where a driver has no XDP. The program gets an skb, made linear and
with head room first, and a redirected one goes out by the receiver's host end as any other. It too
wants checksums filled in: with them goes segmentation offload, and large segments do not pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from datapath.kernel.bpf import features, libbpf
from datapath.modes.base import EbpfMode, Station
from datapath.programs import COMMON_MAPS, ProgramSpec
from datapath.records import HookId, ModeId


@dataclass(frozen=True, slots=True)
class Xdp(EbpfMode):
    """The mode, whose two hooks lead different ways."""

    def at(self, hook: HookId) -> Self:
        chosen = EbpfMode.at(self, hook)
        if hook is not HookId.XDP_GENERIC:
            return chosen
        sender, host_end, _, receiver = chosen.path
        egress = Station("host", "receiver's host end: egress, backlog")
        return replace(chosen, path=(sender, host_end, egress, receiver))


MODE = Xdp(
    name="xdp",
    id=ModeId.XDP,
    summary="eBPF in XDP at the host end, redirected by a devmap",
    program=ProgramSpec(
        source="xdp.c",
        function="xdp_devmap",
        type=libbpf.PROG_XDP,
        attach_types={HookId.XDP: libbpf.ATTACH_XDP, HookId.XDP_GENERIC: libbpf.ATTACH_XDP},
        maps=(*COMMON_MAPS, "devices"),
    ),
    hooks=(HookId.XDP, HookId.XDP_GENERIC),
    path=(
        Station("sender", "eth0"),
        Station("host", "sender's host end", hook="native XDP"),
        Station("host", "receiver's host end: devmap, XDP frame"),
        Station("receiver", "eth0"),
    ),
    needs=(features.DEVMAP,),
    offloads={
        "rx-gro": True,
        "tx-checksum-ip-generic": False,
        "tx-checksum-sctp": False,
        "tx-vlan-hw-insert": False,
        "tx-vlan-stag-hw-insert": False,
    },
    queue=True,
)
