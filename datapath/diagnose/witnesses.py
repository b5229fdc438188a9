"""Packets that were lost where no check knows why: what programs, processes and the kernel say."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from typing import Final

from datapath.diagnose.causes import Cause, see
from datapath.diagnose.probes import Drop
from datapath.diagnose.walk import Walk
from datapath.diagnose.world import World
from datapath.names import inside
from datapath.records import DropReason

# Reasons of skb:kfree_skb that follow from another fault, or from none.
_IDLE: Final = {"NEIGH_FAILED", "NOT_SPECIFIED", "UNHANDLED_PROTO", "NO_SOCKET", "SOCKET_FILTER"}
_MEANINGS: Final = {
    "XDP": "an XDP program there drops them",
    "TC_INGRESS": "a filter or program at tc ingress there drops them",
    "TC_EGRESS": "a filter or program at tc egress there drops them",
    "NETFILTER_DROP": "a firewall rule that cannot be read here drops them",
    "QDISC_DROP": "its queueing discipline drops them",
    "QDISC_OVERLIMIT": "its queueing discipline is full",
    "OTHERHOST": "they carry the MAC of another interface",
    "IP_RPFILTER": "the reverse path filter refuses their source",
}
_PROGRAMS_MEAN: Final = {
    DropReason.SPOOFED_MAC: "they do not carry the MAC of the endpoint that sends them",
    DropReason.SPOOFED_IPV4: "their source is no address of the endpoint that sends them",
    DropReason.SPOOFED_IPV6: "their source is no address of the endpoint that sends them",
    DropReason.UNKNOWN_DESTINATION: "no endpoint has their destination",
}


def counted(world: World, ways: Iterable[Walk]) -> Counter[tuple[str, DropReason]]:
    """What the kit's programs on the way have dropped, by network and reason.

    Groups apart: every interface sends to some, and nobody misses that.
    """
    passed = {port.key for way in ways for leg in way.legs for port in leg.way}
    networks = {world.endpoints[key][0] for key in passed & world.endpoints.keys()}
    return Counter(
        {
            (network.name, reason): count
            for network in networks
            for reason, count in network.drops().items()
            if reason not in (DropReason.BROADCAST, DropReason.MULTICAST)
        }
    )


def last_word(
    world: World, ways: list[Walk], dropped: Counter[tuple[str, DropReason]], drops: list[Drop]
) -> Cause:
    """The cause that is left: what a program of the kit says, else the kernel, else who has it."""
    for (network, reason), count in dropped.most_common(1):
        name = reason.name.lower().replace("_", "-")
        meaning = _PROGRAMS_MEAN.get(reason, "see the README's table of frames")
        return Cause(
            "datapath-drop",
            f"network {network}",
            f"the program of network {network} dropped {count} packets as {name}: {meaning}",
            see(f"ebpfnet map dump drops --network {network}"),
        )
    for way in ways:
        for port, reader in ((p, r) for p in way.taps for r in world.readers(p)):
            return Cause(
                "behind-process",
                port.where,
                f"what {way.sender.name} sends to {way.target} goes to process {reader.pid} "
                f"({reader.name}), which reads {port.where}: it alone knows where to from there",
                f"look at what process {reader.pid} does: strace -f -p {reader.pid}",
            )
    # One alone follows from no lasting fault: an interface that has just come up drops the first.
    lasting = (drop for drop in drops if drop.reason not in _IDLE and drop.packets > 1)
    told = next(lasting, None)
    return _of_kernel(ways, told) if told else _unknown(ways[0])


def _of_kernel(ways: list[Walk], told: Drop) -> Cause:
    meaning = _MEANINGS.get(told.reason, f"in {told.function}")
    passed = (port for way in ways for leg in way.legs for port in leg.way)
    port = next((each for each in passed if each.ifname == told.device), None)
    where = port.where if port else told.device
    shown: tuple[str, ...] = ("ip", "-d", "link", "show", told.device)
    if told.reason.startswith("TC_"):
        shown = ("tc", "filter", "show", "dev", told.device, told.reason[3:].lower())
    return Cause(
        "dropped",
        where,
        f"the kernel drops packets at {where}: {meaning} (reason {told.reason})",
        see(inside(port.node.netns, *shown) if port else " ".join(shown)),
    )


def _unknown(way: Walk) -> Cause:
    return Cause(
        "unknown",
        way.sender.name,
        f"{way.target} does not answer {way.sender.name}, and nothing says why",
        see(shlex.join(["ebpfnet", "capture", way.sender.name, way.receiver.name])),
    )
