"""What a namespace's firewalls make of a packet: read as rules, walked as the kernel walks them."""

from __future__ import annotations

import shutil

from datapath.diagnose.firewall import legacy, nft
from datapath.diagnose.firewall.rules import Packet, Refusal, Ruleset, walk
from datapath.kernel.net import netns
from datapath.kernel.net.netns import Netns

__all__ = ["Packet", "Refusal", "Ruleset", "refusal", "rulesets"]


def rulesets(node: Netns) -> list[Ruleset]:
    """Every firewall of a namespace: nftables, where iptables-nft writes too, and legacy ones."""

    def read() -> list[Ruleset]:
        found = []
        if shutil.which("nft"):
            found.append(nft.read())
        if shutil.which("iptables-legacy-save"):
            found.append(legacy.read())
        return found

    return netns.run_inside(node.path, read)


def refusal(found: list[Ruleset], hook: str, families: set[str], packet: Packet) -> Refusal | None:
    """What drops a packet at a hook, a rule or a policy; None where it passes for all we know."""
    for ruleset in found:
        if refused := walk(ruleset, hook, families, packet):
            return refused
    return None
