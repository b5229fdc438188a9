"""What has changed at an endpoint since it was attached: its entries and hook brought up to date.

An interface may get another address, MAC or name, and a program may be detached by hand; attaching
the namespace again mends that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from datapath import members
from datapath.endpoint import Endpoint
from datapath.errors import Conflict
from datapath.journal import Step
from datapath.kernel.net import links, netns, tc
from datapath.kernel.net.links import Link
from datapath.modes.base import EbpfMode
from datapath.network import Network
from datapath.records import HookId
from datapath.status import program_at
from datapath.steps.programs import AddEndpoint, AttachProgram, Entries, UpdateEntries


def steps(
    network: Network,
    mode: EbpfMode,
    endpoints: Sequence[tuple[Endpoint, Path]],
    host_links: Sequence[Link],
    taken: Mapping[IPv4Address | IPv6Address, str],
) -> Iterator[tuple[int, Step]]:
    """What brings these endpoints, given with paths to their namespaces, up to date.

    Raises Conflict for an address that another endpoint has.
    """
    hosts = {link.index: link for link in host_links}
    present = _entries(network)
    for endpoint, path in endpoints:
        host = hosts.get(endpoint.ifindex)
        if host is None:
            continue
        inside = netns.run_inside(path, lambda host=host: _interface(host))  # type: ignore[misc]
        if inside is None:  # moved elsewhere: not ours to follow
            continue
        link, addresses = inside
        for address in addresses:
            owner = taken.get(address.ip, endpoint.netns)
            if owner != endpoint.netns:
                raise Conflict(
                    f"address {address.ip} of {endpoint.netns} belongs to {owner} already",
                    remedy="change it in one of the two namespaces",
                )
        wanted = AddEndpoint(
            network.name,
            endpoint.id,
            endpoint.netns,
            str(path),
            link.name,
            link.mac,
            host.name,
            [str(address) for address in addresses],
        ).entries(endpoint.ifindex, endpoint.netns_inode)
        before = present.get(endpoint.id, {})
        if wanted != before:
            yield endpoint.id, UpdateEntries(network.name, endpoint.id, before, wanted)
        if not program_at(network, endpoint):
            yield (
                endpoint.id,
                AttachProgram(
                    network.name,
                    endpoint.id,
                    host.name,
                    mode.program.function,
                    network.hook.name.lower(),
                    had_clsact=network.hook is HookId.CLSACT and tc.has_clsact(host.name),
                ),
            )


def _interface(host: Link) -> tuple[Link, list[members.AnyInterface]] | None:
    """The other end of a host end, looked for in this namespace, with its addresses."""
    for link in links.all_links():
        paired = link.peer_index == host.index and link.index == host.peer_index
        if paired and link.kind in ("veth", "netkit"):
            return link, members.addresses_of(link)
    return None


def _entries(network: Network) -> dict[int, Entries]:
    """Every entry of the network's maps by the id of the endpoint that it belongs to."""
    found: dict[int, Entries] = {}
    for name in ("endpoints", "endpoints_v4", "endpoints_v6", "devices"):
        if name not in network.map_names():
            continue
        for key, value in network.records(name):
            owner = key.value if name == "devices" else value.id
            found.setdefault(owner, {}).setdefault(name, {})[bytes(key).hex()] = bytes(value).hex()
    return found
