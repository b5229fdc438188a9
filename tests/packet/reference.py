"""What should become of a frame: the datapath's policy once more, in Python, from the RFCs.

The policy: an endpoint sends from its own MAC and addresses only. ARP requests (RFC 826) and
neighbour solicitations (RFC 4861) for somebody's address are answered in the owner's name; IPv4 and
IPv6 to an endpoint is forwarded with the receiver's MAC, whatever its VLAN; all else is dropped.

What is left to the receiver's stack is not judged: IPv4 beyond the fixed header, lengths that the
headers claim (segmentation offload makes them wrong on purpose), checksums (offload leaves them
undone). Nor are the further rules of RFC 4861, 7.1.1 for solicitations (checksum, options' lengths,
a solicited-node destination for ::): the answer goes to the asker alone.

A header counts as there when all of it is there; only what a decision needs is looked for. So a
frame may be cut in its payload, and in extension headers that lead to nothing of interest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address

from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from datapath.records import DropReason

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPES_VLAN = (0x8100, 0x88A8)  # IEEE 802.1Q, 802.1ad
VLAN_TAGS_FOLLOWED = 2

HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS = 0, 43, 44, 60
EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS)
EXTENSIONS_FOLLOWED = 4
ICMPV6 = 58

NEIGHBOUR_DISCOVERY = range(133, 138)  # RS, RA, NS, NA, redirect
NEIGHBOUR_SOLICITATION = 135
SOURCE_LINK_LAYER = 1

UNSPECIFIED = IPv6Address("::")
ARP_REQUEST = 1
BROADCAST = b"\xff" * 6


@dataclass(frozen=True, slots=True)
class Host:
    """An endpoint; ifindex is its host end's. The first address of a kind is the primary one."""

    name: str
    id: int
    ifindex: int
    mac: str
    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def raw_mac(self) -> bytes:
        return bytes.fromhex(self.mac.replace(":", ""))

    def owns(self, address: IPv4Address | IPv6Address) -> bool:
        return str(address) in (self.ipv4 if address.version == 4 else self.ipv6)


# Ids and ifindexes are neither in order nor equal, so that one taken for another shows; some lie
# SENDER_SLOTS apart (bpf/include/sender.h), where one must not be taken for the other. 8 is the
# last id there is room for.
A = Host(
    "A",
    id=5,
    ifindex=103,
    mac="02:eb:0a:01:01:02",
    ipv4=("10.1.1.2", "10.1.1.102", "192.0.2.2"),
    ipv6=("fd00::a01:102", "fe80::eb:aff:fe01:102", "fd00:1::2"),
)
B = Host(
    "B",
    id=2,
    ifindex=103 + 1024,
    mac="02:eb:0a:01:01:03",
    ipv4=("10.1.1.3", "10.1.1.103"),
    ipv6=("fd00::a01:103", "fe80::eb:aff:fe01:103", "fd00:1::3"),
)
NO_IPV6 = Host("no-ipv6", id=8, ifindex=101, mac="02:eb:0a:01:01:04", ipv4=("10.1.1.4",))
NO_IPV4 = Host("no-ipv4", id=1, ifindex=107, mac="52:54:00:00:00:05", ipv6=("fd00::5",))
HOSTS = (A, B, NO_IPV6, NO_IPV4)
# A host end without an entry: what it sends may be as correct as it likes.
STRANGER = Host("stranger", id=0, ifindex=103 + 2048, mac=A.mac, ipv4=A.ipv4, ipv6=A.ipv6)


@dataclass(frozen=True, slots=True)
class Forwarded:
    to: Host


@dataclass(frozen=True, slots=True)
class Answered:
    owner: Host


@dataclass(frozen=True, slots=True)
class Left:
    """To the kernel: as if there were no program."""


Fate = DropReason | Forwarded | Answered | Left

