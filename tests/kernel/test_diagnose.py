"""diagnose: a lab is broken in one way, and a sentence must say which; healthy ones are healthy."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from datapath import names
from datapath.diagnose import Diagnosis, diagnose
from tests.support import bpf_objects, hosts
from tests.support.kit import attached

BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP = 3, 6
DROP = {  # r0 = TC_ACT_SHOT or XDP_DROP; exit
    BPF_PROG_TYPE_SCHED_CLS: bytes.fromhex("b700000002000000 9500000000000000"),
    BPF_PROG_TYPE_XDP: bytes.fromhex("b700000001000000 9500000000000000"),
}


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


@dataclass(frozen=True, slots=True)
class Fault:
    """Commands that break a lab; what must be found, and part of the sentence."""

    lab: Callable[[str], AbstractContextManager[None]]
    commands: str
    cause: str
    sentence: str


NS1, NS2 = "ip -n {n}ns1", "ip -n {n}ns2"
FAULTS = {
    "sender's interface down": Fault(
        bridge, f"{NS1} link set {{n}}veth1 down", "link-down", "{n}veth1 in {n}ns1 is down"
    ),
    "receiver's interface down": Fault(
        bridge, f"{NS2} link set {{n}}veth2 down", "link-down", "{n}veth2 in {n}ns2 is down"
    ),
    "host end down": Fault(
        bridge, "ip link set {n}brveth2 down", "link-down", "{n}brveth2 in host is down"
    ),
    "bridge down": Fault(bridge, "ip link set {n}br0 down", "link-down", "{n}br0 in host is down"),
    "no address": Fault(
        bridge,
        f"{NS2} addr flush dev {{n}}veth2\nip netns exec {{n}}ns2 sysctl -qw "
        "net.ipv6.conf.{n}veth2.disable_ipv6=1",
        "no-address",
        "{n}ns2 has no IPv4 address",
    ),
    "no interface": Fault(pair, "ip -n {n}ns1 link del {n}veth1", "no-interface", "but lo"),
    "port taken out of the bridge": Fault(
        bridge,
        "ip link set {n}brveth1 nomaster",
        "not-joined",
        "nothing joins {n}ns1 to {n}ns2: {n}brveth1 in host is a port of no bridge",
    ),
    "ports of two bridges": Fault(
        bridge,
        "ip link add {n}br9 type bridge\nip link set {n}br9 up\n"
        "ip link set {n}brveth1 master {n}br9",
        "not-joined",
        "{n}brveth1 in host is a port of {n}br9; {n}ns2 is at {n}brveth2 in host, a port of {n}br0",
    ),
    "port disabled": Fault(
        bridge,
        "bridge link set dev {n}brveth1 state 0",
        "port-not-forwarding",
        "{n}brveth1 in host is in state disabled at {n}br0",
    ),
    "ports isolated": Fault(
        bridge,
        "bridge link set dev {n}brveth1 isolated on\nbridge link set dev {n}brveth2 isolated on",
        "ports-isolated",
        "{n}brveth1 and {n}brveth2 are both isolated",
    ),
    "address twice": Fault(
        bridge,
        f"{NS1} addr add 10.1.0.2/24 dev {{n}}veth1",
        "duplicate-address",
        "10.1.0.2 is an address of {n}ns1 itself",
    ),
    "prefix too long": Fault(
        bridge,
        f"{NS1} addr flush dev {{n}}veth1\n{NS1} addr add 10.1.0.1/32 dev {{n}}veth1",
        "wrong-prefix-length",
        "10.1.0.1/32 of {n}veth1 in {n}ns1 does not cover 10.1.0.2",
    ),
    "other subnet": Fault(
        bridge,
        f"{NS2} addr flush dev {{n}}veth2\n{NS2} addr add 10.9.0.2/24 dev {{n}}veth2",
        "no-route",
        "{n}ns1 has no route to 10.9.0.2",
    ),
    "blackhole": Fault(
        bridge,
        f"{NS1} route add blackhole 10.1.0.2/32",
        "refusing-route",
        "{n}ns1 has a route of type blackhole for 10.1.0.2/32",
    ),
    "prohibited": Fault(
        bridge,
        f"{NS2} route add prohibit 10.1.0.1/32",
        "refusing-route",
        "{n}ns2 has a route of type prohibit for 10.1.0.1/32",
    ),
    "neighbour pinned wrong": Fault(
        bridge,
        f"{NS1} neigh replace 10.1.0.2 lladdr 02:00:00:00:00:99 dev {{n}}veth1 nud permanent",
        "wrong-neighbour",
        "{n}ns1 has 10.1.0.2 pinned to 02:00:00:00:00:99",
    ),
    "ARP off": Fault(
        bridge,
        f"{NS2} link set {{n}}veth2 arp off\n{NS1} neigh flush all",
        "no-arp",
        "{n}veth2 in {n}ns2 has ARP off",
    ),
    "ARP ignored": Fault(
        bridge,
        f"ip netns exec {{n}}ns2 sysctl -qw net.ipv4.conf.all.arp_ignore=8\n{NS1} neigh flush all",
        "arp-ignored",
        "{n}ns2 answers no ARP request: net.ipv4.conf.all.arp_ignore is 8",
    ),
    "echo ignored": Fault(
        bridge,
        "ip netns exec {n}ns2 sysctl -qw net.ipv4.icmp_echo_ignore_all=1",
        "echo-ignored",
        "{n}ns2 answers no ping",
    ),
    "one MAC twice": Fault(
        bridge,
        f"{NS1} link set {{n}}veth1 address 02:00:00:00:00:77\n"
        f"{NS2} link set {{n}}veth2 address 02:00:00:00:00:77",
        "duplicate-mac",
        "have the same MAC 02:00:00:00:00:77",
    ),
    "nft at the sender": Fault(
        bridge,
        "ip netns exec {n}ns1 nft add table ip f\n"
        "ip netns exec {n}ns1 nft 'add chain ip f o {{ type filter hook output priority 0; }}'\n"
        "ip netns exec {n}ns1 nft add rule ip f o ip daddr 10.1.0.0/24 counter drop",
        "firewall",
        "the firewall of {n}ns1 drops what 10.1.0.1 sends to 10.1.0.2 at output, chain ip f o: "
        "ip daddr 10.1.0.0/24",
    ),
    "nft policy at the receiver": Fault(
        bridge,
        "ip netns exec {n}ns2 nft add table inet f\n"
        "ip netns exec {n}ns2 nft 'add chain inet f i "
        "{{ type filter hook input priority 0; policy drop; }}'\n"
        "ip netns exec {n}ns2 nft add rule inet f i tcp dport 22 accept",
        "firewall",
        "at input, chain inet f i: policy drop",
    ),
    "nft in a jump": Fault(
        bridge,
        "ip netns exec {n}ns2 nft add table ip f\n"
        "ip netns exec {n}ns2 nft 'add chain ip f i {{ type filter hook input priority 0; }}'\n"
        "ip netns exec {n}ns2 nft add chain ip f deeper\n"
        "ip netns exec {n}ns2 nft add rule ip f i ip protocol icmp jump deeper\n"
        "ip netns exec {n}ns2 nft add rule ip f deeper ip saddr '{{ 10.1.0.1, 10.1.0.7 }}' reject",
        "firewall",
        "ip saddr {{ 10.1.0.1, 10.1.0.7 }} reject",
    ),
    "legacy rule at the receiver": Fault(
        bridge,
        "ip netns exec {n}ns2 iptables-legacy -A INPUT -s 10.1.0.1 -p icmp -j DROP",
        "firewall",
        "iptables-legacy -t filter -A INPUT -s 10.1.0.1/32 -p icmp -j DROP",
    ),
    "answers dropped": Fault(
        bridge,
        "ip netns exec {n}ns1 iptables-legacy -A INPUT -i {n}veth1 -j DROP",
        "firewall",
        "the firewall of {n}ns1 drops what 10.1.0.2 sends to 10.1.0.1 at input",
    ),
    "FORWARD policy and bridge-nf-call-iptables": Fault(
        bridge,
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1\nnft add table ip {n}f\n"
        "nft 'add chain ip {n}f f {{ type filter hook forward priority 0; policy drop; }}'",
        "bridge-firewall",
        "chain ip {n}f f: policy drop; bridged frames get there since",
    ),
    "router does not forward": Fault(
        routed,
        "ip netns exec {n}r sysctl -qw net.ipv4.ip_forward=0",
        "forwarding-off",
        "{n}r is the router from {n}ns1 to {n}ns2, but does not forward",
    ),
    "no route there": Fault(
        routed, f"{NS1} route del default", "no-route", "{n}ns1 has no route to 10.2.2.2"
    ),
    "no route back": Fault(
        routed, f"{NS2} route del default", "no-route", "{n}ns2 has no route to 10.2.1.2"
    ),
    "gateway that is nobody": Fault(
        routed,
        f"{NS1} route replace default via 10.2.1.9",
        "gateway-unreachable",
        "the gateway 10.2.1.9 of {n}ns1 is nobody's address behind eth0",
    ),
    "router drops": Fault(
        routed,
        "ip netns exec {n}r iptables-legacy -A FORWARD -d 10.2.2.0/24 -j REJECT",
        "firewall",
        "at forward, chain filter FORWARD",
    ),
    "reverse path filter": Fault(
        routed,
        "ip netns exec {n}r sysctl -qw net.ipv4.conf.r1.rp_filter=1\n"
        "ip -n {n}r link add r3 type veth peer name eth1 netns {n}ns1\n"
        "ip -n {n}r addr add 10.2.3.1/24 dev r3\nip -n {n}r link set r3 up\n"
        f"{NS1} addr add 10.2.3.2/24 dev eth1\n{NS1} link set eth1 up\n"
        "ip -n {n}r route add 10.2.1.2/32 via 10.2.3.2 dev r3",
        "reverse-path-filter",
        "{n}r drops what comes in by r1 from 10.2.1.2, since it would answer by r3",
    ),
    "router drops by a prohibiting route": Fault(
        routed,
        "ip -n {n}r route add unreachable 10.2.2.2/32",
        "refusing-route",
        "{n}r has a route of type unreachable for 10.2.2.2/32",
    ),
    "routers that send to each other": Fault(
        routed,
        "ip netns exec {n}ns1 sysctl -qw net.ipv4.ip_forward=1\n"
        "ip -n {n}r route add 10.2.2.2/32 via 10.2.1.2",
        "routing-loop",
        "packets to 10.2.2.2 go from router to router without arriving",
    ),
    "source that the router has, too": Fault(
        routed,
        "ip -n {n}r addr add 10.2.1.2/32 dev r2",
        "duplicate-address",
        "10.2.1.2 is an address of {n}r itself",
    ),
    "route out of another interface": Fault(
        bridge,
        f"{NS1} link add x type veth peer name y\n{NS1} link set x up\n{NS1} link set y up\n"
        f"{NS1} route add 10.1.0.2/32 dev x",
        "wrong-device",
        "{n}ns1 sends packets to 10.1.0.2 out of x, but {n}ns2 is behind {n}veth1",
    ),
    "forwarding entry pinned wrong": Fault(
        bridge,
        f"{NS2} link set {{n}}veth2 address 02:00:00:00:00:02\n"
        "bridge fdb replace 02:00:00:00:00:02 dev {n}brveth1 master static sticky",
        "wrong-fdb-entry",
        "{n}br0 has 02:00:00:00:00:02 of {n}veth2 in {n}ns2 pinned to {n}brveth1",
    ),
    "private macvlan": Fault(
        macvlans,
        f"{NS2} link set eth0 type macvlan mode private",
        "macvlan-mode",
        "eth0 in {n}ns2 is a macvlan in mode private",
    ),
    "frames too long": Fault(
        bridge,
        "ip link set {n}brveth2 mtu 1400",
        "mtu-mismatch",
        "{n}veth1 in {n}ns1 sends packets of up to 1500 bytes, "
        "but {n}brveth2 in host takes 1400: the long ones vanish",
    ),
    "endpoint with another address": Fault(
        endpoints,
        f"{NS1} addr flush dev eth0\n{NS1} addr add 10.1.1.77/24 dev eth0",
        "datapath-entry",
        "network {n}: ",
    ),
    "endpoint's program taken away": Fault(
        endpoints, "rm /sys/fs/bpf/ebpfnet/{n}/links/2", "datapath-entry", "network {n}: links"
    ),
    "checksum offload with XDP": Fault(
        xdp_endpoints,
        "ip netns exec {n}ns1 ethtool -K eth0 tx on\nip -n {n}ns2 link set eth0 down",
        "xdp-offload",
        "eth0 in {n}ns1 has tx-checksum-ip-generic on",
    ),
}


def between(n: str, lab: object) -> Diagnosis:
    first = 0 if lab is pair else 1
    return diagnose(names.node(f"{n}ns{first}"), names.node(f"{n}ns{first + 1}"))


@contextmanager
def restored() -> Iterator[None]:
    """What faults change of the host itself is as before in the end."""
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    before = setting.read_text() if setting.exists() else ""
    try:
        yield
    finally:
        if before:
            setting.write_text(before)
        for line in hosts.run("nft", "list", "tables", "ip").stdout.splitlines():
            if line.endswith("f"):
                hosts.run("nft", "delete", *line.split())
        for link in json.loads(hosts.ip("-j", "link").stdout):
            if link["ifname"].endswith("br9"):
                hosts.ip("link", "del", link["ifname"])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named(name: str, fault: Fault) -> None:
    with restored(), fault.lab(name):
        type_in(fault.commands, n=name)
        found = between(name, fault.lab)
    assert not found.healthy
    named = [cause for cause in found.causes if fault.sentence.format(n=name) in cause.sentence]
    assert named, found
    assert named[0].remedy
    kinds = {cause.cause for cause in found.causes}
    assert kinds == {fault.cause} or fault.lab is xdp_endpoints, found


@pytest.mark.parametrize("lab", [bridge, pair, routed, macvlans, endpoints, xdp_endpoints])
def test_a_healthy_lab_is_healthy(
    name: str, lab: Callable[[str], AbstractContextManager[None]]
) -> None:
    with lab(name):
        found = between(name, lab)
    assert found.healthy, found


def test_two_faults_are_both_found(name: str) -> None:
    with bridge(name):
        type_in(
            "ip link set {n}brveth1 down\n"
            "ip netns exec {n}ns2 iptables-legacy -A INPUT -p icmp -j DROP",
            n=name,
        )
        found = between(name, bridge)
    assert {cause.cause for cause in found.causes} == {"link-down", "firewall"}


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
        hosts.run(*cause.command)
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
        pair = (f"{name}ns1", f"{name}ns2")
        assert "nothing is wrong" in hosts.ebpfnet("diagnose", *pair).stdout
        hosts.ip("-n", pair[1], "link", "set", f"{name}veth2", "down")
        done = hosts.ebpfnet("diagnose", *pair, "-o", "json", check=False)
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
            [sys.executable, "-m", "cli", "diagnose", *pair, "--fix"],
            input="n\n",
            capture_output=True,
            text=True,
            cwd=hosts.CHECKOUT,
            check=False,
        )
        assert declined.returncode == 1
        assert not hosts.ping(*(pair[0], "10.1.0.2"))
        hosts.ebpfnet("diagnose", *pair, "--fix", "--yes", check=False)
        assert hosts.ping(pair[0], "10.1.0.2")
