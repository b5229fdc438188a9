"""Mode tc-peer, the default: bpf_redirect_peer straight into the receiver's namespace.

The packet skips the receiver's host end and its backlog queue: one softirq instead of two.
"""

from datapath.kernel.bpf import features, libbpf
from datapath.modes.base import EbpfMode, Station
from datapath.programs import COMMON_MAPS, ProgramSpec
from datapath.records import HookId, ModeId

MODE = EbpfMode(
    name="tc-peer",
    id=ModeId.TC_PEER,
    summary="eBPF at tc ingress, bpf_redirect_peer into the receiver's namespace",
    program=ProgramSpec(
        source="endpoint.c",
        function="tc_peer",
        type=libbpf.PROG_SCHED_CLS,
        attach_types={HookId.TCX: libbpf.ATTACH_TCX_INGRESS, HookId.CLSACT: 0},
        maps=COMMON_MAPS,
    ),
    hooks=(HookId.TCX, HookId.CLSACT),
    path=(
        Station("sender", "eth0"),
        Station("host", "sender's host end", hook="tc ingress"),
        Station("receiver", "eth0"),
    ),
    needs=(features.REDIRECT_PEER,),
)
