"""Every entry of a network's maps against the kernel, and against one another."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any, Final

from datapath import journal as journals
from datapath import sockets
from datapath.endpoint import IPV6_PREFIX_LENGTH, Endpoint
from datapath.errors import KernelError
from datapath.kernel.bpf import libbpf
from datapath.kernel.bpf import links as bpf_links
from datapath.kernel.net import links, netns
from datapath.kernel.net.links import Link
from datapath.modes import by_id
from datapath.names import DEFAULT_NETWORK
from datapath.network import Network
from datapath.records import Cookie
from datapath.status import program_at

Address = IPv4Address | IPv6Address

# Takes out what has lost its interface.
_COLLECT: Final = "ebpfnet gc"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with an entry, and what mends it.

    `map` is the map's name, or "links" or "sockets" for what is attached there; `key` is as people
    write it.
    """

    map: str
    key: str
    problem: str
    remedy: str


def check(network: Network) -> list[Finding]:
    """Compare a network's maps and attachments with interfaces, addresses and namespaces.

    Only reads. Raises LayoutMismatch where the maps are not ours to read, KernelError.
    """
    with journals.at_home(network.name):
        state = _State(network)
        return [
            finding
            for part in (_attachments, _sockets, _endpoints, _namespaces, _addresses, _devices)
            for finding in part(state)
        ]


class _State:
    """What is compared: the maps first, then the kernel, so that whoever attaches meanwhile is not
    found to be wrong.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.endpoints = network.endpoints()
        self.by_id = {endpoint.id: endpoint for endpoint in self.endpoints}
        self.addresses: dict[Address, Any] = {
            **{IPv4Address(bytes(key)): value for key, value in network.records("endpoints_v4")},
            **{IPv6Address(bytes(key)): value for key, value in network.records("endpoints_v6")},
        }
        self.devices: dict[int, int] | None = None
        if "devices" in network.map_names():
            self.devices = {key.value: value.ifindex for key, value in network.records("devices")}
        self.joined: dict[int, int] | None = None  # endpoint ids by cookie of the namespace
        if "namespaces" in network.map_names():
            self.joined = {key.value: value.id for key, value in network.records("namespaces")}
        self.host = {link.index: link for link in links.all_links()}
        # What commands about this network have to be given.
        self.option = "" if network.name == DEFAULT_NETWORK else f" --network {network.name}"

    def detach(self, endpoint: Endpoint) -> str:
        """The remedy for an endpoint that is no more."""
        if endpoint.ifindex not in self.host:
            return _COLLECT
        return f"ebpfnet detach {shlex.quote(endpoint.netns)}{self.option}"

    def anew(self, endpoint: Endpoint) -> str:
        """The remedy for an endpoint that has changed: what it is now goes into the maps."""
        if endpoint.ifindex not in self.host:
            return _COLLECT
        attach = f"ebpfnet attach {shlex.quote(endpoint.netns)}{self.option}"
        return f"{self.detach(endpoint)} && {attach}"

    def delete(self, name: str, key: bytes) -> str:
        """The remedy for an entry that belongs to nobody."""
        pin = self.network.path / "maps" / name
        return f"bpftool map delete pinned {pin} key {' '.join(map(str, key))}"


def _inside(endpoint: Endpoint, *words: str) -> str:
    """A command of iproute2 in the endpoint's namespace."""
    if "/" in endpoint.netns:
        return shlex.join(["nsenter", f"--net={endpoint.netns}", "ip", *words])
    return shlex.join(["ip", "-n", endpoint.netns, *words])


def _map_of(address: Address) -> str:
    return f"endpoints_v{address.version}"


