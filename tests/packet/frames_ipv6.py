"""Frames of every kind, and what becomes of each: IPv6, extension headers, neighbour discovery."""

from __future__ import annotations

from ipaddress import IPv6Address

from scapy.layers.inet import TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet, Raw

from datapath.records import DropReason
from tests.packet.frames import ALL_MAC, DATA, NOBODY_MAC, TO_ALL, TO_B, TO_NOBODY, ether, rows
from tests.packet.reference import ICMPV6, NO_IPV4, NO_IPV6, STRANGER, A, Answered, B, Forwarded

A6, A_LOCAL, A6_SECOND = A.ipv6
B6, B_LOCAL, B6_SECOND = B.ipv6
NOBODY_IPV6 = "fd00::99"
SOLICITED_NODE = "ff02::1:ff01:103"  # B's, RFC 4291, 2.7.1

TO_ALL_NODES = ether(A, "33:33:00:00:00:01")
TO_SOLICITED_NODE = ether(A, "33:33:ff:01:01:03")
TO_MDNS = ether(A, "33:33:00:00:00:fb")

HOP_BY_HOP = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])
DESTINATION_OPTIONS = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
LONG_OPTIONS = IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(255)), PadN(optdata=bytes(1))])
ROUTING = IPv6ExtHdrRouting(type=4, addresses=[B6], segleft=0)
FIRST = IPv6ExtHdrFragment(id=9, m=1)
LATER = IPv6ExtHdrFragment(id=9, offset=3)
ATOMIC = IPv6ExtHdrFragment(id=9)
ECHO = ICMPv6EchoRequest(id=7, seq=1, data=b"ping")
MAC_OF_A = ICMPv6NDOptSrcLLAddr(lladdr=A.mac)
NONCE = ICMPv6NDOptUnknown(type=14, len=1, data=b"nonce!")  # RFC 3971


def ip(src: str = A6, dst: str = B6, **fields: object) -> Packet:
    return IPv6(src=src, dst=dst, **fields)


def with_bit(address: str, bit: int) -> str:
    """The address with one bit flipped; bit 0 is the last one."""
    return str(IPv6Address(int(IPv6Address(address)) ^ 1 << bit))


def asking(src: str = A6, dst: str = SOLICITED_NODE, hlim: int = 255, **fields: object) -> Packet:
    """The IPv6 header of neighbour discovery."""
    return IPv6(src=src, dst=dst, hlim=hlim, **fields)


def ns(target: str = B6, **fields: object) -> Packet:
    return ICMPv6ND_NS(tgt=target, **fields)


NA = ICMPv6ND_NA(tgt=A6, S=0) / ICMPv6NDOptDstLLAddr(lladdr=A.mac)

