"""What is attached where, read from the kernel: pins, links, filters."""

from __future__ import annotations

import os
from typing import Any

from datapath import journal as journals
from datapath import network as networks
from datapath.endpoint import Endpoint
from datapath.errors import EbpfnetError, KernelError
from datapath.kernel.bpf import libbpf, links
from datapath.modes import by_id
from datapath.network import Network
from datapath.records import HookId


def read() -> list[dict[str, Any]]:
    """Every network with its endpoints; one that cannot be read has `error` in place of them.

    Raises Unsupported where none can be seen.
    """
    networks.require_own_sysfs()
    return [of(name) for name in networks.names()]


def of(name: str) -> dict[str, Any]:
    """One network, with `error` where it cannot be read."""
    try:
        with Network(name) as network, journals.at_home(name):
            return _network(network)
    except EbpfnetError as error:
        return {"network": name, "error": str(error)}


def _network(network: Network) -> dict[str, Any]:
    config = network.config.people()
    return {
        "network": network.name,
        "mode": by_id(network.mode).name,
        "hook": network.hook.name.lower(),
        "otherwise": network.otherwise.name.lower(),
        "subnet": str(network.subnet),
        "max_endpoints": network.max_endpoints,
        "kit_version": config["kit_version"],
        "drops": {
            reason.name.lower().replace("_", "-"): count
            for reason, count in network.drops().items()
        },
        "endpoints": [
            {
                "id": endpoint.id,
                "netns": endpoint.netns,
                "ipv4": str(endpoint.ipv4) if endpoint.ipv4 else None,
                "host_ifname": endpoint.host_ifname,
                "ifindex": endpoint.ifindex,
                "hook": network.hook.name.lower(),
                **_program(network, endpoint),
            }
            for endpoint in network.endpoints()
        ],
    }


def program_at(network: Network, endpoint: Endpoint) -> int:
    """The id of the program that runs at an endpoint's host end, 0 where none does."""
    if network.hook is HookId.CLSACT:
        from datapath.kernel.net import tc

        try:
            attached = tc.ingress_filter(endpoint.host_ifname)
        except EbpfnetError:
            return 0
        return attached.program_id if attached else 0
    try:
        link = links.read(network.path / "links" / str(endpoint.id))
    except KernelError:
        return 0
    # At netkit it sits at the peer, whose ifindex is another namespace's.
    at_place = link.ifindex == endpoint.ifindex or network.hook is HookId.NETKIT
    return link.program_id if link.ifindex and at_place else 0


def _program(network: Network, endpoint: Endpoint) -> dict[str, Any]:
    """Program id and name, and in what state that is."""
    program_id = program_at(network, endpoint)
    if not program_id:
        return {"program_id": None, "program": None, "state": "not attached"}
    fd = libbpf.program_by_id(program_id)
    try:
        name = links.program_info(fd).name
    finally:
        os.close(fd)
    return {"program_id": program_id, "program": name, "state": "attached"}
