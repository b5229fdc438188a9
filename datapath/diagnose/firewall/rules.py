"""Rules as nftables and iptables share them: conditions on a packet, verdicts, chains, hooks.

A condition that cannot be read is unknown. A rule with an unknown condition is taken not to match,
so that nothing is blamed that may be innocent; and what drops a packet that such a rule may have
let through before is told of with a doubt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

_DEEPEST: Final = 16  # jumps; NFT_JUMP_STACK_SIZE

TRANSLATIONS: Final = ("masquerade", "snat", "dnat", "redirect")
_FINAL: Final = ("accept", "drop", "reject", *TRANSLATIONS)

Field = Literal[
    "saddr",
    "daddr",
    "version",
    "iif",
    "oif",
    "protocol",
    "sport",
    "dport",
    "icmp",
    "local",
    "state",
]


@dataclass(frozen=True, slots=True)
class Packet:
    """What rules look at. `dport` is 0 for what has no ports; `state` is conntrack's word."""

    saddr: IPv4Address | IPv6Address
    daddr: IPv4Address | IPv6Address
    protocol: str  # "icmp", "ipv6-icmp", "tcp", "udp", "ipencap"
    sport: int = 0
    dport: int = 0
    state: str = "new"
    iif: str = ""
    oif: str = ""
    local: bool = False  # for an address of the machine that looks at it

    @property
    def version(self) -> int:
        """Of IP."""
        return self.daddr.version

    @property
    def icmp(self) -> str:
        """Its type, as nft calls it: those that diagnoses send, "" for what is no ping."""
        if self.protocol not in ("icmp", "ipv6-icmp"):
            return ""
        return "echo-reply" if self.state == "established" else "echo-request"


@dataclass(frozen=True, slots=True)
class Condition:
    """That a field is (or is not) one of some values: networks, names with *, ports or ranges."""

    field: Field
    values: tuple[str, ...]
    negated: bool = False

    def holds(self, packet: Packet) -> bool:
        """Of this packet. Raises ValueError for values that are not of the field's kind."""
        value = getattr(packet, self.field)
        return any(self._is(value, wanted) for wanted in self.values) != self.negated

    def _is(self, value: object, wanted: str) -> bool:
        if self.field in ("saddr", "daddr"):
            first, dash, last = wanted.partition("-")
            address = ip_address(str(value))
            if dash:
                return int(ip_address(first)) <= int(address) <= int(ip_address(last))
            return address in ip_network(wanted, strict=False)
        if self.field in ("sport", "dport"):
            first, dash, last = wanted.partition("-")
            return int(first) <= int(str(value)) <= int(last or first)
        if self.field in ("iif", "oif"):
            return fnmatchcase(str(value), wanted)
        return str(value) == wanted


@dataclass(frozen=True, slots=True)
class Rule:
    """`verdict`: "accept", "drop", "reject", "return", "jump", "goto", or "" for one that goes on.

    Or what it does with addresses: "masquerade", "snat", "dnat", with the new one for `target`.
    `conditions` has None for each that could not be read. `text` is the rule as its tool prints it,
    `removal` the words of the command that takes it away.
    """

    conditions: tuple[Condition | None, ...]
    verdict: str
    target: str
    text: str
    removal: tuple[str, ...]
    port: int = 0  # that a packet is sent on to, 0 for that which it is for

    def matches(self, packet: Packet) -> bool:
        """Certainly."""
        return None not in self.conditions and self.may_match(packet)

    def may_match(self, packet: Packet) -> bool:
        """As far as its conditions can be read."""
        try:
            return all(c is None or c.holds(packet) for c in self.conditions)
        except ValueError:
            return False


@dataclass(slots=True)
class Chain:
    """`hook` and `priority` for a base chain; `policy` is what its end makes of a packet."""

    name: str
    rules: list[Rule] = field(default_factory=list)
    family: str = "ip"
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    translates: bool = False  # addresses, and refuses nothing
    device: str = ""  # of a chain at a device's ingress
    repair: tuple[str, ...] = ()  # the command that sets the policy to accept


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All chains of one tool, by a name that is unique within it."""

    tool: str
    chains: dict[str, Chain]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What drops a packet, as its tool prints it, and the command that mends it.

    `perhaps` where a rule that cannot be read may have let it through before.
    """

    chain: str
    text: str
    remedy: tuple[str, ...]
    perhaps: bool


def walk(ruleset: Ruleset, hook: str, families: set[str], packet: Packet) -> Iterator[Refusal]:
    """Every base chain at a hook, by priority: each may refuse, none can accept for the others.

    What refuses is taken away, as it were, and the rest asked as well.
    """
    bases = (chain for chain in _bases(ruleset, hook, families, packet) if not chain.translates)
    for chain in bases:
        verdict, rule = _verdict(ruleset, chain, packet, _DEEPEST)
        perhaps = _may_pass(ruleset, chain, packet, rule)
        if rule and verdict in ("drop", "reject"):
            yield Refusal(chain.name, f"{rule.text}", rule.removal, perhaps)
        elif not verdict and chain.policy == "drop":
            yield Refusal(chain.name, "policy drop", chain.repair, perhaps)


def _may_pass(ruleset: Ruleset, chain: Chain, packet: Packet, until: Rule | None) -> bool:
    """Whether a rule of a chain that cannot be read may let a packet through before another."""
    for rule in chain.rules:
        if rule is until:
            break
        if None in rule.conditions and rule.may_match(packet):
            following = ruleset.chains.get(rule.target)
            ends = any(each.verdict == "accept" for each in following.rules) if following else False
            if ends or rule.verdict in ("accept", "return"):
                return True
    return False


def translation(ruleset: Ruleset, hook: str, families: set[str], packet: Packet) -> Rule | None:
    """The rule by which a packet has another address after a hook."""
    for chain in _bases(ruleset, hook, families, packet):
        verdict, rule = _verdict(ruleset, chain, packet, _DEEPEST)
        if chain.translates and verdict in TRANSLATIONS:
            return rule
    return None


def _bases(ruleset: Ruleset, hook: str, families: set[str], packet: Packet) -> list[Chain]:
    found = (
        chain
        for chain in ruleset.chains.values()
        if chain.hook == hook and chain.family in families and chain.device in ("", packet.iif)
    )
    return sorted(found, key=lambda chain: chain.priority)


def _verdict(ruleset: Ruleset, chain: Chain, packet: Packet, depth: int) -> tuple[str, Rule | None]:
    """What ends the packet's way, with the rule that says so; "" where the chain ends."""
    for rule in _matching(chain, packet):
        if rule.verdict in _FINAL:
            return rule.verdict, rule
        if rule.verdict == "return":
            break
        following = ruleset.chains.get(rule.target)
        if following and depth:
            verdict, by = _verdict(ruleset, following, packet, depth - 1)
            if verdict:
                return verdict, by
        if rule.verdict == "goto":
            break
    return "", None


def _matching(chain: Chain, packet: Packet) -> Iterator[Rule]:
    return (rule for rule in chain.rules if rule.verdict and rule.matches(packet))
