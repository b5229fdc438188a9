"""diagnose where there is more than two namespaces and a cable: translated addresses, rules of
policy routing, IPv6 alone, the same addresses twice, strange names."""

import itertools
import json
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from datapath import names
from datapath.diagnose import Diagnosis, diagnose, mend
from datapath.errors import Conflict
from datapath.labs import catalogue, lifecycle, planning
from tests.support import hosts
from tests.support.topologies import between, bridge, mended, routed, type_in


def ask(one: str, other: str, **more: object) -> Diagnosis:
    return diagnose(names.node(one), names.node(other), **more)  # type: ignore[arg-type]


@contextmanager
def up(lab: str) -> Iterator[None]:
    lifecycle.up(catalogue.declared(lab))
    try:
        yield
    finally:
        lifecycle.down(lab)


@pytest.mark.parametrize(
    ("lab", "one", "other", "port", "commands", "cause", "sentence"),
    [
        (
            *("nat", "client", "world", 0),
            "ip netns exec nat-router sysctl -qw net.ipv4.ip_forward=0",
            *("forwarding-off", "nat-router is the router to nat-world, but does not forward"),
        ),
        (
            *("nat", "client", "world", 0),
            "ip netns exec nat-world iptables-legacy -A INPUT -s 203.0.113.1 -p icmp -j DROP",
            *("firewall", "nat-world drops what 203.0.113.1 sends to 203.0.113.9 at input"),
        ),
        (
            *("nat", "client", "world", 0),
            # What is masqueraded is not for the router itself, whatever it does with that.
            "ip netns exec nat-router iptables-legacy -P INPUT DROP\n"
            "ip netns exec nat-router iptables-legacy -A FORWARD -o lan -j DROP",
            *("firewall", "nat-router drops what 203.0.113.9 sends to 10.0.0.2 at forward"),
        ),
        (
            *("nat", "world", "router", 8080, "end nat-web"),
            *("nobody-listens", "nobody listens on port 80/tcp in nat-web"),
        ),
        (
            *("docker", "world", "machine", 8080),
            "ip -n docker-machine link set veth-web nomaster",
            *("not-joined", "docker-web is at veth-web in docker-machine"),
        ),
        (
            *("docker", "world", "machine", 8080, "ip -n docker-machine link set docker0 down"),
            *("link-down", "docker0 in docker-machine is down"),
        ),
        (
            *("docker", "web", "world", 0, "ip -n docker-machine link set veth-web nomaster"),
            "not-joined",
            "nothing joins docker-web to its gateway 172.17.0.1: veth-web in docker-machine is a "
            "port of no bridge, and no eBPF program is there; 172.17.0.1 is at docker0",
        ),
    ],
)
def test_where_addresses_are_translated(
    lab: str, one: str, other: str, port: int, commands: str, cause: str, sentence: str
) -> None:
    ends = [planning.netns_name(lab, node) for node in (one, other)]
    with up(lab):
        assert hosts.until(lambda: ask(*ends, port=port).healthy), ask(*ends, port=port)
        if commands.startswith("end "):
            for pid in hosts.ip("netns", "pids", commands.removeprefix("end ")).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
        else:
            type_in(commands)
        found = ask(*ends, port=port)
        (told,) = found.causes
        assert (told.cause, sentence in told.sentence) == (cause, True), found
        assert not told.commands or (mend(told) and ask(*ends, port=port).healthy)


POLICY = """
ip -n {n}ns2 rule add from 10.2.2.2 lookup 100
ip -n {n}ns2 route add default via 10.2.2.1 table 100
ip -n {n}ns2 route del default
"""


@pytest.mark.parametrize(
    ("commands", "cause", "sentence"),
    [
        (
            "ip netns exec {n}ns2 iptables-legacy -A INPUT -p icmp -j DROP",
            *("firewall", "{n}ns2 drops what 10.2.1.2 sends to 10.2.2.2 at input"),
        ),
        (
            "ip -n {n}ns2 route replace blackhole default table 100",
            *("refusing-route", "{n}ns2 has a route of type blackhole for 0.0.0.0/0"),
        ),
        (
            "ip -n {n}r rule add from 10.2.1.2 prohibit",
            *("refusing-route", "{n}r has a rule of type prohibit for 10.2.2.2 (`ip rule`)"),
        ),
    ],
)
def test_rules_of_policy_routing(name: str, commands: str, cause: str, sentence: str) -> None:
    with routed(name):
        type_in(POLICY, n=name)
        assert between(name, routed).healthy
        type_in(commands, n=name)
        found = between(name, routed)
        (told,) = found.causes
        assert (told.cause, sentence.format(n=name) in told.sentence) == (cause, True), found
        assert not told.commands or mended(name, routed, found).healthy


