"""The lab that every mode is measured in: a sender and a receiver, made for it and gone after it.

Everything is done through one journal, so that a run that is killed is undone by the next one or by
`ebpfnet gc`; and since a journal has one holder, two runs never measure each other.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Interface
from typing import Final

from datapath import network
from datapath.compare import knobs, processes
from datapath.compare.declared import LabMode
from datapath.compare.processes import Tool
from datapath.endpoint import Member, link_local, made_addresses, made_mac, random_mac
from datapath.errors import Busy, Conflict, EbpfnetError
from datapath.journal import NETWORK_OWNER, Journal
from datapath.kernel.bpf import features
from datapath.kernel.net import links, netns
from datapath.modes.base import EbpfMode, Mode, NetworkSpec
from datapath.records import HookId

NETWORK: Final = "compare-lab"
# Set aside for measuring (RFC 2544): nobody's own addresses.
SUBNET: Final = IPv4Network("198.18.0.0/24")
PING: Final = Tool("ping", "iputils-ping")

_PATIENCE = 3  # seconds until the first answer


@dataclass(frozen=True, slots=True)
class Lab:
    """Two namespaces that a mode has joined, as a network of two."""

    mode: Mode
    network: NetworkSpec
    sender: Member
    receiver: Member

    def ends(self) -> dict[str, tuple[str, str]]:
        """Each veth end by its name in reports: path of its namespace ("" = the host's), interface.

        A plain pair has no ends on the host.
        """
        if isinstance(self.mode, LabMode):
            return self.mode.ends()
        found = {
            "sender": (str(self.sender.path), self.sender.ifname),
            "receiver": (str(self.receiver.path), self.receiver.ifname),
        }
        for name, member in (("sender host", self.sender), ("receiver host", self.receiver)):
            if links.find(member.host_ifname):
                found[name] = ("", member.host_ifname)
        return found

    def run(self, member: Member, *arguments: str, timeout: float) -> str:
        """What a tool prints in an endpoint's namespace; see processes.run."""
        return processes.run(member.path, arguments, timeout=timeout)

    def prove(self) -> None:
        """Raises EbpfnetError unless the receiver answers the sender."""
        try:
            self.run(
                self.sender,
                *("ping", "-c", "1", "-i", "0.2", "-w", str(_PATIENCE), str(self.receiver.ipv4)),
                timeout=_PATIENCE + 2,
            )
        except EbpfnetError as error:
            raise EbpfnetError(
                f"mode {self.mode.name} does not join the lab: no answer to a ping",
                remedy="a firewall may drop what this host forwards: "
                "see `nft list ruleset` and `iptables -S FORWARD`",
                detail=error.detail,
            ) from error

    def next_hop_mac(self) -> str:
        """The MAC that the sender sends to: the receiver's, or a router's on the way to it.

        Raises EbpfnetError where the sender's neighbour table does not know it.
        """
        (route,) = json.loads(
            self.run(
                self.sender,
                *("ip", "-j", "route", "get", str(self.receiver.ipv4)),
                timeout=_PATIENCE,
            )
        )
        hop = route.get("gateway", str(self.receiver.ipv4))
        mac = netns.run_inside(self.sender.path, lambda: links.neighbour(self.sender.ifname, hop))
        if mac is None:
            raise EbpfnetError(f"the sender does not know the MAC of {hop}")
        return mac


def open_journal() -> Journal:
    """The lab's journal, what an earlier run left behind undone.

    Raises Busy while another process measures, Conflict where a user's network has the lab's name.
    """
    try:
        journal = Journal(NETWORK, wait=False)
    except Busy as error:
        raise Busy(
            "another comparison is under way, and two would measure each other",
            remedy="wait for it to end",
        ) from error
    try:
        journal.recover()
        if journal.entries() or NETWORK in network.names():
            raise Conflict(
                f"there is a network {NETWORK}, as the lab is to be called",
                remedy=f"take it down: ebpfnet detach --network {NETWORK}",
            )
    except BaseException:
        journal.close()
        raise
    return journal


@contextmanager
def built(journal: Journal, mode: Mode) -> Iterator[Lab]:
    """A lab that is joined by `mode` and proven to be; undone with the block.

    Raises EbpfnetError where it cannot be built, or not undone.
    """
    hook = features.preferred_hook(mode.hooks) if isinstance(mode, EbpfMode) else HookId.TCX
    if isinstance(mode, LabMode):
        members = mode.sender, mode.receiver
    else:
        members = _member(1), _member(2)
    lab = Lab(mode, NetworkSpec(NETWORK, SUBNET, hook), *members)
    try:
        for setting in knobs.sysctls():
            journal.do(NETWORK_OWNER, setting)
        for owner, step in mode.steps(lab.network, (lab.sender, lab.receiver)):
            journal.do(owner, step)
        for where, ifname in lab.ends().values():
            journal.do(NETWORK_OWNER, knobs.gro(where, ifname))
        lab.prove()
        yield lab
    except BaseException as error:
        try:
            _undo(journal)
        except Exception as failure:
            error.add_note(f"undoing it failed too: {failure}; run `ebpfnet gc`")
        raise
    _undo(journal)


def _undo(journal: Journal) -> None:
    """All that stands, to the end: ctrl-C waits until it is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        journal.undo(journal.entries())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _member(number: int) -> Member:
    label = f"cmp{os.getpid()}-{number}"
    ipv4 = SUBNET[number + 1]
    mac = made_mac(ipv4)
    addresses = (*made_addresses(ipv4, SUBNET), IPv6Interface((link_local(mac), 64)))
    has_ipv6 = links.ipv6_enabled()
    return Member(
        id=number,
        label=label,
        path=netns.FOLDER / label,
        to_be_made=True,
        ifname="eth0",
        mac=mac,
        host_ifname=f"h-{label}",
        host_mac=random_mac(),
        addresses=tuple(a for a in addresses if has_ipv6 or a.version == 4),
        adoption=None,
    )
