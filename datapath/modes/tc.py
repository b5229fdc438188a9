"""Mode tc: bpf_redirect from the sender's host end to the egress of the receiver's."""

from datapath.kernel.bpf import libbpf
from datapath.modes.base import EbpfMode, Station
from datapath.programs import COMMON_MAPS, ProgramSpec
from datapath.records import HookId, ModeId

MODE = EbpfMode(
    name="tc",
    id=ModeId.TC,
    summary="eBPF at tc ingress, bpf_redirect through the receiver's host end",
    program=ProgramSpec(
        source="endpoint.c",
        function="tc_redirect",
        type=libbpf.PROG_SCHED_CLS,
        attach_types={HookId.TCX: libbpf.ATTACH_TCX_INGRESS, HookId.CLSACT: 0},
        maps=COMMON_MAPS,
    ),
    hooks=(HookId.TCX, HookId.CLSACT),
    path=(
        Station("sender", "eth0"),
        Station("host", "sender's host end", hook="tc ingress"),
        Station("host", "receiver's host end: egress, backlog"),
        Station("receiver", "eth0"),
    ),
)
