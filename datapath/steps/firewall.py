"""Steps on the firewall."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from datapath.kernel.net.firewall import Backend, Ruleset


@dataclass(frozen=True, slots=True)
class AddRules:
    """Rules that what the host forwards from a subnet walks; see kernel.net.firewall.Ruleset."""

    backend: Backend
    name: str
    subnet: str
    rules: int
    conntrack: bool

    @property
    def _ruleset(self) -> Ruleset:
        return Ruleset(self.backend, self.name, self.subnet, self.rules, self.conntrack)

    def commands(self) -> list[str]:
        if self.backend == "nft":
            return [f"nft {shlex.quote(command)}" for command in self._ruleset.commands()]
        return [f"iptables-legacy {command}" for command in self._ruleset.commands()]

    def apply(self) -> None:
        self._ruleset.add()

    def revert(self) -> None:
        self._ruleset.remove()
