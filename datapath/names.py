"""Names and addresses that come from outside: checked once, here, before anything is done.

Everything raises InvalidInput (or NotFound for a process that is not there), with the remedy.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from datapath.errors import Conflict, InvalidInput, NotFound
from datapath.kernel.net import netns
from datapath.kernel.net.netns import Netns
from datapath.records import IFNAME_LENGTH, NETNS_LENGTH

DEFAULT_NETWORK: Final = "default"
DEFAULT_SUBNET: Final = IPv4Network("10.1.1.0/24")
HOST: Final = "host"  # how people call the namespace that they are in themselves
MAX_NAME: Final = IFNAME_LENGTH - 1
_MAX_FILE_NAME: Final = 255  # bytes

# bpffs keeps dots for itself; the rest is what file and interface names have in common.
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NETNS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def network_name(text: str) -> str:
    """A network's name: 1 to 15 letters, digits, '_' or '-'."""
    if len(text) > MAX_NAME:
        raise InvalidInput(
            f"network name {text!r} has {len(text)} characters",
            remedy=f"use at most {MAX_NAME}",
        )
    if not _NETWORK.fullmatch(text):
        raise InvalidInput(
            f"{text!r} cannot name a network",
            remedy="use letters, digits, '_' and '-', beginning with a letter or digit",
        )
    return text


@dataclass(frozen=True, slots=True)
class Target:
    """A namespace that the user means: its label, and itself, None where it is to be made."""

    label: str
    netns: Netns | None


def target(text: str) -> Target:
    """What `text` means: a name, a path to a namespace, or a PID; a new name is to be made.

    The label is the name in /run/netns where the namespace has one, whatever it was called by.
    The host's own namespace is refused under any name.
    """
    found = _existing(text)
    if found is None:
        return Target(_new_namespace(text), None)
    if found.inode == netns.host_inode():
        raise InvalidInput(
            f"{text} is the host's own namespace, which is never an endpoint",
            remedy="name another namespace, or one that does not exist to have it made",
        )
    label = found.name
    if found.path.parent != netns.FOLDER:
        names = (known.name for known in netns.named() if known.inode == found.inode)
        label = next(names, label)
    if len(label.encode()) >= NETNS_LENGTH:
        raise InvalidInput(
            f"{label} is longer than {NETNS_LENGTH - 1} bytes",
            remedy="name the namespace: ip netns attach NAME PID",
        )
    return Target(label, found)


def node(text: str) -> Netns:
    """A namespace to look into, under its name where it has one: as `target`, or HOST.

    A namespace that is called so comes before the host's own. Raises NotFound too.
    """
    found = _existing(text)
    if found is None and text != HOST:
        raise NotFound(f"there is no namespace {text}", remedy="see `ip netns`")
    if found is None or found.inode == netns.host_inode():
        return Netns(HOST, Path("/proc/self/ns/net"), netns.host_inode())
    label = next((known.name for known in netns.named() if known.inode == found.inode), found.name)
    return Netns(label, found.path, found.inode)


def inside(node: Netns, *words: object) -> str:
    """A command as it is typed on the host, for it to act in a node."""
    command = shlex.join(str(word) for word in words)
    if node.inode == netns.host_inode():
        return command
    if node.path.parent == netns.FOLDER:
        if words[0] in ("ip", "tc", "bridge"):
            return shlex.join([str(words[0]), "-n", node.name, *map(str, words[1:])])
        return f"ip netns exec {shlex.quote(node.name)} {command}"
    return f"nsenter --net={shlex.quote(str(node.path))} {command}"


def _existing(text: str) -> Netns | None:
    """What a name, path or PID opens; None for a name that nobody has taken."""
    if not text or not text.isprintable():
        raise _no_namespace_name(text)
    if "/" in text:
        found = netns.at(text, Path(text))
        if found is None:
            raise InvalidInput(
                f"{text} does not open a network namespace",
                remedy="give a name without '/', or a path such as /proc/PID/ns/net",
            )
    elif _is_file_name(text) and (path := netns.FOLDER / text).exists():
        found = netns.at(text, path)
        if found is None:
            raise InvalidInput(
                f"{path} is a file, not a namespace", remedy=f"ip netns delete {text}"
            )
    elif text.isascii() and text.isdigit():
        path = Path("/proc") / text / "ns/net"
        found = netns.at(str(path), path)
        if found is None:
            raise NotFound(
                f"there is no process {text}, and no namespace of that name",
                remedy="give another PID (see `ps`), or a name with a letter in it",
            )
    else:
        return None
    return found


def _is_file_name(text: str) -> bool:
    return text not in (".", "..") and len(text.encode()) <= _MAX_FILE_NAME


def _no_namespace_name(text: str) -> InvalidInput:
    return InvalidInput(
        f"{text!r} cannot name a namespace",
        remedy="use letters, digits, '.', '_' and '-', beginning with a letter or digit",
    )


def _new_namespace(text: str) -> str:
    if len(text) > MAX_NAME:
        raise InvalidInput(
            f"namespace name {text!r} has {len(text)} characters",
            remedy=f"use at most {MAX_NAME}",
        )
    if not _NETNS.fullmatch(text):
        raise _no_namespace_name(text)
    return text


def subnet(text: str) -> IPv4Network:
    """An IPv4 network with room for two endpoints: "10.1.1.0/24"."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is not an IPv4 network: {error}", remedy="write it as 10.1.1.0/24"
        ) from error
    if network.num_addresses < 4 or network.is_multicast or network.is_loopback:
        raise InvalidInput(f"{network} cannot hold endpoints", remedy="use a /30 or larger")
    return network


def addresses(options: Iterable[str]) -> dict[str, IPv4Address]:
    """NETNS=ADDR options as a mapping, with one address for each."""
    found: dict[str, IPv4Address] = {}
    for label, address in map(address_of, options):
        if found.setdefault(label, address) != address:
            raise InvalidInput(
                f"{label} is given two addresses, {found[label]} and {address}",
                remedy="give one, and add the other in the namespace",
            )
    return found


def address_of(text: str) -> tuple[str, IPv4Address]:
    """A NETNS=ADDR option as its two halves."""
    label, equals, address = text.rpartition("=")
    if not equals or not label:
        raise InvalidInput(f"{text!r} is not NETNS=ADDR", remedy="write ns0=10.1.1.5")
    try:
        return label, IPv4Interface(address).ip
    except ValueError as error:
        raise InvalidInput(
            f"{address!r} is not an IPv4 address", remedy=f"write {label}=10.1.1.5"
        ) from error


def ip(text: str) -> IPv4Address | IPv6Address:
    """An address by itself: "10.1.1.3" or "fd00::3"."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not an address", remedy="write it as 10.1.1.3") from error


def check_host_address(address: IPv4Address, network: IPv4Network) -> None:
    """Refuse an address that an endpoint of `network` cannot have. Raises Conflict."""
    if address not in network:
        raise Conflict(
            f"address {address} is outside the subnet {network}",
            remedy="choose one inside, or another network with --network and --subnet",
        )
    if address in (network.network_address, network.broadcast_address):
        raise Conflict(
            f"{address} is the address of subnet {network} itself, or its broadcast address",
            remedy="choose another inside",
        )
