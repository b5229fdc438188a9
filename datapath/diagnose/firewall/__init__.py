"""What a namespace's firewalls make of a packet: read as rules, walked as the kernel walks them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from datapath.diagnose.firewall import legacy, nft, rules
from datapath.diagnose.firewall.rules import Packet, Refusal, Rule, Ruleset
from datapath.kernel.net import netns

__all__ = ["Packet", "Refusal", "Ruleset", "refusals", "rulesets", "translation"]


def rulesets(handle: Path) -> list[Ruleset]:
    """Every firewall of a namespace: nftables, where iptables-nft writes too, and legacy ones."""

    def read() -> list[Ruleset]:
        found = []
        if shutil.which("nft"):
            found.append(nft.read())
        if shutil.which("iptables-legacy-save"):
            found.append(legacy.read())
        return found

    return netns.run_inside(handle, read)


def refusals(
    found: list[Ruleset], hook: str, families: set[str], packet: Packet
) -> Iterator[Refusal]:
    """What drops a packet at a hook, rules and policies; none where it passes for all we know."""
    for ruleset in found:
        yield from rules.walk(ruleset, hook, families, packet)


def translation(found: list[Ruleset], hook: str, packet: Packet) -> Rule | None:
    """The rule by which a packet has another address after a hook; None where it keeps its own."""
    families = {"inet", "ip" if packet.version == 4 else "ip6"}
    translations = (rules.translation(ruleset, hook, families, packet) for ruleset in found)
    return next(filter(None, translations), None)
