"""Netfilter rules in a place of our own, by nft or iptables-legacy, the tools that people use.

A ruleset is a table (nft) or a chain of table filter (legacy) with a name that nobody else has,
which what the host forwards from one subnet walks from its first rule to its last. It is made in
one transaction and removed in one; rules of others are not touched. Functions act in the network
namespace of the calling thread.

The legacy kernel side adds table filter to a namespace when it is first used there, and keeps it,
empty: the one thing that stays, and every packet that is forwarded from then on visits it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Literal

from pyroute2 import NFCTSocket
from pyroute2.netlink.exceptions import NetlinkError

from datapath.errors import EbpfnetError, KernelError
from datapath.kernel.net import netns, tools

Backend = Literal["nft", "legacy"]

# On connections that a ruleset tracked, so that these and no others are forgotten with it.
CONNECTION_MARK: Final = 0xEBF0C7
# Class E (RFC 1112, 4): no host has such an address, so a rule for one never matches.
_NOBODY: Final = IPv4Address("240.0.0.0")
_ANY_BIT: Final = 0xFFFFFFFF

# Each tool: the package that brings it, and the command that takes a transaction.
_PACKAGES: Final = {"nft": "nftables", "legacy": "iptables"}
_COMMANDS: Final = {
    "nft": ("nft", "-f", "-"),
    "legacy": ("iptables-legacy-restore", "--noflush", "--wait", "5"),
}


def legacy_tables() -> list[str]:
    """The tables of legacy iptables that there are here; packets visit them even where empty."""
    try:
        return sorted(Path("/proc/thread-self/net/ip_tables_names").read_text().split())
    except OSError:  # the kernel's legacy side was never loaded
        return []


@dataclass(frozen=True, slots=True)
class Ruleset:
    """`rules` that every packet from `subnet` walks and none matches, under `name`.

    With `conntrack`, each of its packets is tracked before.
    """

    backend: Backend
    name: str
    subnet: str
    rules: int
    conntrack: bool

    def commands(self) -> list[str]:
        """What makes it, line by line, each to be typed behind `nft` or `iptables-legacy`."""
        return list(_nft(self) if self.backend == "nft" else _legacy(self))

    def add(self) -> None:
        """Make it. Raises EbpfnetError; then nothing was made."""
        self._transact(self.commands())

    def remove(self) -> None:
        """No error where there is none. Raises EbpfnetError."""
        if self.backend == "nft":
            table = f"table ip {self.name}"
            self._transact([f"add {table}", f"delete {table}"])
        elif commands := self._legacy_removal():
            self._transact(commands)
        if self.conntrack:
            _forget_connections()

    def missing(self) -> str:
        """What this machine lacks for it, "" where nothing: found out by making it where nobody is.

        Modules that it wants are loaded.
        """
        command = _COMMANDS[self.backend][0]
        if shutil.which(command) is None:
            return f"{command} (apt-get install {_PACKAGES[self.backend]})"
        try:
            netns.scratch(self.add)
        except EbpfnetError as error:
            return f"rules ({error.message})"
        return ""

    def _legacy_removal(self) -> list[str]:
        """By what is there: a person may have taken away the rule that leads to the chain."""
        saved = tools.run(["iptables-legacy-save"]).splitlines()
        if not any(line.startswith(f":{self.name} ") for line in saved):
            return []
        jumps = [f"-D{line[2:]}" for line in saved if line.endswith(f" -j {self.name}")]
        return [*jumps, f"-F {self.name}", f"-X {self.name}"]

    def _transact(self, commands: list[str]) -> None:
        lines = commands if self.backend == "nft" else ["*filter", *commands, "COMMIT"]
        tools.run(_COMMANDS[self.backend], stdin="\n".join([*lines, ""]))


def _nft(ruleset: Ruleset) -> Iterator[str]:
    table = f"ip {ruleset.name}"
    yield f"create table {table}"
    yield f"add chain {table} walked"
    if ruleset.conntrack:
        yield f"add rule {table} walked ct state new ct mark set {CONNECTION_MARK:#x}"
    for number in range(1, ruleset.rules + 1):
        yield f"add rule {table} walked ip daddr {_NOBODY + number} drop"
    yield f"add chain {table} forward {{ type filter hook forward priority 0 ; }}"
    yield f"add rule {table} forward ip saddr {ruleset.subnet} jump walked"


def _legacy(ruleset: Ruleset) -> Iterator[str]:
    yield f"-N {ruleset.name}"
    if ruleset.conntrack:
        yield (
            f"-A {ruleset.name} -m conntrack --ctstate NEW "
            f"-j CONNMARK --set-mark {CONNECTION_MARK:#x}"
        )
    for number in range(1, ruleset.rules + 1):
        yield f"-A {ruleset.name} -d {_NOBODY + number} -j DROP"
    yield f"-I FORWARD -s {ruleset.subnet} -j {ruleset.name}"


def _forget_connections() -> None:
    """Delete what was tracked from the host's table, where it would stay for up to five days."""
    try:
        with NFCTSocket() as conntrack:
            conntrack.flush(mark=CONNECTION_MARK, mark_mask=_ANY_BIT)
    except NetlinkError as error:
        raise KernelError("forgetting tracked connections", error.code) from error
