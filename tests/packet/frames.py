"""Frames of every kind, and what becomes of each: IPv4, ARP, VLAN, other protocols.

A row is a kind: what it is (also its id), the frame, its fate, and who sends it. Rows are grouped
by fate. Those of IPv6 are in frames_ipv6.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR, IPOption_Timestamp
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.packet import Packet, Raw

from datapath.records import DropReason
from tests.packet.reference import NO_IPV4, NO_IPV6, STRANGER, A, Answered, B, Fate, Forwarded, Host

ALL_MAC = "ff:ff:ff:ff:ff:ff"
GROUP_MAC = "01:00:5e:00:00:fb"
NOBODY_MAC = "02:00:00:00:00:99"
NOBODY_IPV4 = "10.1.1.99"
ANY_IPV4 = str(IPv4Address(0))
A4, A4_SECOND, A4_ELSEWHERE = A.ipv4
B4, B4_SECOND = B.ipv4


@dataclass(frozen=True, slots=True)
class Row:
    description: str
    frame: bytes
    fate: Fate
    sender: Host

    @property
    def id(self) -> str:
        return re.sub(r"[^A-Za-z0-9.:]+", "-", self.description).strip("-")


def rows(fate: Fate, packets: Mapping[str, Packet], sender: Host = A) -> Iterator[Row]:
    """A row for each description and packet, all of one fate."""
    for description, packet in packets.items():
        yield Row(description, bytes(packet), fate, sender)


def ether(src: Host | str, dst: Host | str, **fields: object) -> Packet:
    """An Ethernet header between hosts or MACs."""
    source, destination = (end.mac if isinstance(end, Host) else end for end in (src, dst))
    return Ether(src=source, dst=destination, **fields)


def ip(src: str = A4, dst: str = B4, **fields: object) -> Packet:
    return IP(src=src, dst=dst, **fields)


def arp(target: str = B4, **fields: object) -> Packet:
    """An ARP request of A's; fields as scapy calls them."""
    request = {"hwsrc": A.mac, "psrc": A4, "hwdst": "00:00:00:00:00:00", "pdst": target}
    return ARP(**{"op": "who-has", **request, **fields})


TO_B = ether(A, B)
TO_ALL = ether(A, ALL_MAC)
TO_GROUP = ether(A, GROUP_MAC)
TO_NOBODY = ether(A, NOBODY_MAC)
DATA = UDP(sport=5001, dport=5002) / b"0123456789abcdef"

