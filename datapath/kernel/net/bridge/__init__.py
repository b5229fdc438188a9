"""Bridge ports: taking an interface out of its bridge, and putting it back as it was.

The kernel forgets all about a port that leaves, so what a person had set is read before. The record
holds plain values only: `BridgePort(**json.loads(json.dumps(asdict(port))))` is the same port.
Functions act in the network namespace of the calling thread.

Left out: what traffic teaches the bridge again (learned addresses, joined groups), lists of sources
(IGMPv3), MRP and CFM instances, and that another port names this one as its backup.
"""

from datapath.kernel.net.bridge.port import (
    BridgePort,
    commands,
    filters_vlans,
    leave,
    read_port,
    rejoin,
    vlans,
)

__all__ = ["BridgePort", "commands", "filters_vlans", "leave", "read_port", "rejoin", "vlans"]
