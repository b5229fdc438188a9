"""Members: what is to become an endpoint, described completely before anything is done.

Only reads: the namespaces' interfaces, their host ends, the addresses that are taken.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any, Final

from datapath import names
from datapath import network as networks
from datapath.endpoint import (
    Adoption,
    Endpoint,
    Member,
    link_local,
    made_addresses,
    made_mac,
    random_mac,
)
from datapath.errors import Conflict, EbpfnetError
from datapath.journal import is_here
from datapath.kernel.net import bridge, ethtool, links, netns, sysctl, tc
from datapath.kernel.net.links import Link
from datapath.modes.base import EbpfMode, NetworkSpec
from datapath.names import MAX_NAME, Target
from datapath.network import Network
from datapath.records import Otherwise

AnyInterface = IPv4Interface | IPv6Interface

_NOT_IN_IFNAMES: Final = re.compile(r"[^\w.-]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Found:
    """An interface that a namespace has already, with its host end."""

    link: Link
    host: Link
    addresses: tuple[AnyInterface, ...]


def addresses_in(network: Network) -> dict[IPv4Address | IPv6Address, str]:
    """Every address in the network's maps, with the label of the endpoint that has it."""
    endpoints = network.endpoints()
    labels = {endpoint.id: endpoint.netns for endpoint in endpoints}
    taken: dict[IPv4Address | IPv6Address, str] = {}
    for kind, name in ((IPv4Address, "endpoints_v4"), (IPv6Address, "endpoints_v6")):
        for key, value in network.records(name):
            taken[kind(bytes(key))] = labels.get(value.id, f"endpoint {value.id}")
    for endpoint in endpoints:
        for address in (endpoint.ipv4, endpoint.ipv6, endpoint.ipv6_link_local):
            if address:
                taken[address] = endpoint.netns
    return taken


def find_interface(target: Target, host_links: Sequence[Link], network: str) -> Found | None:
    """The veth of a namespace whose other end is here; None where it has no veth at all.

    Raises Conflict where it has several, one that leads elsewhere, or one that is in use.
    """
    if target.netns is None:
        return None
    path = target.netns.path
    inside = [link for link in netns.run_inside(path, links.all_links) if link.kind == "veth"]
    if not inside:
        return None
    nsid = links.nsid(path)
    by_index = {link.index: link for link in host_links if link.kind == "veth"}
    pairs = [
        (link, host)
        for link in inside
        if (host := by_index.get(link.peer_index))
        and host.peer_index == link.index
        and host.peer_nsid == nsid
        and nsid is not None
    ]
    if not pairs:
        link = inside[0]
        delete = names.inside(target.netns, "ip", "link", "delete", link.name)
        raise Conflict(
            f"the other end of {link.name} in {target.label} is not in the host's namespace: "
            "it is a direct pair",
            remedy=f"delete the pair ({delete}) and attach again: each namespace then gets an "
            "interface of its own",
        )
    if len(pairs) > 1:
        ends = ", ".join(host.name for _, host in pairs)
        raise Conflict(
            f"{target.label} has {len(pairs)} veths to the host ({ends})",
            remedy="leave one: `ip link delete` the others",
        )
    link, host = pairs[0]
    for other in networks.names():
        if other == network or not is_here(other):
            continue
        in_use = False
        # One that is just being made, or that we cannot read, has no say.
        with suppress(EbpfnetError), Network(other) as existing:
            in_use = any(endpoint.ifindex == host.index for endpoint in existing.endpoints())
        if in_use:
            raise Conflict(
                f"{target.label} is an endpoint of network {other} already",
                remedy=f"ebpfnet detach {target.label} --network {other}",
            )
    return Found(link, host, tuple(netns.run_inside(path, lambda: addresses_of(link))))


def addresses_of(link: Link) -> list[AnyInterface]:
    """Addresses of an interface here, with the link-local one that it will get by coming up."""
    found = links.addresses(link.index)
    settings = f"net/ipv6/conf/{link.name}"
    if (
        sysctl.read(f"{settings}/disable_ipv6") == "0"
        and sysctl.read(f"{settings}/addr_gen_mode") == "0"  # made of the MAC
        and not any(each.version == 6 and each.is_link_local for each in found)
    ):
        found.append(IPv6Interface((link_local(link.mac), 64)))
    return found