IPV4 = (
    *rows(
        Forwarded(B),
        {
            "IPv4 UDP": TO_B / ip() / DATA,
            "IPv4 TCP": TO_B / ip() / TCP(sport=40000, dport=80, flags="PA") / b"GET / HTTP/1.0",
            "IPv4 TCP with options": TO_B
            / ip()
            / TCP(flags="S", options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7)]),
            "IPv4 ICMP echo": TO_B / ip() / ICMP(id=7, seq=1) / b"ping",
            "IPv4 of another protocol": TO_B / ip(proto=253) / b"experiment",
            "IPv4 with one option": TO_B
            / ip(options=[IPOption_RR(length=7, routers=[ANY_IPV4])])
            / DATA,
            "IPv4 with a header of 60 bytes": TO_B
            / ip(options=[IPOption_RR(length=39, routers=[ANY_IPV4] * 9)])
            / DATA,
            "IPv4 with a timestamp option": TO_B / ip(options=[IPOption_Timestamp()]) / DATA,
            "IPv4 first fragment": TO_B / ip(flags="MF", id=9) / DATA,
            "IPv4 middle fragment": TO_B / ip(flags="MF", id=9, frag=3) / bytes(24),
            "IPv4 last fragment": TO_B / ip(id=9, frag=6) / bytes(5),
            "IPv4 that must not be fragmented": TO_B / ip(flags="DF") / DATA,
            "IPv4 without payload": TO_B / ip(),
            "IPv4 padded to Ethernet's minimum": TO_B / ip() / UDP() / b"x" / Raw(bytes(17)),
            "IPv4 of length 0, as BIG TCP has it": TO_B / ip(len=0) / DATA,
            "IPv4 of a wrong version": TO_B / ip(version=6, ihl=4) / DATA,
            "IPv4 from a secondary address": TO_B / ip(src=A4_SECOND) / DATA,
            "IPv4 from an address of another subnet": TO_B / ip(src=A4_ELSEWHERE) / DATA,
            "IPv4 to a secondary address": TO_B / ip(dst=B4_SECOND) / DATA,
            "IPv4 to a MAC of nobody": TO_NOBODY / ip() / DATA,
            "IPv4 to a MAC of another endpoint": ether(A, NO_IPV6) / ip() / DATA,
            "IPv4 to a MAC of zeros": ether(A, "00:00:00:00:00:00") / ip() / DATA,
        },
    ),
    *rows(
        Forwarded(NO_IPV6), {"IPv4 to an endpoint without IPv6": TO_B / ip(dst="10.1.1.4") / DATA}
    ),
    *rows(Forwarded(A), {"IPv4 to itself": TO_B / ip(dst=A4_SECOND) / DATA}),
    *rows(
        Forwarded(A),
        {"IPv4 from the last endpoint": ether(NO_IPV6, A) / ip("10.1.1.4", A4) / DATA},
        sender=NO_IPV6,
    ),
    *rows(
        DropReason.UNKNOWN_ENDPOINT,
        {
            "IPv4 by an unknown host end": TO_B / ip() / DATA,
            "IPv4 spoofed by an unknown host end": TO_NOBODY / ip(src=NOBODY_IPV4) / DATA,
            "ARP by an unknown host end": TO_ALL / arp(),
            "a mere Ethernet header by an unknown host end": TO_B / Raw(b""),
        },
        sender=STRANGER,
    ),
    *rows(
        DropReason.SPOOFED_MAC,
        {
            "IPv4 from a MAC of nobody": ether(NOBODY_MAC, B) / ip() / DATA,
            "IPv4 from the receiver's MAC": ether(B, B) / ip() / DATA,
            "IPv4 from a group MAC": ether(GROUP_MAC, B) / ip() / DATA,
            "IPv4 from a MAC that differs in the last bit": ether(A.mac[:-1] + "0", B.mac)
            / ip()
            / DATA,
            "IPv4 from a MAC that differs in the first byte": ether("00" + A.mac[2:], B.mac)
            / ip()
            / DATA,
            "another's whole frame": ether(B, A) / ip(B4, A4) / DATA,
            "ARP from a MAC of nobody": ether(NOBODY_MAC, ALL_MAC) / arp(hwsrc=NOBODY_MAC),
            "VLAN from a MAC of nobody": ether(NOBODY_MAC, B) / Dot1Q(vlan=5) / ip() / DATA,
        },
    ),
    *rows(
        DropReason.SPOOFED_IPV4,
        {
            "IPv4 from another endpoint's address": TO_B / ip(src=NO_IPV6.ipv4[0]) / DATA,
            "IPv4 from the receiver's address": TO_B / ip(src=B4) / DATA,
            "IPv4 from an address of nobody": TO_B / ip(src=NOBODY_IPV4) / DATA,
            "IPv4 from 127.0.0.1": TO_B / ip(src="127.0.0.1") / DATA,
            "IPv4 from 0.0.0.0": TO_B / ip(src=ANY_IPV4) / DATA,
            "IPv4 from a multicast address": TO_B / ip(src="224.0.0.1") / DATA,
            "a DHCP discovery": TO_ALL / ip(ANY_IPV4, "255.255.255.255") / UDP(sport=68, dport=67),
            "a spoofed fragment": TO_B / ip(src=NOBODY_IPV4, frag=6) / b"z",
        },
    ),
    *rows(
        DropReason.SPOOFED_IPV4,
        {
            "IPv4 from 0.0.0.0 by an endpoint without IPv4": ether(NO_IPV4, B)
            / ip(src=ANY_IPV4)
            / DATA
        },
        sender=NO_IPV4,
    ),
    *rows(
        DropReason.BROADCAST,
        {
            "IPv4 limited broadcast": TO_ALL / ip(dst="255.255.255.255") / DATA,
            "IPv4 subnet broadcast": TO_ALL / ip(dst="10.1.1.255") / DATA,
            "IPv4 to an endpoint by the broadcast MAC": TO_ALL / ip() / DATA,
        },
    ),
    *rows(
        DropReason.MULTICAST,
        {
            "IPv4 multicast": TO_GROUP / ip(dst="224.0.0.251", ttl=1) / UDP(sport=5353, dport=5353),
            "IPv4 to an endpoint by a group MAC": TO_GROUP / ip() / DATA,
            "IPv4 broadcast by a group MAC": TO_GROUP / ip(dst="255.255.255.255") / DATA,
            "IPv4 to a MAC that is nearly broadcast": ether(A, "ff:ff:ff:ff:ff:fe") / ip() / DATA,
        },
    ),
    *rows(
        DropReason.UNKNOWN_DESTINATION,
        {
            "IPv4 to an address of nobody": TO_B / ip(dst=NOBODY_IPV4) / DATA,
            "IPv4 to the internet": TO_B / ip(dst="198.51.100.1") / DATA,
            "IPv4 to 0.0.0.0": TO_B / ip(dst=ANY_IPV4) / DATA,
            "IPv4 multicast by a unicast MAC": TO_B / ip(dst="224.0.0.251") / DATA,
            "IPv4 broadcast by a unicast MAC": TO_B / ip(dst="255.255.255.255") / DATA,
        },
    ),
)