@contextmanager
def routed_ipv6(n: str) -> Iterator[None]:
    """{n}x (fd01::2) and {n}y (fd02::2), each with a gateway in the router {n}r."""
    with ExitStack() as undo:
        for netns in (f"{n}r", f"{n}x", f"{n}y"):
            hosts.ip("netns", "add", netns)
            undo.callback(hosts.ip, "netns", "del", netns)
            hosts.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", netns=netns)
        for i, end in (("1", "x"), ("2", "y")):
            type_in(
                """
                ip -n {n}r link add r{i} type veth peer name eth0 netns {n}{end}
                ip -n {n}r addr add fd0{i}::1/64 dev r{i} nodad
                ip -n {n}r link set r{i} up
                ip -n {n}{end} addr add fd0{i}::2/64 dev eth0 nodad
                ip -n {n}{end} link set eth0 up
                ip -n {n}{end} route add default via fd0{i}::1
                """,
                n=n,
                i=i,
                end=end,
            )
        type_in("ip netns exec {n}r sysctl -qw net.ipv6.conf.all.forwarding=1", n=n)
        hosts.settle(f"{n}r", f"{n}x", f"{n}y")
        yield


@pytest.mark.parametrize(
    ("commands", "causes", "sentence"),
    [
        (
            "ip netns exec {n}r sysctl -qw net.ipv6.conf.all.forwarding=0",
            {"forwarding-off"},
            "{n}r is the router from {n}x to {n}y, but does not forward what comes in by r1",
        ),
        (
            "ip -n {n}x neigh replace fd01::1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
            {"wrong-neighbour"},
            "{n}x has fd01::1 pinned to 02:00:00:00:00:99",
        ),
        (
            "ip netns exec {n}y ip6tables-legacy -A INPUT -p icmpv6 --icmpv6-type 128 -j DROP",
            {"firewall"},
            "-p ipv6-icmp -m icmp6 --icmpv6-type 128 -j DROP",
        ),
        (
            "ip netns exec {n}y nft add table inet f\n"
            "ip netns exec {n}y nft 'add chain inet f i {{ type filter hook input priority 0; }}'\n"
            "ip netns exec {n}y nft add rule inet f i icmpv6 type echo-request drop",
            {"firewall"},
            "chain inet f i: icmpv6 type echo-request drop",
        ),
        (
            "ip netns exec {n}y sysctl -qw net.ipv6.icmp.echo_ignore_all=1",
            {"echo-ignored"},
            "{n}y answers no ping: net.ipv6.icmp.echo_ignore_all is 1",
        ),
        ("ip -n {n}y -6 route del default", {"no-route"}, "{n}y has no route to fd01::2"),
        (
            "ip -n {n}y link set eth0 down",  # with which the kernel deletes its addresses
            {"link-down", "no-address", "no-route"},
            "{n}y has no IPv6 address",
        ),
    ],
)
def test_ipv6_alone(name: str, commands: str, causes: set[str], sentence: str) -> None:
    with routed_ipv6(name):
        assert ask(f"{name}x", f"{name}y").healthy
        type_in(commands, n=name)
        found = ask(f"{name}x", f"{name}y")
        for cause in found.causes:
            assert mend(cause), cause
        assert {cause.cause for cause in found.causes} == causes, found
        assert [c for c in found.causes if sentence.format(n=name) in c.sentence], found
        # An address that has just been given is not used for a second or two.
        assert hosts.until(lambda: ask(f"{name}x", f"{name}y").healthy)


def test_who_answers_is_another_with_the_same_address(name: str) -> None:
    with bridge(f"{name}a"), bridge(f"{name}b"):
        assert ask(f"{name}ans1", f"{name}ans2").healthy
        found = ask(f"{name}ans1", f"{name}bns2")
    assert [cause.cause for cause in found.causes] == ["not-joined"], found
    assert f"10.1.0.2, as {name}ans1 sees it, is {name}aveth2" in found.causes[0].sentence


