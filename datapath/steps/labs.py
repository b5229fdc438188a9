"""The step that joins a lab's nodes by eBPF, for journals that a whole lab is built through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from datapath.records import HookId
from datapath.steps.typed import command

if TYPE_CHECKING:
    from datapath.labs.model import Lab


@dataclass(frozen=True, slots=True)
class JoinLab:
    """What a lab declares to be joined, or, by a mode, what it can be switched to."""

    name: str
    text: str  # the lab's declaration
    mode: str  # "" = as it is declared
    hook: str  # "" = the best that there is

    def commands(self) -> list[str]:
        mode = ["--mode", self.mode] if self.mode else []
        hook = ["--hook", self.hook] if self.hook else []
        return [command("ebpfnet", "attach", "--lab", self.name, *mode, *hook)]

    def apply(self) -> None:
        from datapath.labs import switching

        hook = HookId[self.hook.upper()] if self.hook else None
        switching.switch(self._lab(), self.mode or None, hook)

    def revert(self) -> None:
        from datapath.labs import switching

        switching.back(self._lab())

    def _lab(self) -> Lab:
        from datapath.labs.loader import load

        return load(self.text, self.name, self.name)
