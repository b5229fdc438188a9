"""diagnose: what no check knows the probes find out; ports, addresses, lo; and the command."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from datapath import names
from datapath.diagnose import diagnose, mend, probes
from tests.support import bpf_objects, hosts
from tests.support.topologies import between, bridge, endpoints, pair, routed, type_in

BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP = 3, 6
DROP = {  # r0 = TC_ACT_SHOT or XDP_DROP; exit
    BPF_PROG_TYPE_SCHED_CLS: bytes.fromhex("b700000002000000 9500000000000000"),
    BPF_PROG_TYPE_XDP: bytes.fromhex("b700000001000000 9500000000000000"),
}
STEAL = bytes.fromhex("b700000004000000 9500000000000000")  # TC_ACT_STOLEN, which is no drop
# Holds the other end of the tun interface t0 for as long as it lives.
READS_A_TUN = """
import fcntl, struct, time
tun = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"t0", 0x1001))
time.sleep(60)
"""


@pytest.mark.parametrize("kind", [BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP])
def test_what_no_check_knows_the_kernel_tells(name: str, kind: int) -> None:
    """A program of somebody else that drops: only the tracepoint says where."""
    fd = bpf_objects.libbpf().bpf_prog_load(kind, b"ebt_drop", b"GPL", DROP[kind], 2, None)
    pin = f"/sys/fs/bpf/{name}"
    assert bpf_objects.libbpf().bpf_obj_pin(fd, pin.encode()) == 0
    os.close(fd)
    port = f"{name}brveth1"
    try:
        with bridge(name):
            if kind == BPF_PROG_TYPE_XDP:
                hosts.ip("link", "set", port, "xdpgeneric", "pinned", pin)
                reason = "an XDP program there drops them (reason XDP)"
            else:
                hosts.run("tc", "qdisc", "add", "dev", port, "clsact")
                program = ("bpf", "direct-action", "object-pinned", pin)
                hosts.run("tc", "filter", "add", "dev", port, "ingress", *program)
                reason = "a filter or program at tc ingress there drops them (reason TC_INGRESS)"
            found = between(name, bridge)
    finally:
        Path(pin).unlink()
    (cause,) = found.causes
    assert cause.cause == "dropped"
    assert reason in cause.sentence


def test_what_nobody_tells_is_admitted(name: str) -> None:
    fd = bpf_objects.libbpf().bpf_prog_load(
        BPF_PROG_TYPE_SCHED_CLS, b"ebt_steal", b"GPL", STEAL, 2, None
    )
    pin = f"/sys/fs/bpf/{name}"
    assert bpf_objects.libbpf().bpf_obj_pin(fd, pin.encode()) == 0
    os.close(fd)
    try:
        with bridge(name):
            hosts.run("tc", "qdisc", "add", "dev", f"{name}brveth1", "clsact")
            program = ("bpf", "direct-action", "object-pinned", pin)
            hosts.run("tc", "filter", "add", "dev", f"{name}brveth1", "ingress", *program)
            (cause,) = between(name, bridge).causes
    finally:
        Path(pin).unlink()
    assert cause.cause == "unknown", cause
    assert cause.remedy == f"see: ebpfnet capture {name}ns1 {name}ns2"
    assert not cause.commands  # --fix would capture for ever


def test_what_a_process_does_with_packets_it_alone_knows(name: str) -> None:
    with ExitStack() as undo:
        for i in ("1", "2"):
            hosts.ip("netns", "add", f"{name}ns{i}")
            undo.callback(hosts.ip, "netns", "del", f"{name}ns{i}")
            type_in(
                """
                ip -n {n}ns{i} tuntap add t0 mode tun
                ip -n {n}ns{i} addr add 10.8.0.{i}/24 dev t0
                ip -n {n}ns{i} link set t0 up
                """,
                n=name,
                i=i,
            )
            reads = (sys.executable, "-c", READS_A_TUN)
            undo.enter_context(hosts.background(*reads, netns=f"{name}ns{i}"))
            carrier = ("-n", f"{name}ns{i}", "link", "show", "t0", "up")
            assert hosts.until(lambda told=carrier: "LOWER_UP" in hosts.ip(*told).stdout)
        (cause,) = between(name, bridge).causes
    assert (cause.cause, cause.where) == ("behind-process", f"t0 in {name}ns1")
    assert f"what {name}ns1 sends to 10.8.0.2 goes to process" in cause.sentence


def test_what_our_program_drops_it_says_itself(name: str) -> None:
    """Behind an endpoint that routes: whoever sends by it has an address that is not its own."""
    inner = f"{name}ns3"
    with endpoints(name), ExitStack() as undo:
        hosts.ip("netns", "add", inner)
        undo.callback(hosts.ip, "netns", "del", inner)
        type_in(
            """
            ip -n {n}ns3 link add eth0 type veth peer name inner netns {n}ns1
            ip -n {n}ns1 addr add 10.4.0.1/24 dev inner
            ip -n {n}ns1 link set inner up
            ip netns exec {n}ns1 sysctl -qw net.ipv4.ip_forward=1
            ip -n {n}ns3 addr add 10.4.0.2/24 dev eth0
            ip -n {n}ns3 link set eth0 up
            ip -n {n}ns3 route add default via 10.4.0.1
            ip -n {n}ns2 route add 10.4.0.0/24 via 10.1.1.2
            """,
            n=name,
        )
        (cause,) = diagnose(names.node(inner), names.node(f"{name}ns2")).causes
    assert cause.cause == "datapath-drop"
    assert f"the program of network {name} dropped" in cause.sentence
    assert "as spoofed-ipv4: their source is no address of the endpoint" in cause.sentence


def test_an_end_that_is_nowhere_to_be_found(name: str) -> None:
    """Its namespace has no name and no process, only somebody who holds it open."""
    with pair(name):
        held = os.open(f"/run/netns/{name}ns1", os.O_RDONLY)
        try:
            hosts.ip("-n", f"{name}ns1", "addr", "flush", "dev", f"{name}veth1")
            hosts.ip("netns", "del", f"{name}ns1")
            hosts.ip("netns", "add", f"{name}ns1")
            hosts.ip("-n", f"{name}ns1", "link", "add", "eth0", "type", "veth", "peer", "name", "x")
            hosts.ip("-n", f"{name}ns1", "addr", "add", "10.1.1.3/24", "dev", "eth0")
            hosts.ip("-n", f"{name}ns1", "link", "set", "eth0", "up")
            hosts.ip("-n", f"{name}ns1", "link", "set", "x", "up")
            found = between(name, pair)
        finally:
            os.close(held)
    assert {cause.cause for cause in found.causes} == {"no-peer", "not-joined"}, found
    assert f"{name}veth0 in {name}ns0 leads nowhere" in found.causes[0].sentence


@contextmanager
def ipv6_alone(n: str) -> Iterator[None]:
    """The bridge's namespaces without IPv4, and fd07::1 at the first."""
    with bridge(n):
        type_in(
            """
            ip -n {n}ns1 -4 addr flush dev {n}veth1
            ip -n {n}ns2 -4 addr flush dev {n}veth2
            ip -n {n}ns1 addr add fd07::1/64 dev {n}veth1 nodad
            ip netns exec {n}ns2 sysctl -qw net.ipv6.conf.{n}veth2.accept_dad=1
            """,
            n=n,
        )
        yield


