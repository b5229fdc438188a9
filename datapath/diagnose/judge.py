"""The diagnosis: both directions walked and checked, then the probes, which have the last word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final

from datapath.diagnose import addresses, checks, probes, translation, witnesses
from datapath.diagnose.causes import Cause, Guess
from datapath.diagnose.checks import filtering, sockets
from datapath.diagnose.firewall import Packet
from datapath.diagnose.walk import Walk
from datapath.diagnose.walking import walk
from datapath.diagnose.world import World
from datapath.errors import Conflict, InvalidInput
from datapath.kernel.net.netns import Netns

# What a ping that is answered says nothing about: it is short, and anybody may have answered.
_BEYOND_PING: Final = {"mtu-mismatch", "duplicate-address"}
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found; `healthy` without causes, addresses "" where there were none to try."""

    healthy: bool
    sender: str
    receiver: str
    source: str
    target: str
    causes: tuple[Cause, ...]


def diagnose(
    a: Netns, b: Netns, *, to: str = "", protocol: str = "tcp", port: int = 0
) -> Diagnosis:
    """Why `a` does not reach `b`; with `to` that address of it, with `port` that port there.

    Raises InvalidInput, NotFound, EbpfnetError.
    """
    if a.inode == b.inode and a.name != b.name:
        raise InvalidInput(f"{a.name} and {b.name} are one namespace")
    for _ in range(_TRIES - 1):
        with suppress(Conflict):  # somebody renamed interfaces meanwhile
            return _look(a, b, to, protocol, port)
    return _look(a, b, to, protocol, port)


def _look(a: Netns, b: Netns, to: str, protocol: str, port: int) -> Diagnosis:
    with World() as world, ExitStack() as stack:
        sender, receiver = world.node(a), world.node(b)
        pair = addresses.chosen(sender, receiver, to)
        lacking: list[Cause] = []
        if pair is None:
            both = dict.fromkeys(((sender, receiver), (receiver, sender)))
            lacking = [c for node, other in both for c in addresses.lacking(world, node, other)]
            pair = addresses.chosen(sender, receiver, to)  # of those that are assumed by now
        if pair is None:
            return Diagnosis(False, a.name, b.name, "", "", tuple(lacking))
        source, target = pair
        # The answer comes while the way is walked; whom both know is read before they ask anew.
        _ = sender.neighbours, receiver.neighbours
        answered = stack.enter_context(probes.pinging(a, target))
        echo = "icmp" if target.version == 4 else "ipv6-icmp"
        forth = walk(world, Walk(sender, receiver, Packet(source, target, echo)))
        there, back = translation.both_ways(world, forth)
        mapped = translation.mapped(world, forth, protocol, port) if port else []
        ways = [each for way in (*there, *back, *mapped) for each in way.all()]
        found = [*lacking, *(cause for way in ways for cause in way.causes)]
        found += [cause for check in checks.ALL for way in ways for cause in check(world, way)]
        if port:
            found += _listening(mapped[0] if mapped else forth, protocol, port)
            found += _of_port([*there, *back], protocol, port)
        # Who would answer is not the one that is asked about, or nobody knows.
        doubtful = forth.impostor or any(c.cause == "duplicate-address" for c in found)
        probing = not lacking and not doubtful
        reached = probing and answered(False)
        connects = probing and port and protocol == "tcp"
        outcome = probes.connect(a, target, port) if connects else ""
        if not reached or port:
            found += [c for check in checks.LAST for way in ways for c in check(world, way)]
        # A ping says nothing of what is behind a port that is mapped.
        causes = _agreed(found, reached and not mapped, outcome, bool(port))
        if not causes and not (outcome == "open" if outcome else reached):
            causes = _listened(world, a, ways, port if connects else 0)
    return Diagnosis(not causes, a.name, b.name, str(source), str(target), tuple(causes))


def _listened(world: World, a: Netns, ways: list[Walk], port: int) -> list[Cause]:
    """What the kernel and the kit's programs say of more packets; nothing if these arrive.

    Neighbours that were asked for in vain are asked for again, once a second.
    """
    target = ways[0].target
    devices = {each.ifname for way in ways for leg in way.legs for each in leg.way}
    before = witnesses.counted(world, ways)
    with probes.listening(devices, {way.packet.version for way in ways}) as drops:
        with probes.pinging(a, target) as answered:
            arrived = answered(True)
        if port:
            arrived = probes.connect(a, target, port) == "open"
    dropped = witnesses.counted(world, ways) - before
    return [] if arrived else [witnesses.last_word(world, ways, dropped, drops.found)]


def _listening(way: Walk, protocol: str, port: int) -> Iterator[Cause]:
    """At the receiver, and the port that the packet of the way is for, if for any."""
    yield from sockets.check(way, protocol, way.packet.dport or port)


def _of_port(ways: list[Walk], protocol: str, port: int) -> Iterator[Cause]:
    """Firewalls that drop what is for the port, or comes from it."""
    for way in ways:
        asks = way.packet.state == "new"
        sport, dport = (translation.ANY_PORT, port) if asks else (port, translation.ANY_PORT)
        packet = replace(way.packet, protocol=protocol, sport=sport, dport=dport)
        yield from filtering.refusals(way, packet)


def _agreed(found: list[Cause], reached: bool, outcome: str, port: bool) -> list[Cause]:
    """One for each kind and place, or remedy, without those that the probes have refuted."""
    causes: list[Cause] = []
    # What is down comes first: other remedies need it up.
    for cause in sorted(found, key=lambda cause: cause.cause != "link-down"):
        alike = (c for c in causes if c.cause == cause.cause)
        if not any(c.where == cause.where or c.remedy == cause.remedy for c in alike):
            causes.append(cause)
    causes = [cause for cause in causes if not isinstance(cause, Guess)] or causes
    kinds = {cause.cause for cause in causes}
    if kinds & {"duplicate-address", "routing-loop"}:  # which explain the other
        causes = [c for c in causes if c.cause not in ("local-source", "stale-neighbour")]
    if outcome == "open" or (reached and not port):
        return [cause for cause in causes if cause.cause in _BEYOND_PING]
    if reached and port:
        of_port = {"nobody-listens", "listens-elsewhere", "firewall", "bridge-firewall"}
        return [cause for cause in causes if cause.cause in of_port | _BEYOND_PING]
    return causes
