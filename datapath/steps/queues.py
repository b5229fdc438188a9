"""A step on the queue in which what an interface sends waits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datapath.kernel.net import netns, tc
from datapath.steps.typed import command


@dataclass(frozen=True, slots=True)
class AddQueue:
    """A first-in first-out qdisc at an interface of ours; goes with it.

    A veth has room for 256 frames. Beyond that it drops, unless there is a queue to wait in (Linux
    6.16: "veth: apply qdisc backpressure on full ptr_ring"). Not for one that is in use: the kernel
    loses what an interface sends while its qdisc is changed.
    """

    netns: str  # path
    ifname: str

    def commands(self) -> list[str]:
        path = Path(self.netns)
        named = path.parent == netns.FOLDER
        tool = ("tc", "-n", path.name) if named else ("nsenter", f"--net={path}", "tc")
        return [command(*tool, "qdisc", "add", "dev", self.ifname, "root", "pfifo")]

    def apply(self) -> None:
        netns.run_inside(Path(self.netns), lambda: tc.add_queue(self.ifname))

    def revert(self) -> None:
        pass