def _endpoints(state: _State) -> Iterator[Finding]:
    """Map endpoints against the host's interfaces."""
    times = Counter(endpoint.id for endpoint in state.endpoints)
    for endpoint in state.endpoints:
        key, label, name = str(endpoint.ifindex), endpoint.netns, endpoint.host_ifname
        link = state.host.get(endpoint.ifindex)
        if link is None:
            problem = f"interface {name} of {label} is gone"
            yield Finding("endpoints", key, problem, _COLLECT)
        elif link.name != name:
            problem = f"the host interface of {label} is called {link.name}, not {name}"
            # Before Linux 6.2 an interface has to be down to be renamed.
            remedy = f"ip link set {link.name} down && ip link set {link.name} name {name} up"
            yield Finding("endpoints", key, problem, remedy)
        if not 1 <= endpoint.id <= state.network.max_endpoints:
            problem = f"{label} has id {endpoint.id}, beyond the network's room"
            yield Finding("endpoints", key, problem, state.anew(endpoint))
        elif times[endpoint.id] > 1:
            problem = f"{label} shares id {endpoint.id} with another endpoint"
            yield Finding("endpoints", key, problem, state.anew(endpoint))


def _namespaces(state: _State) -> Iterator[Finding]:
    """Map endpoints against the namespaces and the interfaces in them."""
    for endpoint in state.endpoints:
        key, label = str(endpoint.ifindex), endpoint.netns
        namespace = netns.at(label, endpoint.path)
        host = state.host.get(endpoint.ifindex)
        if namespace is None:
            problem = f"namespace {label} is gone"
            yield Finding("endpoints", key, problem, state.detach(endpoint))
        elif namespace.inode != endpoint.netns_inode:
            problem = f"{label} is another namespace than the one that was attached"
            yield Finding("endpoints", key, problem, state.detach(endpoint))
        elif host:
            link, addresses = _look_inside(endpoint, host)
            if link is None:
                problem = f"interface {endpoint.ifname} is not in {label} any more"
                yield Finding("endpoints", key, problem, state.detach(endpoint))
            else:
                yield from _interface(state, endpoint, link)
                yield from _own_addresses(state, endpoint, link, addresses)


def _look_inside(
    endpoint: Endpoint, host: Link
) -> tuple[Link | None, list[IPv4Interface | IPv6Interface]]:
    """The other end of the endpoint's veth, None where it is elsewhere, and its addresses."""

    def look() -> tuple[Link | None, list[IPv4Interface | IPv6Interface]]:
        for link in links.all_links():
            if link.index == host.peer_index and link.peer_index == host.index:
                return link, links.addresses(link.index)
        return None, []

    return netns.run_inside(endpoint.path, look)


def _interface(state: _State, endpoint: Endpoint, link: Link) -> Iterator[Finding]:
    """An endpoint's interface name and MAC against those of the interface."""
    key, label = str(endpoint.ifindex), endpoint.netns
    if link.name != endpoint.ifname:
        problem = f"the interface in {label} is called {link.name}, not {endpoint.ifname}"
        yield Finding("endpoints", key, problem, state.anew(endpoint))
    if link.mac != endpoint.mac:
        problem = f"{link.name} in {label} has MAC {link.mac}, the map has {endpoint.mac}"
        remedy = _inside(endpoint, "link", "set", link.name, "address", endpoint.mac)
        yield Finding("endpoints", key, problem, remedy)


def _own_addresses(
    state: _State,
    endpoint: Endpoint,
    link: Link,
    addresses: list[IPv4Interface | IPv6Interface],
) -> Iterator[Finding]:
    """The addresses of an endpoint's interface against the entries that lead to it, both ways."""
    label = endpoint.netns
    entries = {ip for ip, entry in state.addresses.items() if entry.id == endpoint.id}
    primary = {ip for ip in (endpoint.ipv4, endpoint.ipv6, endpoint.ipv6_link_local) if ip}
    has = {address.ip for address in addresses}
    for ip in sorted((primary | has) - entries, key=str):
        entry = state.addresses.get(ip)
        whose = f"the map gives it to id {entry.id}" if entry else "the map has no entry"
        problem = f"it is an address of {label}, {whose}"
        yield Finding(_map_of(ip), str(ip), problem, state.anew(endpoint))
    for ip in sorted(entries - has, key=str):
        problem = f"it leads to {label}, where {link.name} does not have this address"
        length = state.network.subnet.prefixlen if ip.version == 4 else IPV6_PREFIX_LENGTH
        remedy = _inside(endpoint, "addr", "add", f"{ip}/{length}", "dev", link.name)
        yield Finding(_map_of(ip), str(ip), problem, remedy)


