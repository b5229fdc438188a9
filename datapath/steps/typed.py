"""How a step is typed: words quoted for a shell, and commands in a namespace."""

from __future__ import annotations

import shlex
from pathlib import Path


def command(*words: object) -> str:
    """Words as a person types them."""
    return shlex.join(str(word) for word in words)


def ip(netns: str, *words: object) -> str:
    """An `ip` command in the namespace /run/netns/NAME that `netns` is the path of ("" = here)."""
    inside = ("-n", Path(netns).name) if netns else ()
    return command("ip", *inside, *words)


def inside(netns: str, *words: object) -> str:
    """Any command there."""
    prefix = ("ip", "netns", "exec", Path(netns).name) if netns else ()
    return command(*prefix, *words)