def describe(
    new: Sequence[Target],
    found: Mapping[str, Found | None],
    wanted: Mapping[str, IPv4Address],
    spec: NetworkSpec,
    mode: EbpfMode,
    present: Sequence[Endpoint],
    taken: dict[IPv4Address | IPv6Address, str],
) -> list[Member]:
    """Describe each new member completely. Raises Conflict for addresses that cannot be had."""
    ids = _free(itertools.count(1), {endpoint.id for endpoint in present})
    host_names = set(links.names().values())

    def claim(address: IPv4Address | IPv6Address, label: str) -> None:
        if owner := taken.get(address):
            raise Conflict(
                f"address {address} of {label} belongs to {owner} already",
                remedy="give another with --ip, or change it in the namespace",
            )
        taken[address] = label

    # Addresses that are given come first: what is left is free to be chosen from.
    given: dict[str, IPv4Address] = {}
    for target in new:
        interface = found[target.label]
        own = interface.addresses if interface else ()
        primary = next((a.ip for a in own if isinstance(a, IPv4Interface)), None)
        asked = wanted.get(target.label)
        if primary and asked and primary != asked:
            raise Conflict(
                f"{target.label} has the address {primary} already, not {asked}",
                remedy="leave --ip out to keep it, or change it in the namespace",
            )
        for address in own:
            if isinstance(address, IPv4Interface):
                names.check_host_address(address.ip, spec.subnet)
            claim(address.ip, target.label)
        if asked and not primary:
            names.check_host_address(asked, spec.subnet)
            claim(asked, target.label)
        if primary or asked:
            given[target.label] = primary or asked  # type: ignore[assignment]

    # The first address is the gateway's, by custom.
    free = _free(itertools.islice(spec.subnet.hosts(), 1, None), taken)
    members = []
    for target in new:
        interface = found[target.label]
        ipv4 = given.get(target.label)
        if ipv4 is None:
            ipv4 = next(free, None)
            if ipv4 is None:
                raise Conflict(
                    f"subnet {spec.subnet} has no free address left",
                    remedy="use a larger one: another network with --network and --subnet",
                )
            claim(ipv4, target.label)
        if interface:
            members.append(_adopted(next(ids), target, interface, ipv4, spec, mode))
        else:
            host_ifname = _host_ifname(target.label, host_names)
            host_names.add(host_ifname)
            member = _made(next(ids), target, ipv4, spec, host_ifname)
            for address in member.addresses:
                if address.version == 6:
                    claim(address.ip, target.label)
            members.append(member)
    return members


def _free(candidates: Iterator[Any], taken: Iterable[Any]) -> Iterator[Any]:
    return (candidate for candidate in candidates if candidate not in taken)


def _host_ifname(label: str, in_use: set[str]) -> str:
    """h-<namespace>, shortened to what an interface may be called, numbered where it is taken."""
    name = label.split("/")[2] if label.startswith("/proc/") else label.rpartition("/")[2]
    stem = "h-" + _NOT_IN_IFNAMES.sub("-", name)
    if stem[:MAX_NAME] not in in_use:
        return stem[:MAX_NAME]
    for number in itertools.count(1):
        suffix = f"-{number}"
        name = stem[: MAX_NAME - len(suffix)] + suffix
        if name not in in_use:
            return name
    raise AssertionError("numbers do not end")


def _made(
    member_id: int, target: Target, ipv4: IPv4Address, spec: NetworkSpec, host_ifname: str
) -> Member:
    """A member whose interface is to be made, and whose namespace may have to be."""
    path = target.netns.path if target.netns else netns.FOLDER / target.label
    mac = made_mac(ipv4)
    addresses = (
        *made_addresses(ipv4, spec.subnet),
        IPv6Interface((link_local(mac), 64)),
    )
    if target.netns:
        inside = {link.name for link in netns.run_inside(path, links.all_links)}
        has_ipv6 = netns.run_inside(path, links.ipv6_enabled)
    else:
        inside, has_ipv6 = set(), links.ipv6_enabled()
    return Member(
        id=member_id,
        label=target.label,
        path=path,
        to_be_made=target.netns is None,
        ifname=next(name for number in itertools.count() if (name := f"eth{number}") not in inside),
        mac=mac,
        host_ifname=host_ifname,
        host_mac=random_mac(),
        addresses=tuple(a for a in addresses if has_ipv6 or a.version == 4),
        adoption=None,
    )


def _adopted(
    member_id: int,
    target: Target,
    found: Found,
    ipv4: IPv4Address,
    spec: NetworkSpec,
    mode: EbpfMode,
) -> Member:
    """A member that keeps the interface it has."""
    if target.netns is None:
        raise ValueError(f"{target.label} does not exist")
    path = target.netns.path
    # What is left to the kernel goes by the bridge, so a host end remains its port then.
    leaves_bridge = spec.otherwise is Otherwise.DROP
    port = bridge.read_port(found.host.name) if leaves_bridge else None
    has_ipv4 = any(address.version == 4 for address in found.addresses)
    added = IPv4Interface((ipv4, spec.subnet.prefixlen))
    return Member(
        id=member_id,
        label=target.label,
        path=path,
        to_be_made=False,
        ifname=found.link.name,
        mac=found.link.mac,
        host_ifname=found.host.name,
        host_mac=found.host.mac,
        addresses=found.addresses if has_ipv4 else (added, *found.addresses),
        adoption=Adoption(
            bridge_port=asdict(port) if port else None,
            was_up=found.link.up,
            host_was_up=found.host.up,
            host_ifindex=found.host.index,
            added_address="" if has_ipv4 else str(added),
            had_clsact=tc.has_clsact(found.host.name),
            features=netns.run_inside(
                path, lambda: ethtool.requested(found.link.name, mode.offloads)
            ),
        ),
    )