def _addresses(state: _State) -> Iterator[Finding]:
    """Maps endpoints_v4 and endpoints_v6 against map endpoints."""
    for ip, entry in state.addresses.items():
        name, key = _map_of(ip), str(ip)
        owner = state.by_id.get(entry.id)
        if owner is None:
            problem = f"it leads to id {entry.id}, which no endpoint has"
            yield Finding(name, key, problem, state.delete(name, ip.packed))
            continue
        if entry.ifindex != owner.ifindex:
            problem = f"it leads to ifindex {entry.ifindex}, {owner.netns} is at {owner.ifindex}"
            yield Finding(name, key, problem, state.anew(owner))
        elif entry.ifindex not in state.host:
            problem = f"it leads to ifindex {entry.ifindex}, which is gone"
            yield Finding(name, key, problem, _COLLECT)
        if (mac := entry.mac.people()) != owner.mac:
            problem = f"it has MAC {mac}, the endpoint {owner.netns} has {owner.mac}"
            yield Finding(name, key, problem, state.anew(owner))


def _devices(state: _State) -> Iterator[Finding]:
    """Map devices (mode xdp) against map endpoints, both ways."""
    if state.devices is None:
        return
    for endpoint in state.endpoints:
        ifindex = state.devices.get(endpoint.id)
        if ifindex != endpoint.ifindex:
            there = f"ifindex {ifindex}" if ifindex else "no entry"
            problem = f"there is {there}, endpoint {endpoint.netns} is at {endpoint.ifindex}"
            yield Finding("devices", str(endpoint.id), problem, state.anew(endpoint))
    for number in sorted(state.devices.keys() - state.by_id.keys()):
        remedy = state.delete("devices", number.to_bytes(4, sys.byteorder))
        yield Finding("devices", str(number), "no endpoint has this id", remedy)


def _attachments(state: _State) -> Iterator[Finding]:
    """What runs at each host end: the network's own program, by a pin that is attached there."""
    pinned = _pinned_program(state.network, by_id(state.network.mode).program.function)
    for endpoint in state.endpoints:
        key, where = str(endpoint.id), f"{endpoint.host_ifname} of {endpoint.netns}"
        program = program_at(state.network, endpoint)
        if not program:
            problem = f"the network's program is not attached at {where}"
            yield Finding("links", key, problem, state.anew(endpoint))
        elif program != pinned:
            problem = f"program {program} is attached at {where}, which is not the network's"
            yield Finding("links", key, problem, f"ebpfnet reload{state.option}")
    known = {str(number) for number in state.by_id}
    for pin in sorted((state.network.path / "links").glob("*")):
        if pin.name not in known:
            yield Finding("links", pin.name, "no endpoint has this id", f"rm {pin}")


def _sockets(state: _State) -> Iterator[Finding]:
    """Map namespaces against the namespaces, and what runs at sockets (mode sockmap)."""
    if state.joined is None:
        return
    reload = f"ebpfnet reload{state.option}"
    for each in sockets.PROGRAMS:
        try:
            running = sockets.running(state.network, each)
        except KernelError:
            running = 0
        if not running or running != _pinned_program(state.network, each.function):
            yield Finding("sockets", each.function, "the program is not attached", reload)
    for endpoint in state.endpoints:
        namespace = netns.at(endpoint.netns, endpoint.path)
        if namespace is None or namespace.inode != endpoint.netns_inode:
            continue  # _namespaces says so
        cookie = netns.cookie(endpoint.path)
        if state.joined.get(cookie) != endpoint.id:
            problem = f"the sockets of {endpoint.netns} are not joined"
            yield Finding("namespaces", f"{cookie:x}", problem, state.anew(endpoint))
    for cookie, number in state.joined.items():
        if number not in state.by_id:
            remedy = state.delete("namespaces", bytes(Cookie(cookie)))
            yield Finding("namespaces", f"{cookie:x}", f"no endpoint has id {number}", remedy)


def _pinned_program(network: Network, function: str) -> int | None:
    """Kernel id of a program that the network has pinned, None where it is not there."""
    try:
        fd = libbpf.object_get(network.path / "progs" / function)
    except KernelError:
        return None
    try:
        return bpf_links.program_info(fd).id
    finally:
        os.close(fd)