ARP_ROWS = (
    *rows(
        Answered(B),
        {
            "ARP request": TO_ALL / arp(),
            "ARP request padded to Ethernet's minimum": TO_ALL / arp() / Raw(bytes(18)),
            "ARP request with a long trailer": TO_ALL / arp() / Raw(bytes(range(100))),
            "ARP request for a secondary address": TO_ALL / arp(B4_SECOND),
            "ARP request from a secondary address": TO_ALL / arp(psrc=A4_SECOND),
            "ARP request with a target MAC": TO_ALL / arp(hwdst=ALL_MAC),
            "ARP request to the owner's MAC": TO_B / arp(),
            "ARP request to a MAC of nobody": TO_NOBODY / arp(),
            "ARP request in a VLAN": TO_ALL / Dot1Q(vlan=7, prio=3) / arp(),
            "ARP request in two VLANs": TO_ALL / Dot1AD(vlan=100) / Dot1Q(vlan=7) / arp(),
            "ARP probe for an address that is taken": TO_ALL / arp(psrc=ANY_IPV4),
        },
    ),
    *rows(
        Answered(A),
        {
            "ARP probe by an endpoint without IPv4": ether(NO_IPV4, ALL_MAC)
            / ARP(hwsrc=NO_IPV4.mac, psrc=ANY_IPV4, pdst=A4)
        },
        sender=NO_IPV4,
    ),
    *rows(
        DropReason.UNKNOWN_DESTINATION,
        {
            "ARP request for an address of nobody": TO_ALL / arp(NOBODY_IPV4),
            "ARP request for 0.0.0.0": TO_ALL / arp(ANY_IPV4),
            "ARP probe for an address that is free": TO_ALL / arp(NOBODY_IPV4, psrc=ANY_IPV4),
        },
    ),
    *rows(
        DropReason.ARP_UNANSWERED,
        {
            "ARP request for its own address": TO_ALL / arp(A4_SECOND),
            "ARP announcement": TO_ALL / arp(A4),
            "ARP probe for its own address": TO_ALL / arp(A4, psrc=ANY_IPV4),
            "ARP reply": TO_B / arp(op="is-at", hwdst=B.mac),
            "gratuitous ARP reply": TO_ALL / arp(A4, op="is-at", hwdst=ALL_MAC),
            "RARP request": TO_ALL / arp(op=3),
            "ARP of operation 0": TO_ALL / arp(op=0),
            "ARP of operation 256, 1 in the wrong byte order": TO_ALL / arp(op=256),
            "ARP of other hardware": TO_ALL / arp(hwtype=6),
            "ARP of another protocol": TO_ALL / arp(ptype=0x86DD),
            "ARP of a longer hardware address": TO_ALL / arp(hwlen=8),
            "ARP of a longer protocol address": TO_ALL / arp(plen=16),
        },
    ),
    *rows(
        DropReason.SPOOFED_ARP,
        {
            "ARP request with another's MAC": TO_ALL / arp(hwsrc=B.mac),
            "ARP request with another's address": TO_ALL / arp(psrc=NO_IPV6.ipv4[0]),
            "ARP request with the owner's address": TO_ALL / arp(psrc=B4),
            "ARP request with an address of nobody": TO_ALL / arp(psrc=NOBODY_IPV4),
            "ARP probe with another's MAC": TO_ALL / arp(hwsrc=NOBODY_MAC, psrc=ANY_IPV4),
            "ARP reply with another's address": TO_B / arp(op="is-at", psrc=NOBODY_IPV4),
            "ARP announcement of another's address": TO_ALL / arp(B4, psrc=B4),
        },
    ),
)

