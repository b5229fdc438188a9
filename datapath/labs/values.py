"""What a single value of a lab's YAML may be: names, addresses, durations, commands.

Everything takes the Item that it is written in, and refuses by it.
"""

from __future__ import annotations

import re
import shlex
from ipaddress import ip_address, ip_interface
from typing import Final

from datapath.labs.document import Item
from datapath.labs.model import Address, End, Interfaced, Vlan

MAX_NAME: Final = 15  # characters, of a node and an interface (IFNAMSIZ - 1)

_IFNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_NOT_IFNAMES = {"lo", "all", "default"}  # the kernel's own, here and under /proc/sys/net
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SYSCTL = re.compile(r"net(\.[A-Za-z0-9_/-]+)+")
_RATE = re.compile(r"(\d{1,6})([kmg])bit")
_RATE_UNITS: Final = {"k": 10**3, "m": 10**6, "g": 10**9}
_MAX_RATE: Final = 10**12  # beyond, a bucket does not fit into tbf's 32 bits


def ends(item: Item) -> tuple[End, End]:
    """Both ends of a link: "NODE:INTERFACE -- NODE:INTERFACE"."""
    halves = item.text().split(" -- ")
    if len(halves) != 2:
        item.refuse(
            f"{item.text()!r} does not name two ends",
            remedy="write NODE:INTERFACE -- NODE:INTERFACE",
        )
    near, far = (_end(half.strip(), item) for half in halves)
    if near == far:
        item.refuse("both ends are the same interface")
    return near, far


def _end(text: str, item: Item) -> End:
    node, colon, ifname = text.partition(":")
    if not (colon and node and ifname):
        item.refuse(f"{text!r} is not NODE:INTERFACE", remedy="write it as ns0:veth0")
    check_ifname(ifname, item)
    return End(node, ifname)


def check_ifname(ifname: str, item: Item) -> None:
    """Refuse what the kernel, or NODE:INTERFACE, cannot have as the name of an interface."""
    if not _IFNAME.fullmatch(ifname) or len(ifname) > MAX_NAME or ifname in _NOT_IFNAMES:
        item.refuse(
            f"{ifname!r} cannot name an interface",
            remedy=f"use at most {MAX_NAME} letters, digits, '.', '_' and '-'",
        )


def rate(item: Item) -> int:
    """As "10mbit", in bits per second."""

    def parse(text: str) -> int:
        matched = _RATE.fullmatch(text)
        if not matched or not int(matched[1]):
            raise ValueError("a number and kbit, mbit or gbit")
        bits = int(matched[1]) * _RATE_UNITS[matched[2]]
        if bits > _MAX_RATE:
            raise ValueError("at most 1000gbit")
        return bits

    return item.parsed(parse, "a rate", "10mbit")


def milliseconds(item: Item) -> float:
    """As "10ms", "500us" or "1s", in milliseconds."""

    def parse(text: str) -> float:
        for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3)):
            if text.endswith(unit):
                return _positive(text.removesuffix(unit), 60_000 / factor) * factor
        raise ValueError("a number and us, ms or s")

    return item.parsed(parse, "a duration", "10ms")


def per_cent(item: Item) -> float:
    """As "0.5%", in per cent."""

    def parse(text: str) -> float:
        if not text.endswith("%"):
            raise ValueError("a number and %")
        return _positive(text.removesuffix("%"), 100)

    return item.parsed(parse, "a share", "1%")


def _positive(text: str, most: float) -> float:
    if not re.fullmatch(r"\d{1,8}(\.\d{1,6})?", text):
        raise ValueError("a number in decimal")
    if not 0 < float(text) <= most:
        raise ValueError(f"more than 0 and at most {most:g}")
    return float(text)


def mtu(item: Item) -> int:
    """An MTU in bytes; IPv4 needs 68 (RFC 791)."""
    return item.integer(68, 65535)


def parent(item: Item) -> End:
    """NODE:INTERFACE, or an interface of the same node, whose End then has no node yet."""
    text = item.text()
    if ":" in text:
        return _end(text, item)
    check_ifname(text, item)
    return End("", text)


def address(item: Item) -> Interfaced:
    """As "10.1.1.2/24", one that an interface can have."""
    text = item.text()
    if "/" not in text:
        item.refuse(f"{text!r} has no prefix length", remedy=f"write it as {text}/24")
    address = item.parsed(ip_interface, "an address", "10.1.1.2/24")
    is_lo = address.version == 6 and address.is_loopback  # all of 127/8 but lo's own may be others'
    if address.is_multicast or address.is_unspecified or is_lo:
        item.refuse(f"{address.ip} cannot be an interface's own address")
    return address


def mac(text: str, item: Item) -> str:
    """As "02:00:00:00:00:01", whosever it is."""
    if not _MAC.fullmatch(text):
        item.refuse(f"{text!r} is not a MAC", remedy="write it as 02:00:00:00:00:01")
    return text


def own_mac(item: Item) -> str:
    """A MAC that an interface can have."""
    own = mac(item.text().lower(), item)
    if int(own[:2], 16) & 1 or own == "00:00:00:00:00:00":
        item.refuse(f"{own} cannot be an interface's own", remedy="write it as 02:00:00:00:00:01")
    return own


def vlan(item: Item) -> Vlan:
    """As "10 pvid untagged"."""
    number, *flags = item.text().split()
    for flag in flags:
        if flag not in ("pvid", "untagged"):
            item.refuse(f"{flag!r} is not known", remedy="write VID [pvid] [untagged]")
    if not (number.isascii() and number.isdigit() and len(number) < 5 and 1 <= int(number) <= 4094):
        item.refuse(f"{number!r} is not a VLAN", remedy="write one of 1 to 4094")
    return Vlan(int(number), "pvid" in flags, "untagged" in flags)


def plain_address(text: str, item: Item) -> Address:
    """As "10.1.1.1", without a prefix length."""
    try:
        return ip_address(text)
    except ValueError:
        item.refuse(f"{text!r} is not an address", remedy="write it as 10.1.1.1")


def sysctls(item: Item) -> dict[str, str]:
    """{"net.ipv4.ip_forward": "1"}: those of a network namespace alone."""
    found = {}
    for name, value in item.entries().items():
        # As sysctl(8) has it, "/" stands for a dot inside of a name: net.ipv4.conf.eth0/10.mtu.
        if not _SYSCTL.fullmatch(name) or "//" in name or "./" in name or "/." in name:
            value.refuse(
                f"{name!r} is no sysctl of a network namespace",
                remedy="write net.ipv4.ip_forward: 1",
            )
        found[name] = value.text()
        if "\n" in found[name]:
            value.refuse("a sysctl has a single line", remedy="write net.ipv4.ip_forward: 1")
    return found


def arguments(item: Item) -> tuple[str, ...]:
    """A command as its words; in one text, they are split as a shell does."""
    if item.kind == "a list":
        words = [each.text() for each in item.items()]
    else:
        words = item.parsed(shlex.split, "a command", "ping 10.1.1.1")
    if not words or not words[0]:
        item.refuse("there is no command")
    return tuple(words)


def rule(item: Item) -> tuple[str, ...]:
    """What follows `iptables`."""
    words = arguments(item)
    if not words[0].startswith("-"):
        item.refuse(f"{words[0]!r} begins no rule", remedy="write -t nat -A POSTROUTING ...")
    return words
