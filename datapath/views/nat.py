"""Address translation in a namespace: the rules of nftables and of legacy iptables, alike.

What iptables-nft writes is seen by nft itself; only the legacy tables have to be asked for apart.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

from datapath.errors import EbpfnetError, Unsupported
from datapath.kernel.net import netns
from datapath.kernel.net.netns import Netns

_COUNTER = re.compile(r"counter packets (\d+) bytes (\d+) ?")
_NAT_CHAIN = re.compile(r"type nat hook (\w+)")
# Statements that translate, wherever they stand: a chain that nat jumps to has no type itself.
_TRANSLATES = re.compile(r"\b(masquerade|snat|dnat|redirect|MASQUERADE|SNAT|DNAT|REDIRECT)\b")
_LEGACY: Final = {"iptables-legacy-save": "ip", "ip6tables-legacy-save": "ip6"}
_LEGACY_RULE = re.compile(r"\[(\d+):(\d+)\] -A (\S+) ?(.*)")


def rules(node: Netns) -> list[dict[str, Any]]:
    """Each rule that translates, and each of a nat chain, with its counter where it has one.

    Raises Unsupported where there is no tool to ask.
    """
    if not shutil.which("nft") and not any(map(shutil.which, _LEGACY)):
        raise Unsupported("nft", "nft is not installed", remedy="apt-get install nftables")
    return netns.run_inside(node.path, lambda: [*_nft(), *_legacy()])


def _said(*command: str) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EbpfnetError(f"{command[0]} failed with code {done.returncode}", detail=done.stderr)
    return done.stdout


def _nft() -> Iterator[dict[str, Any]]:
    if not shutil.which("nft"):
        return
    table = chain = hook = ""
    for line in map(str.strip, _said("nft", "list", "ruleset").splitlines()):
        if line.startswith("table "):
            table = line.removeprefix("table ").removesuffix(" {")
        elif line.startswith("chain "):
            chain, hook = line.removeprefix("chain ").removesuffix(" {"), ""
        elif found := _NAT_CHAIN.search(line):
            hook = found[1]
        elif line and line != "}" and chain and (hook or _TRANSLATES.search(line)):
            counted = _COUNTER.search(line)
            yield {
                "tool": "nft",
                "table": table,
                "chain": chain,
                "hook": hook,
                "rule": _COUNTER.sub("", line).strip(),
                "packets": int(counted[1]) if counted else None,
                "bytes": int(counted[2]) if counted else None,
            }
        elif line == "}":
            chain = hook = ""


def _legacy() -> Iterator[dict[str, Any]]:
    for tool, family in _LEGACY.items():
        if not shutil.which(tool):
            continue
        # Asking for a table by name would load its module.
        table = ""
        for line in _said(tool, "-c").splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif table == "nat" and (found := _LEGACY_RULE.fullmatch(line)):
                yield {
                    "tool": "iptables-legacy",
                    "table": f"{family} {table}",
                    "chain": found[3],
                    "hook": found[3].lower() if found[3].isupper() else "",
                    "rule": found[4],
                    "packets": int(found[1]),
                    "bytes": int(found[2]),
                }