IPV6 = (
    *rows(
        Forwarded(B),
        {
            "IPv6 UDP": TO_B / ip() / DATA,
            "IPv6 TCP": TO_B / ip(tc=8, fl=0x12345) / TCP(sport=40000, dport=80) / b"GET /",
            "IPv6 echo request": TO_B / ip() / ECHO,
            "IPv6 echo reply": TO_B / ip() / ICMPv6EchoReply(id=7, seq=1, data=b"ping"),
            "IPv6 between link-local addresses": TO_B / ip(A_LOCAL, B_LOCAL) / DATA,
            "IPv6 from a secondary address": TO_B / ip(src=A6_SECOND) / DATA,
            "IPv6 to a secondary address": TO_B / ip(dst=B6_SECOND) / DATA,
            "IPv6 without payload": TO_B / ip(nh=59),
            "IPv6 of length 0, as BIG TCP has it": TO_B / ip(plen=0) / DATA,
            "IPv6 of a wrong version": TO_B / ip(version=4) / DATA,
            "IPv6 with ESP": TO_B / ip(nh=50) / bytes(24),
            "IPv6 with an authentication header": TO_B / ip(nh=51) / b"\x3a\x04" / bytes(22),
            "IPv6 to a MAC of nobody": TO_NOBODY / ip() / DATA,
            "IPv6 in a VLAN": TO_B / Dot1Q(vlan=7) / ip() / DATA,
            "IPv6 in two VLANs": TO_B / Dot1AD(vlan=100) / Dot1Q(vlan=7) / ip() / ECHO,
        },
    ),
    *rows(
        Forwarded(NO_IPV4), {"IPv6 to an endpoint without IPv4": TO_B / ip(dst="fd00::5") / DATA}
    ),
    *rows(Forwarded(A), {"IPv6 to itself": TO_B / ip(dst=A_LOCAL) / DATA}),
    *rows(
        Forwarded(B),
        {"IPv6 by an endpoint without IPv4": ether(NO_IPV4, B) / ip("fd00::5") / DATA},
        sender=NO_IPV4,
    ),
    *rows(
        DropReason.UNKNOWN_ENDPOINT,
        {
            "IPv6 by an unknown host end": TO_B / ip() / DATA,
            "solicitation by an unknown host end": TO_SOLICITED_NODE / asking() / ns() / MAC_OF_A,
        },
        sender=STRANGER,
    ),
    *rows(DropReason.SPOOFED_MAC, {"IPv6 from another's MAC": ether(B, B) / ip() / DATA}),
    *rows(
        DropReason.SPOOFED_IPV6,
        {
            "IPv6 from an address of nobody": TO_B / ip(src=NOBODY_IPV6) / DATA,
            "IPv6 from the receiver's address": TO_B / ip(src=B6) / DATA,
            "IPv6 from another's link-local address": TO_B / ip(src=B_LOCAL) / DATA,
            **{
                f"IPv6 from an address that differs in its 32-bit word {word}": TO_B
                / ip(src=with_bit(A6, 32 * word))
                / DATA
                for word in range(4)
            },
            **{
                f"IPv6 from :: but for its 32-bit word {word}": TO_ALL_NODES
                / ip(with_bit("::", 32 * word), "ff02::1")
                / DATA
                for word in range(4)
            },
            "IPv6 from a mapped IPv4 address": TO_B / ip(src="::ffff:10.1.1.2") / DATA,
            "IPv6 from :: to an endpoint": TO_B / ip(src="::") / DATA,
            "IPv6 from :: to an endpoint by a group MAC": TO_ALL_NODES / ip(src="::") / DATA,
            "spoofed fragment of IPv6": TO_B / ip(src=NOBODY_IPV6) / LATER / b"z",
        },
    ),
    *rows(
        DropReason.SPOOFED_IPV6,
        {"IPv6 from :: by an endpoint without IPv6": ether(NO_IPV6, B) / ip(src="::") / DATA},
        sender=NO_IPV6,
    ),
    *rows(
        DropReason.MULTICAST,
        {
            "mDNS": TO_MDNS / ip(dst="ff02::fb", hlim=1) / UDP(sport=5353, dport=5353),
            "MLD report from ::": ether(A, "33:33:00:00:00:16")
            / ip("::", "ff02::16", hlim=1)
            / IPv6ExtHdrHopByHop(options=[RouterAlert()])
            / ICMPv6MLReport2(),
            "MLD report from a link-local address": ether(A, "33:33:00:00:00:16")
            / ip(A_LOCAL, "ff02::16", hlim=1)
            / IPv6ExtHdrHopByHop(options=[RouterAlert()])
            / ICMPv6MLReport2(),
            "IPv6 to an endpoint by a group MAC": TO_ALL_NODES / ip() / DATA,
            "echo request to all nodes": TO_ALL_NODES / ip(A_LOCAL, "ff02::1") / ECHO,
        },
    ),
    *rows(DropReason.BROADCAST, {"IPv6 by the broadcast MAC": TO_ALL / ip() / DATA}),
    *rows(
        DropReason.UNKNOWN_DESTINATION,
        {
            "IPv6 to an address of nobody": TO_B / ip(dst=NOBODY_IPV6) / DATA,
            "IPv6 to ::": TO_B / ip(dst="::") / DATA,
            "IPv6 from :: to an address of nobody": TO_B / ip("::", NOBODY_IPV6) / DATA,
            "IPv6 multicast by a unicast MAC": TO_B / ip(dst="ff02::fb") / DATA,
        },
    ),
)

