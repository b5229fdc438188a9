"""Mode sockmap: tc-peer for packets, and past both TCP/IP stacks for data between joined sockets.

Round trips take half the time, and on one CPU a stream is faster too, since its data is still in
the cache when it is read. What is joined, and when it is not, is in bpf/socket.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datapath import sockets
from datapath.endpoint import Member
from datapath.journal import NETWORK_OWNER, Step
from datapath.kernel.bpf import features
from datapath.modes import tc_peer
from datapath.modes.base import EbpfMode, NetworkSpec, Station
from datapath.network import Network
from datapath.records import ModeId
from datapath.steps.sockets import AttachSockets, JoinNamespace


@dataclass(frozen=True, slots=True)
class Sockmap(EbpfMode):
    """An EbpfMode with programs at sockets besides."""

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        """Sockets last: they only need what packets have already."""
        yield from EbpfMode.steps(self, network, members)
        if not network.exists:
            yield NETWORK_OWNER, AttachSockets(network.name)
        for member in members:
            yield member.id, JoinNamespace(network.name, member.id, str(member.path))

    def reload(self, network: Network) -> int:
        changed = EbpfMode.reload(self, network)
        sockets.replace(network)
        return changed


MODE = Sockmap(
    name="sockmap",
    id=ModeId.SOCKMAP,
    summary="tc-peer, and eBPF that hands what TCP sockets send to the sockets that read it",
    program=tc_peer.MODE.program,
    hooks=tc_peer.MODE.hooks,
    path=(
        Station("sender", "socket: sk_msg, or eth0"),
        Station("host", "sender's host end, if by packets", hook="tc ingress"),
        Station("receiver", "socket, or eth0"),
    ),
    needs=(
        *tc_peer.MODE.needs,
        features.SOCKMAP,
        features.CGROUP2,
        features.SOCKET_TRACEPOINTS,
    ),
)
