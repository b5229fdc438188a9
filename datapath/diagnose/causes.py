"""What is found: a cause, where, one sentence, and the command that mends it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

_TOOLS: Final = {
    *("ip", "bridge", "tc", "nft", "sysctl", "ethtool", "nsenter", "ebpfnet"),
    *("iptables-legacy", "ip6tables-legacy"),
}
# Words of commands that are no blanks to fill in: chains and verdicts of iptables.
_UPPER: Final = {"INPUT", "OUTPUT", "FORWARD", "PREROUTING", "POSTROUTING"} | {
    *("DROP", "REJECT", "ACCEPT")
}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a packet does not get there.

    `cause` is one of a fixed set of words, for programs ("link-down"); `where` a place such as
    "veth1 in ns1"; `remedy` a command to type, or advice where no command does it.
    """

    cause: str
    where: str
    sentence: str
    remedy: str

    @property
    def commands(self) -> list[list[str]]:
        """The remedy as arguments; empty where it is advice, or has blanks to fill in."""
        found = [shlex.split(part) for part in self.remedy.split(" && ")]
        runs = all(words[0] in _TOOLS and not any(map(_is_blank, words)) for words in found)
        return found if runs else []


def _is_blank(word: str) -> bool:
    """Whether it is to be replaced by whoever types it: ADDRESS/LENGTH."""
    parts = word.split("/")
    return word not in _UPPER and all(part.isupper() and part.isalpha() for part in parts)
