"""ebpfnet as a library: join namespaces by eBPF, read the maps, measure.

    from datapath import Network, Request, attach, detach

    attach(Request(targets=["ns0", "ns1"]))
    with Network("default") as network:
        for endpoint in network.endpoints():
            print(endpoint.netns, endpoint.ipv4, network.stats(endpoint.id).rx_packets)
    detach("default")

Everything needs root, acts on the machine at once and raises EbpfnetError. Names are imported when
they are first used. Measuring is in datapath.compare.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datapath.attaching import Plan, Request, attach, plan
    from datapath.detaching import collect, detach
    from datapath.endpoint import Endpoint, EndpointStats
    from datapath.errors import EbpfnetError
    from datapath.network import Network
    from datapath.records import DropReason, HookId
    from datapath.reloading import reload
    from datapath.version import VERSION

_HOMES: Final = {
    "Request": "attaching",
    "Plan": "attaching",
    "plan": "attaching",
    "attach": "attaching",
    "detach": "detaching",
    "collect": "detaching",
    "reload": "reloading",
    "Network": "network",
    "Endpoint": "endpoint",
    "EndpointStats": "endpoint",
    "DropReason": "records",
    "HookId": "records",
    "EbpfnetError": "errors",
    "VERSION": "version",
}

__all__ = [
    "VERSION",
    "DropReason",
    "EbpfnetError",
    "Endpoint",
    "EndpointStats",
    "HookId",
    "Network",
    "Plan",
    "Request",
    "attach",
    "collect",
    "detach",
    "plan",
    "reload",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562): the command line starts without all of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
