"""Legacy iptables' tables as rules, out of iptables-legacy-save and ip6tables-legacy-save."""

from __future__ import annotations

import shlex
from typing import Final

from datapath.diagnose.firewall.rules import Chain, Condition, Field, Rule, Ruleset
from datapath.kernel.net import tools

# With the priority of their hooks (linux/netfilter_ipv4.h): nat, which refuses nothing, has two.
_TABLES: Final = {"raw": -300, "mangle": -150, "nat": 100, "filter": 0, "security": 50}
_TOOLS: Final = {"iptables-legacy": "ip", "ip6tables-legacy": "ip6"}
_OPTIONS: Final[dict[str, Field]] = {
    "-s": "saddr",
    "-d": "daddr",
    "-i": "iif",
    "-o": "oif",
    "-p": "protocol",
    "--sport": "sport",
    "--dport": "dport",
    "--dports": "dport",
    "--dst-type": "local",
    "--icmp-type": "icmp",
    "--icmpv6-type": "icmp",
    "--ctstate": "state",
    "--state": "state",
}
# Matches that say nothing by themselves: their options do. And options that test nothing.
_SILENT: Final = {
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "addrtype",
    "conntrack",
    "state",
    "multiport",
    "comment",
}
_NO_TEST: Final = {"--comment", "--reject-with"}
# Of icmp.h and icmpv6.h, as nft calls them.
_ICMP: Final = {"0": "echo-reply", "8": "echo-request", "128": "echo-request", "129": "echo-reply"}
_VERDICTS: Final = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_TRANSLATING: Final = {"MASQUERADE": "masquerade", "SNAT": "snat", "DNAT": "dnat"}


def read() -> Ruleset:
    """That of the calling thread's namespace. Raises EbpfnetError where a tool fails."""
    chains: dict[str, Chain] = {}
    for tool, family in _TOOLS.items():
        table = ""
        for line in tools.run([f"{tool}-save"]).splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif table not in _TABLES:
                continue
            elif line.startswith(":"):
                name, policy, *_ = line[1:].split()
                chains[f"{family} {table} {name}"] = Chain(
                    name=f"{table} {name}",
                    family=family,
                    hook=name.lower() if policy != "-" else "",
                    priority=_TABLES[table],
                    translates=table == "nat",
                    policy=policy.lower() if policy != "-" else "accept",
                    repair=(tool, "-t", table, "-P", name, "ACCEPT"),
                )
            elif line.startswith("-A "):
                words = shlex.split(line)
                where = chains[f"{family} {table} {words[1]}"]
                where.rules.append(_rule(tool, family, table, line, words))
    return Ruleset("iptables-legacy", chains)


def _rule(tool: str, family: str, table: str, line: str, words: list[str]) -> Rule:
    conditions: list[Condition | None] = []
    verdict = target = ""
    port = 0
    rest = iter(words[2:])
    negated = False
    for word in rest:
        if word == "!":
            negated = True
            continue
        value = next(rest, "")
        if word in _OPTIONS:
            conditions.append(_condition(_OPTIONS[word], value, negated))
        elif word in ("--to-source", "--to-destination"):
            target, port = _destination(value)
        elif word == "-j" and value in _TRANSLATING:
            verdict = _TRANSLATING[value]
        elif word in ("-j", "-g"):
            verdict = _VERDICTS.get(value, "goto" if word == "-g" else "jump")
            target = f"{family} {table} {value}"
        elif not (word == "-m" and value in _SILENT) and word not in _NO_TEST:
            conditions.append(None)
        negated = False
    removal = (tool, "-t", table, "-D", *words[1:])
    return Rule(tuple(conditions), verdict, target, f"{tool} -t {table} {line}", removal, port)


def _condition(field: Field, value: str, negated: bool) -> Condition:
    if field in ("iif", "oif"):
        values: tuple[str, ...] = (value.replace("+", "*"),)
    else:
        values = tuple(
            part.replace(":", "-") if "port" in field else part for part in value.split(",")
        )
    if field == "local":
        values = tuple(str(each == "LOCAL") for each in values)
    if field == "icmp":
        values = tuple(_ICMP.get(each, each) for each in values)
    if field == "state":
        values = tuple(each.lower() for each in values)
    return Condition(field, values, negated)


def _destination(text: str) -> tuple[str, int]:
    """ADDRESS[:PORT] as both, "" and 0 for what is a range."""
    address, colon, port = text.rpartition(":")
    if not colon or ("[" not in text and text.count(":") > 1):
        address, port = text, "0"
    if "-" in text:
        return "", 0
    return address.strip("[]"), int(port)
