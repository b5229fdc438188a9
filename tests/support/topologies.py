"""Namespaces joined in one way each, typed by hand: what diagnoses are asked about."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from datapath import names
from datapath.diagnose import Diagnosis, diagnose, mend
from tests.support import hosts
from tests.support.kit import attached

Topology = Callable[[str], AbstractContextManager[None]]


def type_in(text: str, **names: str) -> None:
    """Commands, one a line, as a person types them."""
    for line in text.format(**names).strip().splitlines():
        hosts.run(*shlex.split(line))


@contextmanager
def bridge(n: str) -> Iterator[None]:
    """{n}ns1 (10.1.0.1) and {n}ns2 (10.1.0.2) over the bridge {n}br0."""
    with hosts.bridge_by_hand(n):
        yield


@contextmanager
def pair(n: str) -> Iterator[None]:
    """{n}ns0 (10.1.1.2) and {n}ns1 (10.1.1.3) with an end of a veth each; {n}ns2 is another."""
    with hosts.pair_by_hand(n):
        yield


@contextmanager
def routed(n: str) -> Iterator[None]:
    """{n}ns1 (10.2.1.2) and {n}ns2 (10.2.2.2), each with a gateway in the router {n}r."""
    with ExitStack() as undo:
        for netns in (f"{n}r", f"{n}ns1", f"{n}ns2"):
            hosts.ip("netns", "add", netns)
            undo.callback(hosts.ip, "netns", "del", netns)
        for i in ("1", "2"):
            type_in(
                """
                ip -n {n}r link add r{i} type veth peer name eth0 netns {n}ns{i}
                ip -n {n}r addr add 10.2.{i}.1/24 dev r{i}
                ip -n {n}r link set r{i} up
                ip -n {n}ns{i} addr add 10.2.{i}.2/24 dev eth0
                ip -n {n}ns{i} link set eth0 up
                ip -n {n}ns{i} route add default via 10.2.{i}.1
                """,
                n=n,
                i=i,
            )
        type_in("ip netns exec {n}r sysctl -qw net.ipv4.ip_forward=1", n=n)
        yield


@contextmanager
def two_routers(n: str) -> Iterator[None]:
    """The same, but answers to 10.2.1.2 come back by another router, {n}q."""
    with routed(n), ExitStack() as undo:
        hosts.ip("netns", "add", f"{n}q")
        undo.callback(hosts.ip, "netns", "del", f"{n}q")
        for i in ("1", "2"):
            type_in(
                """
                ip -n {n}q link add q{i} type veth peer name eth1 netns {n}ns{i}
                ip -n {n}q addr add 10.2.{i}3.1/24 dev q{i}
                ip -n {n}q link set q{i} up
                ip -n {n}ns{i} addr add 10.2.{i}3.2/24 dev eth1
                ip -n {n}ns{i} link set eth1 up
                """,
                n=n,
                i=i,
            )
        type_in(
            """
            ip netns exec {n}q sysctl -qw net.ipv4.ip_forward=1
            ip -n {n}q route add 10.2.1.2/32 via 10.2.13.2
            ip -n {n}ns2 route add 10.2.1.2/32 via 10.2.23.1
            """,
            n=n,
        )
        yield


@contextmanager
def macvlans(n: str) -> Iterator[None]:
    """{n}ns1 (10.3.0.1) and {n}ns2 (10.3.0.2) with a macvlan of {n}p each, in mode bridge."""
    with ExitStack() as undo:
        hosts.ip("link", "add", f"{n}p", "type", "veth", "peer", "name", f"{n}q")
        undo.callback(hosts.ip, "link", "del", f"{n}p")
        type_in("ip link set {n}p up\nip link set {n}q up", n=n)
        for i in ("1", "2"):
            hosts.ip("netns", "add", f"{n}ns{i}")
            undo.callback(hosts.ip, "netns", "del", f"{n}ns{i}")
            type_in(
                """
                ip link add link {n}p name {n}m{i} netns {n}ns{i} type macvlan mode bridge
                ip -n {n}ns{i} link set {n}m{i} name eth0
                ip -n {n}ns{i} addr add 10.3.0.{i}/24 dev eth0
                ip -n {n}ns{i} link set eth0 up
                """,
                n=n,
                i=i,
            )
        yield


@contextmanager
def endpoints(n: str) -> Iterator[None]:
    """{n}ns1 (10.1.1.2) and {n}ns2 (10.1.1.3), joined by the kit."""
    with attached(n, f"{n}ns1", f"{n}ns2"):
        yield


@contextmanager
def xdp_endpoints(n: str) -> Iterator[None]:
    """The same in mode xdp."""
    with attached(n, f"{n}ns1", f"{n}ns2", "--mode", "xdp"):
        yield


def between(n: str, lab: object) -> Diagnosis:
    first = 0 if lab is pair else 1
    return diagnose(names.node(f"{n}ns{first}"), names.node(f"{n}ns{first + 1}"))


def mended(n: str, lab: Topology, found: Diagnosis) -> Diagnosis:
    """What is found once the remedies are done: each, and those of what stood behind them."""
    tried = set[str]()
    while cause := next((each for each in found.causes if each.remedy not in tried), None):
        tried.add(cause.remedy)
        if mend(cause):
            found = between(n, lab)
    return found
