"""Many destinations in a lab of two: entries in what its mode looks them up in, all leading to the
receiver. They go with the lab, whatever happens; and before, with the block that wanted them.

    eBPF modes       the network's maps, an endpoint for each
    a bridge         its FDB, a MAC for each
    a routing host   its routes, one for each
    a plain pair     nothing: whoever a frame is for, it arrives
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Final

from datapath.compare.declared import LabMode
from datapath.compare.lab import Lab
from datapath.compare.workloads.injection import Destinations
from datapath.endpoint import made_mac
from datapath.errors import Unsupported
from datapath.kernel.net import links, tools
from datapath.modes.base import DEFAULT_MAX_ENDPOINTS, EbpfMode
from datapath.network import Network
from datapath.records import DestinationRecord, EndpointRecord, Ipv4, Mac

MOST: Final = DEFAULT_MAX_ENDPOINTS - 2  # beside sender and receiver

# The second half of what is set aside for measuring (RFC 2544); the lab itself is in the first.
_FIRST: Final = IPv4Address("198.19.0.1")
_FIRST_IFINDEX: Final = 1 << 30  # of host ends that do not exist


@contextmanager
def populated(lab: Lab, count: int) -> Iterator[Destinations]:
    """So many destinations beside the receiver, or the receiver alone where it is 1.

    Raises KernelError, EbpfnetError.
    """
    if count == 1:
        yield Destinations(lab.receiver.ipv4)
        return
    if isinstance(lab.mode, LabMode):
        raise Unsupported(
            "endpoints",
            f"lab {lab.mode.lab.name} has the endpoints that it declares, and no more",
            remedy="measure endpoints=N without --lab",
        )
    host = links.find(lab.receiver.host_ifname)
    addresses = [_FIRST + number for number in range(count)]
    if isinstance(lab.mode, EbpfMode):
        with _endpoints(lab, addresses):
            yield Destinations(_FIRST, count, in_mac=True)
    elif host is None:
        yield Destinations(_FIRST, count, in_mac=True)
    elif host.master:
        entries = [f"{made_mac(address)} dev {host.name} master" for address in addresses]
        with _batch("bridge", "fdb {} {} static", "fdb {} {}", entries):
            yield Destinations(_FIRST, count, in_mac=True)
    else:
        way = f"via {lab.receiver.ipv4} dev {host.name} onlink"
        entries = [f"{address} {way}" for address in addresses]
        with _batch("ip", "route {} {}", "route {} {}", entries):
            yield Destinations(_FIRST, count)


@contextmanager
def _batch(tool: str, adding: str, deleting: str, entries: Sequence[str]) -> Iterator[None]:
    """Entries that one of iproute2's tools adds, and deletes when the block ends."""

    def lines(form: str, verb: str) -> str:
        return "".join(f"{form.format(verb, entry)}\n" for entry in entries)

    tools.run([tool, "-batch", "-"], stdin=lines(adding, "add"))
    try:
        yield
    finally:
        tools.run([tool, "-batch", "-"], stdin=lines(deleting, "del"))


@contextmanager
def _endpoints(lab: Lab, addresses: Sequence[IPv4Address]) -> Iterator[None]:
    """Endpoints of the lab's network that share the receiver's host end."""
    with Network(lab.network.name) as network:
        senders, destinations = network.map("endpoints"), network.map("endpoints_v4")
        devices = network.map("devices") if "devices" in network.map_names() else None
        receiver = network.endpoint(str(lab.receiver.ipv4))
        ifindex = _number(receiver.ifindex)
        template = EndpointRecord.from_buffer_copy(senders.lookup(ifindex) or b"")
        added = list(enumerate(addresses, receiver.id + 1))
        try:
            for number, address in added:
                mac = Mac.parse(made_mac(address))
                target = DestinationRecord(id=number, ifindex=receiver.ifindex, mac=mac)
                template.id, template.ipv4, template.mac = number, Ipv4(*address.packed), mac
                if devices:
                    devices.update(_number(number), ifindex)
                senders.update(_number(_FIRST_IFINDEX + number), bytes(template))
                destinations.update(address.packed, bytes(target))
            yield
        finally:
            for number, address in added:
                destinations.delete(address.packed)
                senders.delete(_number(_FIRST_IFINDEX + number))
                if devices:
                    devices.delete(_number(number))


def _number(value: int) -> bytes:
    """A u32 key or value."""
    return value.to_bytes(4, sys.byteorder)