def test_what_firewalls_imply_is_tested_too(name: str) -> None:
    """Rules for TCP, for IPv6, and for what is not 10.0.0.0/8 in IPv4 concern no ping in IPv4."""
    with bridge(name):
        type_in(
            """
            ip link set {n}br0 down
            ip netns exec {n}ns2 nft add table inet f
            ip netns exec {n}ns2 nft 'add chain inet f i {{ type filter hook input priority 0; }}'
            ip netns exec {n}ns2 nft add rule inet f i icmpv6 type echo-request drop
            ip netns exec {n}ns2 nft add rule inet f i icmp type echo-reply drop
            ip netns exec {n}ns2 nft add rule inet f i ip6 saddr != fd00::/8 drop
            ip netns exec {n}ns2 nft add rule inet f i tcp dport 5301 drop
            """,
            n=name,
        )
        nodes = [names.node(f"{name}ns{i}") for i in (1, 2)]
        for protocol, causes in (
            ("udp", {"link-down", "nobody-listens"}),
            ("tcp", {"link-down", "nobody-listens", "firewall"}),
        ):
            found = diagnose(*nodes, protocol=protocol, port=5301)
            assert {cause.cause for cause in found.causes} == causes, found


def test_a_rule_that_cannot_be_read_may_have_let_it_through(name: str) -> None:
    """So that what follows is told of with a doubt, and only where nothing else is wrong."""
    with bridge(name):
        type_in(
            """
            ip netns exec {n}ns2 nft add table ip f
            ip netns exec {n}ns2 nft 'add chain ip f i \
                {{ type filter hook input priority 0; policy drop; }}'
            ip netns exec {n}ns2 nft add rule ip f i ip ttl 1 accept
            """,
            n=name,
        )
        (cause,) = between(name, bridge).causes
        assert cause.cause == "firewall"
        assert cause.sentence.endswith(
            "chain ip f i: policy drop, unless a rule before it that cannot be read here lets it "
            "through"
        )
        hosts.ip("link", "set", f"{name}br0", "down")
        assert {each.cause for each in between(name, bridge).causes} == {"link-down"}


def test_names_that_shells_and_filters_read_otherwise(name: str) -> None:
    one, other = f"{name} && b", f"$HOME;{name.upper()}"
    device = 'o;"k'
    with ExitStack() as undo:
        for netns in (one, other):
            hosts.ip("netns", "add", netns)
            undo.callback(hosts.ip, "netns", "del", netns)
        for line in (
            f"link add v type veth peer name '{device}' netns '{other}'",
            "addr add 10.8.0.1/24 dev v",
            "link set v up",
        ):
            hosts.ip("-n", one, *shlex.split(line))
        hosts.ip("-n", other, "addr", "add", "10.8.0.2/24", "dev", device)
        done = hosts.ebpfnet("diagnose", one, other, "--fix", "--yes", "-o", "json")
        assert f"{device} in {other} is down" in done.stderr
        assert '"healthy": true' in done.stdout


def test_interfaces_that_are_renamed_meanwhile(name: str) -> None:
    """Whatever is found, nothing breaks, and no address is missed for a name."""
    names_of_it = (f"{name}veth2", "other")
    with bridge(name):
        stop = threading.Event()

        def rename() -> None:
            for old, new in itertools.cycle((names_of_it, names_of_it[::-1])):
                hosts.ip("-n", f"{name}ns2", "link", "set", old, "name", new)
                if stop.is_set():
                    return

        with ThreadPoolExecutor(1) as renaming:
            done = renaming.submit(rename)
            try:
                for _ in range(8):
                    with suppress(Conflict):
                        found = between(name, bridge)
                        assert "no-address" not in {cause.cause for cause in found.causes}, found
            finally:
                stop.set()
            done.result()


def test_the_host_and_a_process_are_given_an_interface_by_what_is_typed(name: str) -> None:
    def interfaces(*inside: str) -> set[str]:
        shown = json.loads(hosts.run(*inside, "ip", "-j", "link").stdout)
        return {link["ifname"] for link in shown}

    with hosts.container() as pid:
        process = f"/proc/{pid}/ns/net"
        (one, other) = ask(process, "host").causes
        assert {one.where, other.where} == {str(pid), "host"}
        before = interfaces()
        assert mend(one)
        assert "eth0" in interfaces("nsenter", f"--net={process}")
        hosts.ip("link", "del", (interfaces() - before).pop())
        hosts.run("nsenter", f"--net={process}", "ip", "link", "add", "br0", "type", "bridge")
        (told,) = (c for c in ask(process, "host").causes if c.where == "host")
        assert mend(told)
        assert "eth0" in interfaces()
        hosts.ip("link", "del", "eth0")


def test_the_host_to_itself_without_an_interface() -> None:
    assert [cause.cause for cause in ask("host", "host").causes] == ["no-interface"]