VLAN = (
    *rows(
        Forwarded(B),
        {
            "802.1Q": TO_B / Dot1Q(vlan=7) / ip() / DATA,
            "802.1Q with a priority alone": TO_B / Dot1Q(vlan=0, prio=7) / ip() / DATA,
            "802.1ad": TO_B / Dot1AD(vlan=100) / ip() / DATA,
            "802.1Q in 802.1ad": TO_B / Dot1AD(vlan=100) / Dot1Q(vlan=7) / ip() / DATA,
            "802.1Q in 802.1Q": TO_B / Dot1Q(vlan=100) / Dot1Q(vlan=7) / ip() / DATA,
            "802.1Q to a MAC of nobody": TO_NOBODY / Dot1Q(vlan=7) / ip() / DATA,
        },
    ),
    *rows(
        DropReason.SPOOFED_IPV4,
        {"802.1Q from an address of nobody": TO_B / Dot1Q(vlan=7) / ip(src=NOBODY_IPV4) / DATA},
    ),
    *rows(
        DropReason.MULTICAST,
        {"802.1Q multicast": TO_GROUP / Dot1Q(vlan=7) / ip(dst="224.0.0.251") / DATA},
    ),
    *rows(
        DropReason.VLAN_DEPTH,
        {
            "three VLAN tags": TO_B / Dot1AD(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / ip() / DATA,
            "three VLAN tags of 802.1ad": TO_B / Dot1AD() / Dot1AD() / Dot1AD() / ip() / DATA,
        },
    ),
    *rows(
        DropReason.UNSUPPORTED_PROTOCOL,
        {
            "802.1Q of an unknown protocol": TO_B / Dot1Q(vlan=7, type=0x88CC) / b"lldp",
            "802.1Q of QinQ's old EtherType": TO_B / Dot1Q(vlan=7, type=0x9100) / ip() / DATA,
        },
    ),
)

OTHER = tuple(
    rows(
        DropReason.UNSUPPORTED_PROTOCOL,
        {
            "LLDP": ether(A, "01:80:c2:00:00:0e", type=0x88CC)
            / bytes.fromhex("0207040e0a00000001040706")
            / Raw(bytes(34)),
            "MPLS": ether(A, B, type=0x8847) / bytes.fromhex("000641ff") / ip() / DATA,
            "a spanning tree's 802.3 frame": Dot3(src=A.mac, dst="01:80:c2:00:00:00")
            / LLC()
            / STP(),
            "802.3 of length 0": ether(A, B, type=0) / ip() / DATA,
            "PPPoE": ether(A, B, type=0x8864) / bytes.fromhex("11000001002c0021") / ip(),
            "IPv4's EtherType in the wrong byte order": ether(A, B, type=8) / ip() / DATA,
            "802.1Q's EtherType in the wrong byte order": ether(A, B, type=0x81)
            / bytes.fromhex("00070800")
            / ip()
            / DATA,
            "loopback test": ether(A, A, type=0x9000) / bytes(46),
        },
    )
)

ROWS = (*IPV4, *ARP_ROWS, *VLAN, *OTHER)