EXTENSIONS = (
    *rows(
        Forwarded(B),
        {
            "hop-by-hop options": TO_B / ip() / HOP_BY_HOP / DATA,
            "routing header": TO_B / ip() / ROUTING / TCP(),
            "destination options": TO_B / ip() / DESTINATION_OPTIONS / ECHO,
            "long destination options": TO_B / ip() / LONG_OPTIONS / ECHO,
            "first fragment": TO_B / ip() / FIRST / DATA,
            "first fragment of an echo": TO_B / ip() / FIRST / ECHO,
            "later fragment": TO_B / ip() / LATER / bytes(24),
            "later fragment that looks like a solicitation": TO_B
            / asking(dst=B6)
            / IPv6ExtHdrFragment(id=9, offset=1, nh=ICMPV6)
            / bytes(ns(cksum=1)),
            "later fragment that looks like options": TO_B
            / ip()
            / IPv6ExtHdrFragment(id=9, offset=1, m=1, nh=60)
            / b"\x3a\xff",
            "atomic fragment": TO_B / ip() / ATOMIC / DATA,
            "four extension headers": TO_B
            / ip()
            / HOP_BY_HOP
            / DESTINATION_OPTIONS
            / ROUTING
            / DESTINATION_OPTIONS
            / DATA,
            "four extension headers and an echo": TO_B
            / ip()
            / HOP_BY_HOP
            / ROUTING
            / FIRST
            / DESTINATION_OPTIONS
            / ECHO,
            "an extension header longer than the frame": TO_B
            / ip()
            / IPv6ExtHdrDestOpt(len=200, nh=17, options=[PadN(optdata=bytes(4))]),
            "extension headers in a VLAN": TO_B / Dot1Q(vlan=7) / ip() / HOP_BY_HOP / ECHO,
        },
    ),
    *rows(
        DropReason.IPV6_EXTENSIONS,
        {
            "five extension headers": TO_B
            / ip()
            / HOP_BY_HOP
            / DESTINATION_OPTIONS
            / ROUTING
            / FIRST
            / DESTINATION_OPTIONS
            / DATA,
            "five extension headers before an advertisement": TO_B
            / asking(dst=B6)
            / (DESTINATION_OPTIONS / DESTINATION_OPTIONS / DESTINATION_OPTIONS)
            / (DESTINATION_OPTIONS / DESTINATION_OPTIONS)
            / NA,
        },
    ),
    *rows(
        DropReason.TRUNCATED,
        {
            "ICMPv6 without payload": TO_B / ip(nh=ICMPV6),
            "an extension header longer than the frame before ICMPv6": TO_B
            / ip()
            / IPv6ExtHdrDestOpt(len=200, nh=ICMPV6, options=[PadN(optdata=bytes(4))])
            / bytes(ns(cksum=1)),
            "first fragment that ends before its ICMPv6": TO_B
            / ip()
            / IPv6ExtHdrFragment(m=1, nh=60)
            / IPv6ExtHdrDestOpt(nh=ICMPV6, options=[PadN(optdata=bytes(4))]),
        },
    ),
    *rows(
        DropReason.ND_UNANSWERED,
        {
            f"{what} behind {before}": TO_B / asking(dst=B6) / header / message
            for before, header in {
                "hop-by-hop options": HOP_BY_HOP,
                "a routing header": ROUTING,
                "destination options": DESTINATION_OPTIONS,
                "long destination options": LONG_OPTIONS,
                "a fragment header": ATOMIC,
                "the header of a first fragment": FIRST,
                "four extension headers": HOP_BY_HOP / ROUTING / FIRST / DESTINATION_OPTIONS,
            }.items()
            for what, message in {"solicitation": ns() / MAC_OF_A, "advertisement": NA}.items()
        },
    ),
)

