"""Mode netkit: a netkit pair in place of the veth, with the program at its peer (Linux 6.7).

The program runs within the sender's own transmit call, before any queue, and sees the frame as it
comes in at the host's primary end. bpf_redirect_peer works from a tc ingress hook alone, and so the
frame takes the receiver's primary end, whose transmit call hands it to the backlog of the peer.
"""

from datapath.kernel.bpf import features, libbpf
from datapath.modes.base import EbpfMode, Station
from datapath.programs import COMMON_MAPS, ProgramSpec
from datapath.records import HookId, ModeId
from datapath.steps.kinds import MakeNetkit

MODE = EbpfMode(
    name="netkit",
    id=ModeId.NETKIT,
    summary="eBPF at the peer of a netkit pair, bpf_redirect through the receiver's primary end",
    program=ProgramSpec(
        source="endpoint.c",
        function="tc_redirect",
        type=libbpf.PROG_SCHED_CLS,
        attach_types={HookId.NETKIT: libbpf.ATTACH_NETKIT_PEER},
        maps=COMMON_MAPS,
    ),
    hooks=(HookId.NETKIT,),
    path=(
        Station("sender", "eth0: netkit peer", hook="netkit peer"),
        Station("host", "receiver's primary end: backlog"),
        Station("receiver", "eth0: netkit peer"),
    ),
    needs=(features.NETKIT,),
    interface=MakeNetkit,
)
