"""Mode xdp: native XDP at the host end, redirected by a devmap.

Frames arrive in the receiver's namespace as XDP frames, which asks three things of its interface:
NAPI, which GRO switches on, or the redirect fails; checksums filled in by the sender, since a
redirected frame loses the note that they are still to be done; and VLAN tags in the frame, since
their place beside it is lost too. Segmentation offload the kernel itself takes away from the peer
of an XDP interface: TCP sends MTU-sized packets.
"""

from datapath.kernel.bpf import features, libbpf
from datapath.modes.base import EbpfMode, Station
from datapath.programs import COMMON_MAPS, ProgramSpec
from datapath.records import HookId, ModeId

MODE = EbpfMode(
    name="xdp",
    id=ModeId.XDP,
    summary="eBPF in native XDP at the host end, redirected by a devmap",
    program=ProgramSpec(
        source="xdp.c",
        function="xdp_devmap",
        type=libbpf.PROG_XDP,
        attach_types={HookId.XDP: libbpf.ATTACH_XDP},
        maps=(*COMMON_MAPS, "devices"),
    ),
    hooks=(HookId.XDP,),
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
)
