"""The diagnosis: both directions walked and checked, then the probes, which have the last word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from datapath.diagnose import checks, probes
from datapath.diagnose.causes import Cause, inside
from datapath.diagnose.checks import addressing, filtering, sockets
from datapath.diagnose.firewall import Packet
from datapath.diagnose.probes import Drop
from datapath.diagnose.walk import Address, Walk, walk
from datapath.diagnose.world import Interface, Node, World
from datapath.errors import InvalidInput
from datapath.kernel.net.netns import Netns
from datapath.records import DropReason

# What a ping that is answered says nothing about.
_BEYOND_PING: Final = {"mtu-mismatch"}
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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found. `reached` is what the probes say, whatever the checks think."""

    healthy: bool
    sender: str
    receiver: str
    source: str
    target: str
    causes: tuple[Cause, ...]


def diagnose(a: Netns, b: Netns, *, protocol: str = "tcp", port: int = 0) -> Diagnosis:
    """Why `a` does not reach `b`, with a port: that port. Raises InvalidInput, EbpfnetError."""
    if a.inode == b.inode and a.name != b.name:
        raise InvalidInput(f"{a.name} and {b.name} are one namespace")
    with World() as world:
        sender, receiver = world.nodes[a.inode], world.nodes[b.inode]
        chosen = _addresses(sender, receiver)
        if chosen is None:
            missing = [_lacking(node) for node in (sender, receiver)]
            causes = [cause for each in missing for cause in each]
            return Diagnosis(False, a.name, b.name, "", "", tuple(causes))
        source, target = chosen
        forth = walk(world, Walk(sender, receiver, source, target))
        back = walk(world, Walk(receiver, sender, target, source, reply=True))
        found = [
            *forth.causes,
            *back.causes,
            *(
                cause
                for check in checks.ALL
                for way in (forth, back)
                for cause in check(world, way)
            ),
        ]
        if port:
            found += _of_port(forth, back, protocol, port)
        devices = {each.ifname for way in (forth, back) for leg in way.legs for each in leg.way}
        before = _counted(world, forth, back)
        with probes.listening(devices) as drops:
            reached = probes.ping(a, target)
            outcome = probes.connect(a, target, port) if port and protocol == "tcp" else ""
        counted = _counted(world, forth, back) - before
    causes = _agreed(found, reached, outcome, bool(port))
    if not causes and not (outcome == "open" if outcome else reached):
        causes = _of_programs(counted) or [_unexplained(forth, drops.found)]
    return Diagnosis(not causes, a.name, b.name, str(source), str(target), tuple(causes))


def _addresses(sender: Node, receiver: Node) -> tuple[Address, Address] | None:
    """The pair to try: of one family, IPv4 before IPv6, on one subnet before others."""

    def usable(node: Node, version: int) -> list[Interface]:
        return [a for _, a, _ in node.addresses if a.version == version and not a.is_link_local]

    for version in (4, 6):
        pairs = [(s, r) for s in usable(sender, version) for r in usable(receiver, version)]
        if pairs:
            near = [(s, r) for s, r in pairs if r.ip in s.network or s.ip in r.network]
            source, target = (near or pairs)[0]
            return source.ip, target.ip
    return None


def _lacking(node: Node) -> Iterable[Cause]:
    if set(node.links) <= {"lo"}:
        yield Cause(
            "no-interface",
            node.name,
            f"{node.name} has no interface but lo",
            f"ebpfnet attach {node.name}",
        )
    elif not any(a.version == 4 for _, a, _ in node.addresses):
        yield addressing.without_address(node, 4)


def _of_port(forth: Walk, back: Walk, protocol: str, port: int) -> Iterable[Cause]:
    yield from sockets.check(forth, protocol, port)
    asked = Packet(forth.source, forth.target, protocol, sport=40000, dport=port)
    answer = Packet(
        back.source, back.target, protocol, sport=port, dport=40000, state="established"
    )
    yield from filtering.refusals(forth, asked)
    yield from filtering.refusals(back, answer)


def _agreed(found: list[Cause], reached: bool, outcome: str, port: bool) -> list[Cause]:
    """One for each place and kind, without those that the probes have refuted."""
    unique = {(cause.cause, cause.where): cause for cause in reversed(found)}
    causes = list(unique.values())[::-1]
    kinds = {cause.cause for cause in causes}
    if kinds & {"duplicate-address", "routing-loop"}:  # which explain the other
        causes = [cause for cause in causes if cause.cause != "local-source"]
    if outcome == "open" or (reached and not port):
        return [cause for cause in causes if cause.cause in _BEYOND_PING]
    if reached and port:
        of_port = {"nobody-listens", "listens-elsewhere", "firewall", "bridge-firewall"}
        return [cause for cause in causes if cause.cause in of_port | _BEYOND_PING]
    return causes


def _counted(world: World, *ways: Walk) -> Counter[tuple[str, DropReason]]:
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


def _of_programs(counted: Counter[tuple[str, DropReason]]) -> list[Cause]:
    """What the programs themselves say of the packets that they dropped meanwhile."""
    found = []
    for (network, reason), count in counted.most_common(1):
        name = reason.name.lower().replace("_", "-")
        meaning = _PROGRAMS_MEAN.get(reason, "see the README's table of frames")
        found.append(
            Cause(
                "datapath-drop",
                f"network {network}",
                f"the program of network {network} dropped {count} packets as {name}: {meaning}",
                f"ebpfnet map dump drops --network {network}",
            )
        )
    return found


def _unexplained(way: Walk, drops: list[Drop]) -> Cause:
    """What the kernel says of the packets that were lost, where no check knows why."""
    told = next((drop for drop in drops if drop.reason not in _IDLE), None)
    if told is None:
        return Cause(
            "unknown",
            way.sender.name,
            f"{way.target} does not answer {way.sender.name}, and nothing says why",
            f"ebpfnet capture {way.sender.name} {way.receiver.name}",
        )
    meaning = _MEANINGS.get(told.reason, f"in {told.function}")
    port = next((p for leg in way.legs for p in leg.way if p.ifname == told.device), None)
    where = port.where if port else told.device
    shown: tuple[str, ...] = ("ip", "-d", "link", "show", told.device)
    if told.reason.startswith("TC_"):
        shown = ("tc", "filter", "show", "dev", told.device, told.reason[3:].lower())
    return Cause(
        "dropped",
        where,
        f"the kernel drops packets at {where}: {meaning} (reason {told.reason})",
        inside(port.node.netns, *shown) if port else " ".join(shown),
    )
