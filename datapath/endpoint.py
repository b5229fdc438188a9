"""Endpoints: as they are to be (Member) and as the maps hold them (Endpoint)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from pathlib import Path
from typing import Any, Final

from datapath.records import EndpointRecord, StatsRecord

# fd00::/64 holds the IPv6 twin of each IPv4 address: fd00::10.1.1.2.
IPV6_PREFIX: Final = int(IPv6Address("fd00::"))
IPV6_PREFIX_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class Adoption:
    """An interface that was there before: what has to be changed, and what it was."""

    bridge_port: dict[str, Any] | None  # kernel.net.bridge.BridgePort as a mapping
    was_up: bool
    host_was_up: bool
    host_ifindex: int
    added_address: str  # "" = it has one
    had_clsact: bool
    features: dict[str, bool]  # offloads of the interface inside, by ethtool's names


@dataclass(frozen=True, slots=True)
class Member:
    """A namespace that is to be an endpoint, completely described before anything is done."""

    id: int
    label: str
    path: Path
    to_be_made: bool  # the namespace itself
    ifname: str
    mac: str
    host_ifname: str
    host_mac: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    adoption: Adoption | None  # None: the interface is to be made

    @property
    def ipv4(self) -> IPv4Address:
        """The primary IPv4 address."""
        return next(a.ip for a in self.addresses if isinstance(a, IPv4Interface))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as its network's maps hold it; ifindex is the host end's."""

    id: int
    netns: str
    ifname: str
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    ipv6_link_local: IPv6Address | None
    mac: str
    host_ifname: str
    ifindex: int
    netns_inode: int

    @classmethod
    def from_record(cls, ifindex: int, record: EndpointRecord) -> Endpoint:
        """From an entry of map `endpoints`."""
        ipv4 = IPv4Address(bytes(record.ipv4))
        ipv6 = IPv6Address(bytes(record.ipv6))
        link_local = IPv6Address(bytes(record.ipv6_link_local))
        return cls(
            id=record.id,
            netns=record.netns.decode(errors="replace"),
            ifname=record.ifname.decode(errors="replace"),
            ipv4=ipv4 if int(ipv4) else None,
            ipv6=ipv6 if int(ipv6) else None,
            ipv6_link_local=link_local if int(link_local) else None,
            mac=record.mac.people(),
            host_ifname=record.host_ifname.decode(errors="replace"),
            ifindex=ifindex,
            netns_inode=record.netns_inode,
        )

    @property
    def path(self) -> Path:
        """A path that opens the namespace, as long as its name stands."""
        return Path(self.netns) if "/" in self.netns else Path("/run/netns") / self.netns


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """What an endpoint sent and was sent; see struct endpoint_stats."""

    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    drops: int
    answers: int
    left: int

    @classmethod
    def from_record(cls, record: StatsRecord) -> EndpointStats:
        """From an entry of map `endpoint_stats`, all CPUs added up."""
        return cls(**record.people())


def made_addresses(
    ipv4: IPv4Address, subnet: IPv4Network
) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """The addresses that an interface of our making gets for its IPv4 address."""
    return (
        IPv4Interface((ipv4, subnet.prefixlen)),
        IPv6Interface((IPV6_PREFIX | int(ipv4), IPV6_PREFIX_LENGTH)),
    )


def random_mac() -> str:
    """A locally administered MAC for a host end: nobody talks to it, it only has to be its own."""
    return (bytes((0x0A, 0xEB)) + secrets.token_bytes(4)).hex(":")


def made_mac(ipv4: IPv4Address) -> str:
    """A locally administered MAC that carries the address: 02:eb:0a:01:01:02 for 10.1.1.2."""
    return (bytes((0x02, 0xEB)) + ipv4.packed).hex(":")


def link_local(mac: str) -> IPv6Address:
    """The link-local address that the kernel makes of a MAC (modified EUI-64, RFC 4291)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((raw[0] ^ 0x02, *raw[1:3], 0xFF, 0xFE, *raw[3:]))
    return IPv6Address(bytes.fromhex("fe80") + bytes(6) + interface)
