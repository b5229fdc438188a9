"""Netfilter rules in the way of a baseline's packets: options of its variants.

    bridge-nf:rules=100    routed:rules=1000,conntrack    bridge-nf:rules=100,legacy

Rules are made by nft unless `legacy` says iptables-legacy.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self, cast

from datapath.errors import InvalidInput
from datapath.journal import NETWORK_OWNER, Step
from datapath.kernel.net.firewall import Backend, Ruleset
from datapath.modes.base import NetworkSpec
from datapath.steps.firewall import AddRules
from datapath.variants import Options

_MOST_RULES = 10_000


@dataclass(frozen=True, slots=True)
class Filtering:
    """`rules` that every packet walks and none matches, behind connection tracking or not."""

    rules: int = 0
    conntrack: bool = False
    backend: Backend = "nft"

    @classmethod
    def chosen(cls, options: Options) -> Self:
        """As a variant's options say. Raises InvalidInput."""
        rules = options.number("rules", 0, 0, _MOST_RULES)
        conntrack = options.flag("conntrack")
        backend = options.one_of(("nft", "legacy"), "")
        if backend and not (rules or conntrack):
            raise InvalidInput(
                f"{options.text}: {backend} says how rules are made, and there are none",
                remedy="add rules=N or conntrack",
            )
        return cls(rules, conntrack, cast(Backend, backend or "nft"))

    def __bool__(self) -> bool:
        return bool(self.rules or self.conntrack)

    def __str__(self) -> str:
        """As "100 rules and conntrack (nft)"; "" for none."""
        parts = [f"{self.rules} rules"] * bool(self.rules) + ["conntrack"] * self.conntrack
        return f"{' and '.join(parts)} ({self.backend})" if parts else ""

    def missing(self) -> str:
        """What this machine lacks for it, "" where nothing."""
        if not self:
            return ""
        one_of_each = Ruleset(self.backend, "ebpfnet-try", "192.0.2.0/24", 1, self.conntrack)
        return one_of_each.missing()

    def steps(self, network: NetworkSpec) -> Iterator[tuple[int, Step]]:
        """What puts them in the way of the network's packets."""
        if self:
            # A name that nobody else has: undoing finds its own, or nothing.
            name = f"ebpfnet-{secrets.token_hex(4)}"
            subnet = str(network.subnet)
            yield (
                NETWORK_OWNER,
                AddRules(self.backend, name, subnet, self.rules, self.conntrack),
            )


NONE: Final = Filtering()