# Why a frame is dropped even where what is nobody's is left to the kernel.
FORGED_OR_BROKEN = {
    *(DropReason.UNKNOWN_ENDPOINT, DropReason.TRUNCATED, DropReason.HELPER_FAILED),
    *(DropReason.SPOOFED_MAC, DropReason.SPOOFED_IPV4, DropReason.SPOOFED_IPV6),
    *(DropReason.SPOOFED_ARP, DropReason.SPOOFED_ND),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A frame's fate, and the frame as it comes out (dropped: as it went in)."""

    fate: Fate
    frame: bytes


class _Dropped(Exception):
    def __init__(self, reason: DropReason) -> None:
        self.reason = reason


class _Reader:
    """A frame, read from front to back."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.at = 0

    def skip(self, count: int) -> None:
        self.at += count

    def rest(self) -> bytes:
        return self.frame[self.at :]

    def take(self, count: int) -> bytes:
        taken = self.rest()[:count]
        if len(taken) < count:
            raise _Dropped(DropReason.TRUNCATED)
        self.at += count
        return taken


@cache
def judge(frame: bytes, sender: Host, hosts: Sequence[Host] = HOSTS) -> Verdict:
    """The fate of a frame of at least 14 bytes that comes in by the sender's host end."""
    try:
        return _judge(_Reader(frame), sender, hosts)
    except _Dropped as dropped:
        return Verdict(dropped.reason, frame)


def judge_beside_the_kernel(frame: bytes, sender: Host) -> Verdict:
    """The fate of a frame in a network that leaves to the kernel what is nobody's."""
    verdict = judge(frame, sender)
    if isinstance(verdict.fate, DropReason) and verdict.fate not in FORGED_OR_BROKEN:
        return Verdict(Left(), frame)
    return verdict


def _judge(reader: _Reader, sender: Host, hosts: Sequence[Host]) -> Verdict:
    if sender not in hosts:
        raise _Dropped(DropReason.UNKNOWN_ENDPOINT)
    _, source, ethertype = struct.unpack("!6s6sH", reader.take(14))
    if source != sender.raw_mac:
        raise _Dropped(DropReason.SPOOFED_MAC)
    for _ in range(VLAN_TAGS_FOLLOWED):
        if ethertype in ETHERTYPES_VLAN:
            _, ethertype = struct.unpack("!HH", reader.take(4))
    if ethertype in ETHERTYPES_VLAN:
        raise _Dropped(DropReason.VLAN_DEPTH)
    if ethertype == ETHERTYPE_ARP:
        return _judge_arp(reader, sender, hosts)
    if ethertype == ETHERTYPE_IPV4:
        return _judge_ipv4(reader, sender, hosts)
    if ethertype == ETHERTYPE_IPV6:
        return _judge_ipv6(reader, sender, hosts)
    raise _Dropped(DropReason.UNSUPPORTED_PROTOCOL)


def _owner(address: IPv4Address | IPv6Address, hosts: Sequence[Host]) -> Host | None:
    return next((host for host in hosts if host.owns(address)), None)


def _deliver(frame: bytes, receiver: Host | None) -> Verdict:
    """To the receiver, unless there is none or the frame was sent to a group.

    An address of one host must not be sent to a group's MAC, RFC 1122, 3.3.6.
    """
    if frame[:6] == BROADCAST:
        raise _Dropped(DropReason.BROADCAST)
    if frame[0] & 1:
        raise _Dropped(DropReason.MULTICAST)
    if receiver is None:
        raise _Dropped(DropReason.UNKNOWN_DESTINATION)
    return Verdict(Forwarded(receiver), receiver.raw_mac + frame[6:])


def _judge_ipv4(reader: _Reader, sender: Host, hosts: Sequence[Host]) -> Verdict:
    source, destination = map(IPv4Address, struct.unpack("!12x4s4s", reader.take(20)))
    if not sender.owns(source):
        raise _Dropped(DropReason.SPOOFED_IPV4)
    return _deliver(reader.frame, _owner(destination, hosts))


def _judge_arp(reader: _Reader, sender: Host, hosts: Sequence[Host]) -> Verdict:
    """Requests for the address of somebody else are answered, also probes (sender 0.0.0.0)."""
    start = reader.at
    header, operation, sender_mac, sender_ip, target_ip = struct.unpack(
        "!6sH6s4s6x4s", reader.take(28)
    )
    if header != struct.pack("!HHBB", 1, ETHERTYPE_IPV4, 6, 4):  # Ethernet and IPv4
        raise _Dropped(DropReason.ARP_UNANSWERED)
    asker, target = IPv4Address(sender_ip), IPv4Address(target_ip)
    if sender_mac != sender.raw_mac or not (asker.is_unspecified or sender.owns(asker)):
        raise _Dropped(DropReason.SPOOFED_ARP)
    if operation != ARP_REQUEST:
        raise _Dropped(DropReason.ARP_UNANSWERED)
    owner = _owner(target, hosts)
    if owner is None:
        raise _Dropped(DropReason.UNKNOWN_DESTINATION)
    if owner == sender:  # an announcement, or a probe for its own address
        raise _Dropped(DropReason.ARP_UNANSWERED)
    reply = ARP(op="is-at", hwsrc=owner.mac, psrc=str(target), hwdst=sender.mac, pdst=str(asker))
    addresses = sender.raw_mac + owner.raw_mac
    answer = addresses + reader.frame[12:start] + bytes(reply) + reader.rest()
    return Verdict(Answered(owner), answer)


def _judge_ipv6(reader: _Reader, sender: Host, hosts: Sequence[Host]) -> Verdict:
    start = reader.at
    next_header, hop_limit, raw_source, raw_destination = struct.unpack(
        "!6xBB16s16s", reader.take(40)
    )
    source = IPv6Address(raw_source)
    # :: is for duplicate address detection and for telling routers of groups (RFC 3590).
    if source != UNSPECIFIED and not sender.owns(source):
        raise _Dropped(DropReason.SPOOFED_IPV6)

    upper, extended = _upper_layer(reader, next_header)
    if upper == ICMPV6 and (kind := reader.take(1)[0]) in NEIGHBOUR_DISCOVERY:
        # RFC 6980 and 7113: not in fragments, not behind extension headers.
        if kind != NEIGHBOUR_SOLICITATION or extended:
            raise _Dropped(DropReason.ND_UNANSWERED)
        owner, target = _solicited(reader, source, hop_limit, sender, hosts)
        to_all = source == UNSPECIFIED  # RFC 4861, 7.2.4
        answer = (
            Ether(dst="33:33:00:00:00:01" if to_all else sender.mac, src=owner.mac)
            / IPv6(src=str(target), dst="ff02::1" if to_all else str(source), hlim=255)
            / ICMPv6ND_NA(tgt=str(target), R=0, S=0 if to_all else 1, O=1)
            / ICMPv6NDOptDstLLAddr(lladdr=owner.mac)
        )
        raw = bytes(answer)
        return Verdict(Answered(owner), raw[:12] + reader.frame[12:start] + raw[14:])

    receiver = _owner(IPv6Address(raw_destination), hosts)
    if receiver and source == UNSPECIFIED:
        raise _Dropped(DropReason.SPOOFED_IPV6)
    return _deliver(reader.frame, receiver)


def _upper_layer(reader: _Reader, next_header: int) -> tuple[int | None, bool]:
    """The protocol behind the extension headers, and whether there are any (RFC 8200, 4).

    None: a later fragment, which begins in the middle of something.
    """
    followed = 0
    while next_header in EXTENSIONS:
        if followed == EXTENSIONS_FOLLOWED:
            raise _Dropped(DropReason.IPV6_EXTENSIONS)
        following, units, fragment = struct.unpack("!BBH4x", reader.take(8))
        if next_header != FRAGMENT:
            reader.skip(8 * units)
        elif fragment >> 3:
            return None, True
        next_header = following
        followed += 1
    return next_header, followed > 0


def _solicited(
    reader: _Reader, source: IPv6Address, hop_limit: int, sender: Host, hosts: Sequence[Host]
) -> tuple[Host, IPv6Address]:
    """Who has the address that a solicitation asks for, and the address (RFC 4861, 7.1.1)."""
    code, raw_target = struct.unpack("!B2x4x16s", reader.take(23))
    if hop_limit != 255 or code != 0:
        raise _Dropped(DropReason.ND_UNANSWERED)
    option = reader.rest()[:8]
    tells_mac = len(option) == 8 and option[0] == SOURCE_LINK_LAYER
    if tells_mac and (source == UNSPECIFIED or option[2:] != sender.raw_mac):
        raise _Dropped(DropReason.SPOOFED_ND)
    target = IPv6Address(raw_target)
    owner = _owner(target, hosts)
    if owner is None:
        raise _Dropped(DropReason.UNKNOWN_DESTINATION)
    if owner == sender:  # duplicate address detection for its own address
        raise _Dropped(DropReason.ND_UNANSWERED)
    return owner, target