def test_an_address_that_the_kernel_still_asks_about(name: str) -> None:
    with ipv6_alone(name):
        type_in(
            """
            ip netns exec {n}ns2 sysctl -qw net.ipv6.conf.{n}veth2.dad_transmits=600
            ip -n {n}ns2 addr add fd07::2/64 dev {n}veth2
            """,
            n=name,
        )
        found = between(name, bridge)
    assert {cause.cause for cause in found.causes} == {"tentative-address"}, found
    assert f"fd07::2 of {name}veth2 in {name}ns2 is not used yet" in found.causes[0].sentence


def test_an_address_that_somebody_had_before(name: str) -> None:
    with ipv6_alone(name):
        type_in(
            """
            ip netns exec {n}ns2 sysctl -qw net.ipv6.conf.{n}veth2.dad_transmits=1
            ip -n {n}ns1 addr add fd07::2/64 dev {n}veth1 nodad
            ip -n {n}ns2 addr add fd07::2/64 dev {n}veth2
            """,
            n=name,
        )
        failed = ("-n", f"{name}ns2", "addr", "show", "dadfailed")
        assert hosts.until(lambda: "fd07::2" in hosts.ip(*failed).stdout)
        hosts.ip("-n", f"{name}ns1", "addr", "del", "fd07::2/64", "dev", f"{name}veth1")
        found = between(name, bridge)
    assert {cause.cause for cause in found.causes} == {"dad-failed"}, found
    assert f"fd07::2 of {name}veth2 in {name}ns2 is not used: somebody" in found.causes[0].sentence


