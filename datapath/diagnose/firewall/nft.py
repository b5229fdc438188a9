"""nftables' ruleset as rules, out of `nft -j` (libnftables-json(5)), with the text of `nft -a`."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from datapath.diagnose.firewall.rules import TRANSLATIONS, Chain, Condition, Field, Rule, Ruleset
from datapath.kernel.net import tools

_VERDICTS: Final = ("accept", "drop", "reject", "return", "jump", "goto")
# Statements that neither test a packet nor end its way.
_PASSING: Final = {"counter", "log", "comment", "mangle", "limit", "notrack", "mark"}
_HANDLE = re.compile(r"(.*) # handle (\d+)")
_META: Final[dict[str, Field]] = {
    "iif": "iif",
    "iifname": "iif",
    "oif": "oif",
    "oifname": "oif",
    "l4proto": "protocol",
}
_PAYLOAD: Final[dict[tuple[str, str], Field]] = {
    **{(protocol, name): name for protocol in ("ip", "ip6") for name in ("saddr", "daddr")},
    **{(p, name): name for p in ("tcp", "udp", "th") for name in ("sport", "dport")},
    ("ip", "protocol"): "protocol",
    ("ip6", "nexthdr"): "protocol",
    **{(protocol, "type"): "icmp" for protocol in ("icmp", "icmpv6")},
}
# What a match tests besides, which the listing leaves out: that the packet has such a header.
_IMPLIED: Final[dict[str, Condition]] = {
    "ip": Condition("version", ("4",)),
    "ip6": Condition("version", ("6",)),
    "tcp": Condition("protocol", ("tcp",)),
    "udp": Condition("protocol", ("udp",)),
    "icmp": Condition("protocol", ("icmp",)),
    "icmpv6": Condition("protocol", ("ipv6-icmp",)),
}


def read() -> Ruleset:
    """That of the calling thread's namespace. Raises EbpfnetError where nft fails."""
    listed = json.loads(tools.run(["nft", "-j", "list", "ruleset"]))["nftables"]
    texts = _texts(tools.run(["nft", "-a", "list", "ruleset"]))
    chains: dict[str, Chain] = {}
    for entry in listed:
        if chain := entry.get("chain"):
            name = _name(chain, chain["name"])
            table = (chain["family"], chain["table"], chain["name"])
            chains[name] = Chain(
                name=name,
                family=chain["family"],
                hook=chain.get("hook", ""),
                translates=chain.get("type") == "nat",
                priority=int(chain.get("prio", 0)),
                policy=chain.get("policy", "accept"),
                device=str(chain.get("dev", "")),
                repair=("nft", "add", "chain", *table, "{", "policy", "accept", ";", "}"),
            )
    for entry in listed:
        if rule := entry.get("rule"):
            where = _name(rule, rule["chain"])
            chains[where].rules.append(_rule(rule, texts.get((where, rule["handle"]), where)))
    return Ruleset("nft", chains)


def _name(entry: dict[str, Any], chain: str) -> str:
    return f"{entry['family']} {entry['table']} {chain}"


def _texts(listing: str) -> dict[tuple[str, int], str]:
    """Each rule as nft prints it, by its chain and handle."""
    found, table, chain = {}, "", ""
    for line in map(str.strip, listing.splitlines()):
        handled = _HANDLE.fullmatch(line)
        if line.startswith("table "):
            table = line.removeprefix("table ").partition(" {")[0]
        elif line.startswith("chain "):
            chain = line.removeprefix("chain ").partition(" {")[0]
        elif handled:
            found[f"{table} {chain}", int(handled[2])] = f"{handled[1]} (in {table} {chain})"
    return found


def _rule(rule: dict[str, Any], text: str) -> Rule:
    conditions: list[Condition | None] = []
    verdict = target = ""
    port = 0
    for statement in rule["expr"]:
        ((kind, value),) = statement.items()
        if kind == "match":
            conditions += _conditions(value)
        elif kind in _VERDICTS:
            verdict = kind
            if isinstance(value, dict) and "target" in value:
                target = _name(rule, value["target"])
        elif kind in TRANSLATIONS:
            verdict = kind
            given = value if isinstance(value, dict) else {}
            target = given["addr"] if isinstance(given.get("addr"), str) else ""
            port = given["port"] if isinstance(given.get("port"), int) else 0
        elif kind not in _PASSING:
            conditions.append(None)
    place = (rule["family"], rule["table"], rule["chain"])
    removal = ("nft", "delete", "rule", *place, "handle", str(rule["handle"]))
    return Rule(tuple(conditions), verdict, target, text, removal, port)


def _conditions(match: dict[str, Any]) -> list[Condition | None]:
    left, right = match["left"], match["right"]
    if match["op"] not in ("==", "!=", "in") or not isinstance(left, dict):
        return [None]
    ((kind, value),) = left.items()
    wanted: Field | None = None
    implied: list[Condition | None] = []
    if kind == "meta":
        wanted = _META.get(value["key"])
    elif kind == "payload" and "protocol" in value:
        wanted = _PAYLOAD.get((value["protocol"], value["field"]))
        implied += [_IMPLIED[value["protocol"]]] if value["protocol"] in _IMPLIED else []
    elif kind == "fib" and value["result"] == "type" and "daddr" in value["flags"]:
        own = right == "local" and match["op"] != "!="
        return [Condition("local", (str(own),))] if right == "local" else [None]
    elif kind == "ct" and value["key"] == "state":
        wanted = "state"
    values = _values(right)
    if wanted is None or not values:
        return [None]
    return [*implied, Condition(wanted, values, negated=match["op"] == "!=")]


def _values(right: Any) -> tuple[str, ...]:
    """The values of a comparison; empty for what cannot be read, such as a named set."""
    if isinstance(right, dict):
        if "prefix" in right:
            return (f"{right['prefix']['addr']}/{right['prefix']['len']}",)
        if "range" in right:
            return (f"{right['range'][0]}-{right['range'][1]}",)
        right = right.get("set", [])
    if isinstance(right, list):
        found = [_values(each) for each in right]
        return tuple(v for each in found for v in each) if all(found) else ()
    return () if str(right).startswith("@") else (str(right),)
