"""Who is at the other end: veth peers by ifindex and netnsid, as "veth0 in ns0".

A namespace numbers the others that it knows of (netnsid). Asked with an open namespace it says the
number; so every namespace that there is has to be opened: those with a name, the caller's own, and
those of processes, as containers have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datapath.errors import KernelError
from datapath.kernel.net import links, netns
from datapath.kernel.net.netns import Netns
from datapath.names import HOST


def everywhere() -> list[Netns]:
    """Every network namespace: the host's, those with a name, those that only processes have."""
    host = Netns(HOST, Path("/proc/self/ns/net"), netns.host_inode())
    found = {host.inode: host}
    for namespace in (*netns.named(), *_of_processes()):
        found.setdefault(namespace.inode, namespace)
    return list(found.values())


def _of_processes() -> Iterator[Netns]:
    """Labelled by the PID, as one would write it for this command."""
    for folder in Path("/proc").glob("[0-9]*"):
        path = folder / "ns/net"
        try:
            yield Netns(folder.name, path, path.stat().st_ino)
        except OSError:
            continue  # it has ended, or has no memory and no namespace any more


@dataclass(frozen=True, slots=True)
class Peers:
    """The other ends of the interfaces in one namespace; reads each namespace at most once."""

    here: Netns
    _names: dict[int, dict[int, str]] = field(default_factory=dict)  # inode -> ifindex -> name
    _nsids: dict[int, Netns] = field(default_factory=dict)

    def name(self, ifindex: int, nsid: int | None) -> str:
        """In words: "veth0 in ns0", "h0 here"; "" for no peer."""
        if not ifindex:
            return ""
        if nsid is None:
            return f"{self._name(self.here, ifindex)} here"
        if not self._nsids:
            self._nsids.update(netns.run_inside(self.here.path, self._numbered))
        there = self._nsids.get(nsid)
        if there is None:
            return f"ifindex {ifindex} in a namespace that nobody has a name for"
        return f"{self._name(there, ifindex)} in {there.name}"

    def _numbered(self) -> dict[int, Netns]:
        found = {}
        for namespace in everywhere():
            try:
                nsid = links.nsid(namespace.path)
            except (OSError, KernelError):
                continue  # it has gone since
            if nsid is not None:
                found[nsid] = namespace
        return found

    def _name(self, there: Netns, ifindex: int) -> str:
        if there.inode not in self._names:
            try:
                self._names[there.inode] = netns.run_inside(there.path, links.names)
            except KernelError:  # it has gone since
                self._names[there.inode] = {}
        return self._names[there.inode].get(ifindex, f"ifindex {ifindex}")
