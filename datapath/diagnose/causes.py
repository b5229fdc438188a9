"""What is found: a cause, where, one sentence, and the command that mends it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import groupby
from typing import Final

_TOOLS: Final = {
    *("ip", "bridge", "tc", "nft", "sysctl", "ethtool", "nsenter", "ebpfnet"),
    *("iptables-legacy", "ip6tables-legacy"),
}
# Words that whoever types a remedy is to replace: ADDRESS/24.
_BLANKS: Final = {"ADDRESS", "LENGTH", "GATEWAY"}


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
        try:
            words = shlex.split(self.remedy)
        except ValueError:  # prose with an apostrophe
            return []
        found = [list(group) for is_and, group in groupby(words, "&&".__eq__) if not is_and]
        runs = all(command[0] in _TOOLS and not any(map(_is_blank, command)) for command in found)
        return found if runs else []


class Guess(Cause):
    """One that may be none: it stands where no other is found."""


def see(command: str) -> str:
    """A remedy that only shows where to look: it is never taken for one that mends."""
    return f"see: {command}"


def _is_blank(word: str) -> bool:
    return not _BLANKS.isdisjoint(word.split("/"))
