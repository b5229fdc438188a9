"""Steps of mode sockmap: a network's socket programs, and whose sockets they join."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapath import records, sockets
from datapath.kernel.bpf import sockets as attaching
from datapath.kernel.bpf.maps import Map
from datapath.kernel.net import netns
from datapath.network import ROOT


@dataclass(frozen=True, slots=True)
class AttachSockets:
    """A network's socket programs and their maps; they join nobody yet."""

    network: str

    def commands(self) -> list[str]:
        folder = ROOT / self.network
        progs, maps = folder / "progs", folder / "maps"
        functions = [each.function for each in sockets.PROGRAMS]
        return [
            f"mkdir -m 700 {folder}/sockets",
            f"# bcc compiles bpf/{sockets.SOURCE} and loads {', '.join(functions)}; then",
            *(f"bpftool map pin name {name} {maps}/{name}" for name in sockets.MAPS),
            *(f"bpftool prog pin name {name} {progs}/{name}" for name in functions),
            *(
                f"# {progs}/{each.function} is linked to {each.tracepoint} by bpf_link_create alone"
                for each in sockets.PROGRAMS
                if each.tracepoint
            ),
            f"bpftool prog attach pinned {progs}/socket_message msg_verdict pinned {maps}/sockets",
            f"bpftool cgroup attach {attaching.cgroup_root()} sock_ops"
            f" pinned {progs}/socket_event multi",
        ]

    def apply(self) -> None:
        sockets.install(self.network)

    def revert(self) -> None:
        sockets.uninstall(self.network)


@dataclass(frozen=True, slots=True)
class JoinNamespace:
    """TCP sockets that are opened in a namespace from now on joined with those of the others."""

    network: str
    id: int
    netns: str  # path

    def commands(self) -> list[str]:
        # No tool of iproute2 knows the cookie: SO_NETNS_COOKIE is 71.
        ask = (
            "import socket; print(int.from_bytes("
            "socket.socket().getsockopt(socket.SOL_SOCKET, 71, 8), 'little'))"
        )
        cookie = shlex.join(["nsenter", f"--net={self.netns}", "python3", "-c", ask])
        return [
            f"bpftool map update pinned {ROOT / self.network}/maps/namespaces"
            f" key hex $(le 8 $({cookie})) value hex $(le 4 {self.id})"
        ]

    def apply(self) -> None:
        cookie = bytes(records.Cookie(netns.cookie(Path(self.netns))))
        with Map.pinned(ROOT / self.network / "maps/namespaces") as namespaces:
            namespaces.update(cookie, bytes(records.NamespaceRecord(self.id)))

    def revert(self) -> None:
        self.revert_all([self])

    @staticmethod
    def revert_all(steps: Sequence[JoinNamespace]) -> None:
        """Undo many with one look through the maps: namespaces may be gone, and flows are many."""
        maps = ROOT / steps[0].network / "maps"
        if not (maps / "flows").exists():
            return
        ids = {step.id for step in steps}
        with Map.pinned(maps / "namespaces") as namespaces:
            for key, value in namespaces.items():
                if records.NamespaceRecord.from_buffer_copy(value).id in ids:
                    namespaces.delete(key)
        # After that no more come. Connections go on by packets.
        with Map.pinned(maps / "flows") as flows:
            for key, value in flows.items():
                flow = records.FlowRecord.from_buffer_copy(value)
                if ids & {getattr(flow, "from"), flow.to}:
                    flows.delete(key)