def test_a_namespace_to_itself_needs_lo(name: str) -> None:
    with pair(name):
        node = names.node(f"{name}ns0")
        (cause,) = diagnose(node, node).causes
        assert (cause.cause, cause.where) == ("lo-down", f"lo in {name}ns0")
        assert mend(cause)
        assert diagnose(node, node).healthy


@pytest.mark.parametrize(
    ("listen", "cause"),
    [("", "nobody-listens"), ("127.0.0.1", "listens-elsewhere"), ("10.1.0.2", "")],
)
def test_a_port(name: str, listen: str, cause: str) -> None:
    with bridge(name), ExitStack() as stack:
        if listen:
            hosts.ip("-n", f"{name}ns2", "link", "set", "lo", "up")
            server = ("iperf3", "-s", "-B", listen, "-p", "5301")
            stack.enter_context(hosts.background(*server, netns=f"{name}ns2", port=5301))
        nodes = [names.node(f"{name}ns{i}") for i in (1, 2)]
        found = diagnose(*nodes, port=5301)
        assert [each.cause for each in found.causes] == ([cause] if cause else [])
        if not cause:
            dropped = ("-A", "INPUT", "-p", "tcp", "--dport", "5301", "-j", "DROP")
            hosts.run("iptables-legacy", *dropped, netns=f"{name}ns2")
            assert [each.cause for each in diagnose(*nodes, port=5301).causes] == ["firewall"]
            assert diagnose(*nodes).healthy


def test_the_command_says_exits_and_mends(name: str) -> None:
    with bridge(name):
        nodes = (f"{name}ns1", f"{name}ns2")
        assert "nothing is wrong" in hosts.ebpfnet("diagnose", *nodes).stdout
        hosts.ip("-n", nodes[1], "link", "set", f"{name}veth2", "down")
        done = hosts.ebpfnet("diagnose", *nodes, "-o", "json", check=False)
        assert done.returncode == 1
        document = json.loads(done.stdout)
        assert not document["healthy"]
        assert document["causes"] == [
            {
                "cause": "link-down",
                "where": f"{name}veth2 in {name}ns2",
                "sentence": f"{name}veth2 in {name}ns2 is down",
                "remedy": f"ip -n {name}ns2 link set {name}veth2 up",
            }
        ]
        declined = subprocess.run(
            [sys.executable, "-m", "cli", "diagnose", *nodes, "--fix"],
            input="n\n",
            capture_output=True,
            text=True,
            cwd=hosts.CHECKOUT,
            check=False,
        )
        assert declined.returncode == 1
        assert not hosts.ping(nodes[0], "10.1.0.2")
        done = hosts.ebpfnet("diagnose", *nodes, "--fix", "--yes")
        assert f"{nodes[0]} reaches {nodes[1]}" in done.stdout
        assert hosts.ping(nodes[0], "10.1.0.2")


def test_another_address_of_the_receiver(name: str) -> None:
    with bridge(name):
        one, other = f"{name}ns1", f"{name}ns2"
        hosts.ip("-n", other, "addr", "add", "10.5.0.2/24", "dev", f"{name}veth2")
        assert diagnose(names.node(one), names.node(other)).target == "10.1.0.2"
        done = hosts.ebpfnet("diagnose", one, other, "--to", "10.5.0.2", check=False)
        assert f"{one} has no route to 10.5.0.2" in done.stdout
        done = hosts.ebpfnet("diagnose", one, other, "--to", "10.5.0.3", check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"10.5.0.3 is no address of {other}" in done.stderr


def test_an_error_that_a_router_reports_is_not_the_last_word(name: str) -> None:
    """It refuses the first packets: as one that has asked for a neighbour in vain."""
    with routed(name):
        rules = (
            "type filter hook forward priority 0; ip daddr 10.2.2.2 quota until 200 bytes reject"
        )
        ruleset = f"table ip f {{ chain c {{ {rules}; }}; }}"
        hosts.run("nft", "-f", "-", netns=f"{name}r", input=ruleset.replace(";", "\n"))
        with probes.pinging(names.node(f"{name}ns1"), IPv4Address("10.2.2.2")) as answered:
            assert answered(True)
