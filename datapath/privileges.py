"""What a process must be allowed to do: root's capabilities over networks, namespaces and BPF."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from datapath.errors import Unsupported

_CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}  # the latter includes CAP_BPF
_ALL_USERS: Final = ["0", "0", str(2**32 - 1)]  # the uid_map of the initial user namespace


def missing_capabilities() -> list[str]:
    """The capabilities over the machine's networks, namespaces and BPF that this thread lacks."""
    if Path("/proc/self/uid_map").read_text().split() != _ALL_USERS:
        return list(_CAPABILITIES)  # what it has counts in its own user namespace only
    status = Path("/proc/thread-self/status").read_text()
    effective = int(re.findall(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)[0], 16)
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def require() -> None:
    """Raises Unsupported without them."""
    if missing := missing_capabilities():
        user = os.geteuid()
        who = f"user {user}" if user else "root without " + " and ".join(missing)
        raise Unsupported("root", f"this needs root, and you are {who}", remedy="run it with sudo")