DISCOVERY = (
    *rows(
        Answered(B),
        {
            "solicitation": TO_SOLICITED_NODE / asking() / ns() / MAC_OF_A,
            "solicitation of a link-local address": TO_SOLICITED_NODE
            / asking(A_LOCAL)
            / ns(B_LOCAL)
            / MAC_OF_A,
            "solicitation of a secondary address": TO_SOLICITED_NODE
            / asking()
            / ns(B6_SECOND)
            / MAC_OF_A,
            "solicitation from a secondary address": TO_SOLICITED_NODE
            / asking(A6_SECOND)
            / ns()
            / MAC_OF_A,
            "solicitation to the owner alone": TO_B / asking(dst=B6) / ns() / MAC_OF_A,
            "solicitation to a MAC of nobody": TO_NOBODY / asking() / ns() / MAC_OF_A,
            "solicitation without an option": TO_B / asking(dst=B6) / ns(),
            "solicitation with a nonce first": TO_SOLICITED_NODE
            / asking()
            / ns()
            / NONCE
            / MAC_OF_A,
            "solicitation with a nonce last": TO_SOLICITED_NODE
            / asking()
            / ns()
            / MAC_OF_A
            / NONCE,
            "solicitation with a long trailer": TO_SOLICITED_NODE
            / asking()
            / ns()
            / MAC_OF_A
            / Raw(bytes(range(200))),
            "solicitation with traffic class and flow label": TO_SOLICITED_NODE
            / asking(tc=0xC0, fl=0xFFFFF)
            / ns(res=0xFFFFFFFF)
            / MAC_OF_A,
            "solicitation with a wrong checksum": TO_SOLICITED_NODE
            / asking()
            / ns(cksum=1)
            / MAC_OF_A,
            "solicitation in a VLAN": TO_SOLICITED_NODE
            / Dot1Q(vlan=7)
            / asking()
            / ns()
            / MAC_OF_A,
            "solicitation in two VLANs": TO_SOLICITED_NODE
            / Dot1AD(vlan=100)
            / Dot1Q(vlan=7)
            / asking()
            / ns()
            / MAC_OF_A,
            "duplicate address detection of another's address": TO_SOLICITED_NODE
            / asking("::")
            / ns(),
            "duplicate address detection with a nonce": TO_SOLICITED_NODE
            / asking("::")
            / ns(B_LOCAL)
            / NONCE,
            "duplicate address detection in a VLAN": TO_SOLICITED_NODE
            / Dot1Q(vlan=7)
            / asking("::")
            / ns(),
        },
    ),
    *rows(
        Answered(A),
        {
            "duplicate address detection by an endpoint without IPv6": ether(NO_IPV6, ALL_MAC)
            / asking("::")
            / ns(A6)
        },
        sender=NO_IPV6,
    ),
    *rows(
        DropReason.UNKNOWN_DESTINATION,
        {
            "solicitation of an address of nobody": TO_SOLICITED_NODE
            / asking()
            / ns(NOBODY_IPV6)
            / MAC_OF_A,
            "solicitation of ::": TO_SOLICITED_NODE / asking() / ns("::") / MAC_OF_A,
            "solicitation of a group": TO_SOLICITED_NODE / asking() / ns("ff02::1") / MAC_OF_A,
            "duplicate address detection of a free address": TO_SOLICITED_NODE
            / asking("::")
            / ns(NOBODY_IPV6),
        },
    ),
    *rows(
        DropReason.SPOOFED_ND,
        {
            "solicitation with another's MAC": TO_SOLICITED_NODE
            / asking()
            / ns()
            / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY_MAC),
            "solicitation of a free address with another's MAC": TO_SOLICITED_NODE
            / asking()
            / ns(NOBODY_IPV6)
            / ICMPv6NDOptSrcLLAddr(lladdr=B.mac),
            "duplicate address detection with a MAC": TO_SOLICITED_NODE
            / asking("::")
            / ns()
            / MAC_OF_A,
        },
    ),
    *rows(
        DropReason.SPOOFED_IPV6,
        {
            "solicitation from another's address": TO_SOLICITED_NODE
            / asking(B_LOCAL)
            / ns()
            / MAC_OF_A,
            "advertisement from another's address": TO_B / asking(NOBODY_IPV6, B6) / NA,
        },
    ),
    *rows(
        DropReason.ND_UNANSWERED,
        {
            "duplicate address detection of its own address": TO_SOLICITED_NODE
            / asking("::")
            / ns(A6),
            "solicitation of its own address": TO_SOLICITED_NODE
            / asking()
            / ns(A_LOCAL)
            / MAC_OF_A,
            "solicitation that was routed": TO_SOLICITED_NODE / asking(hlim=254) / ns() / MAC_OF_A,
            "solicitation of hop limit 0": TO_SOLICITED_NODE / asking(hlim=0) / ns() / MAC_OF_A,
            "solicitation of code 1": TO_SOLICITED_NODE / asking() / ns(code=1) / MAC_OF_A,
            "routed solicitation with another's MAC": TO_SOLICITED_NODE
            / asking(hlim=64)
            / ns()
            / ICMPv6NDOptSrcLLAddr(lladdr=NOBODY_MAC),
            "advertisement": TO_B / asking(dst=B6) / NA,
            "advertisement to all nodes": TO_ALL_NODES / asking(dst="ff02::1") / NA,
            "advertisement in a VLAN": TO_B / Dot1Q(vlan=7) / asking(dst=B6) / NA,
            "router solicitation": ether(A, "33:33:00:00:00:02")
            / asking(A_LOCAL, "ff02::2")
            / ICMPv6ND_RS()
            / MAC_OF_A,
            "router solicitation from ::": ether(A, "33:33:00:00:00:02")
            / asking("::", "ff02::2")
            / ICMPv6ND_RS(),
            "router advertisement": TO_ALL_NODES
            / asking(A_LOCAL, "ff02::1")
            / ICMPv6ND_RA()
            / MAC_OF_A,
            "router advertisement to an endpoint": TO_B / asking(A_LOCAL, B_LOCAL) / ICMPv6ND_RA(),
            "redirect": TO_B / asking(A_LOCAL, B6) / ICMPv6ND_Redirect(tgt=A_LOCAL, dst=B6),
        },
    ),
)

ROWS = (*IPV6, *EXTENSIONS, *DISCOVERY)
