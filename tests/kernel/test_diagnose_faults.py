"""diagnose: a topology is broken in one way, a sentence says which, and its remedy mends it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.topologies import (
    Topology,
    between,
    bridge,
    endpoints,
    macvlans,
    mended,
    pair,
    routed,
    two_routers,
    type_in,
    xdp_endpoints,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Commands that break a lab; what must be found, and part of the sentence."""

    lab: Topology
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
    "receiver's port taken out of the bridge": Fault(
        bridge,
        "ip link set {n}brveth2 nomaster",
        "not-joined",
        "{n}brveth1 in host is a port of {n}br0; {n}ns2 is at {n}brveth2 in host",
    ),
    "an end of a pair that was never moved": Fault(
        pair,
        "ip -n {n}ns1 link del {n}veth1\n"
        "ip link add {n}veth1 type veth peer name {n}veth0 netns {n}ns0\n"
        "ip -n {n}ns0 addr add 10.1.1.2/24 dev {n}veth0\nip -n {n}ns0 link set {n}veth0 up",
        "no-interface",
        "{n}veth1 in host, the other end of {n}veth0 in {n}ns0, is nobody's",
    ),
    "one address for both": Fault(
        bridge,
        f"{NS2} addr flush dev {{n}}veth2\n{NS2} addr add 10.1.0.1/24 dev {{n}}veth2",
        "duplicate-address",
        "10.1.0.1 is an address of {n}ns1 and of {n}ns2",
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
    "neighbour with another MAC by now": Fault(
        bridge,
        "ip netns exec {n}ns1 ping -nqc1 10.1.0.2\n"
        f"{NS2} link set {{n}}veth2 address 02:00:00:00:00:66",
        "stale-neighbour",
        "{n}veth2 in {n}ns2 is 02:00:00:00:00:66",
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
    "router drops after routing": Fault(
        routed,
        "ip netns exec {n}r nft add table ip f\n"
        "ip netns exec {n}r nft 'add chain ip f p {{ type filter hook postrouting priority 0; }}'\n"
        "ip netns exec {n}r nft add rule ip f p oifname r2 drop",
        "firewall",
        "the firewall of {n}r drops what 10.2.1.2 sends to 10.2.2.2 at postrouting, chain ip f p",
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
    "router forwards, but another switch of it is loose": Fault(
        routed,
        "ip netns exec {n}r sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.r1.rp_filter=2\n"
        "ip -n {n}r link add r3 type veth peer name eth1 netns {n}ns1\n"
        "ip -n {n}r addr add 10.2.3.1/24 dev r3\nip -n {n}r link set r3 up\n"
        f"{NS1} addr add 10.2.3.2/24 dev eth1\n{NS1} link set eth1 up\n"
        "ip -n {n}r route add 10.2.1.2/32 via 10.2.3.2 dev r3\n"
        "ip netns exec {n}r sysctl -qw net.ipv4.conf.r1.forwarding=0 net.ipv4.ip_forward=0",
        "forwarding-off",
        "does not forward what comes in by r1",
    ),
    "routers that send to each other": Fault(
        routed,
        "ip netns exec {n}ns1 sysctl -qw net.ipv4.ip_forward=1\n"
        "ip -n {n}r route add 10.2.2.2/32 via 10.2.1.2",
        "routing-loop",
        "packets to 10.2.2.2 go from router to router without arriving: {n}r sends them to "
        "10.2.1.2, but {n}ns2 is behind its r2",
    ),
    "source that a router has, too, by which answers do not come": Fault(
        two_routers,
        "ip -n {n}r addr add 10.2.1.2/32 dev lo",
        "local-source",
        "10.2.1.2 of {n}ns1 is an address of {n}r too, which drops packets from itself",
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
    "address twice, and lo up": Fault(
        bridge,
        f"{NS1} link set lo up\n{NS1} addr add 10.1.0.2/24 dev {{n}}veth1",
        "duplicate-address",
        "10.1.0.2 is an address of {n}ns1 itself",
    ),
    "address of a third, too, who answers": Fault(
        bridge,
        "ip addr add 10.1.0.2/24 dev {n}br0",
        "duplicate-address",
        "10.1.0.2 is an address of {n}br0 in host and of {n}veth2 in {n}ns2",
    ),
    "route of the subnet deleted": Fault(
        bridge,
        f"{NS1} route del 10.1.0.0/24 dev {{n}}veth1",
        "no-route",
        "{n}ns1 has no route to 10.1.0.2",
    ),
    "gateway where none is needed": Fault(
        bridge,
        f"{NS1} route add 10.1.0.2/32 via 10.1.0.99",
        "gateway-unreachable",
        "the gateway 10.1.0.99 of {n}ns1 is nobody's address behind {n}veth1",
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
    "endpoint's entry deleted": Fault(
        endpoints,
        "bpftool map delete pinned /sys/fs/bpf/ebpfnet/{n}/maps/endpoints_v4 key 10 1 1 3",
        "datapath-entry",
        "network {n}: endpoints_v4 10.1.1.3",
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


@contextmanager
def restored() -> Iterator[None]:
    """What faults change of the host itself is as before in the end."""
    settings = [
        Path("/proc/sys/net", name)
        for name in ("bridge/bridge-nf-call-iptables", "ipv4/ip_forward")
    ]
    before = {setting: setting.read_text() for setting in settings if setting.exists()}
    try:
        yield
    finally:
        for setting, value in before.items():
            setting.write_text(value)
        if Path("/sys/fs/bpf/ebpfnet/default").exists():  # a remedy
            hosts.ebpfnet("detach")
        for line in hosts.run("nft", "list", "tables", "ip").stdout.splitlines():
            if line.endswith("f"):
                hosts.run("nft", "delete", *line.split())
        for link in json.loads(hosts.ip("-j", "link").stdout):
            if link["ifname"].endswith("br9"):
                hosts.ip("link", "del", link["ifname"])


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_and_its_remedy_mends_it(name: str, fault: Fault) -> None:
    with restored(), fault.lab(name):
        type_in(fault.commands, n=name)
        found = between(name, fault.lab)
        again = mended(name, fault.lab, found)
    assert not found.healthy
    named = [cause for cause in found.causes if fault.sentence.format(n=name) in cause.sentence]
    assert named, found
    kinds = {cause.cause for cause in found.causes}
    assert kinds == {fault.cause} or fault.lab is xdp_endpoints, found
    assert again.healthy, (found, again)


@pytest.mark.parametrize(
    "lab", [bridge, pair, routed, two_routers, macvlans, endpoints, xdp_endpoints]
)
def test_a_healthy_lab_is_healthy(name: str, lab: Topology) -> None:
    with lab(name):
        found = between(name, lab)
    assert found.healthy, found
