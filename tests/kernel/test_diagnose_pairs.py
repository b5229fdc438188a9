"""diagnose where two things are wrong: both are named at once, though one hides the other."""

import pytest

from tests.kernel.test_diagnose_faults import restored
from tests.support.topologies import Topology, between, bridge, mended, routed, type_in

PAIRS: dict[str, tuple[Topology, str, set[str]]] = {
    "the kernel's drop and a rule": (
        bridge,
        "ip link set {n}brveth1 down\n"
        "ip netns exec {n}ns2 iptables-legacy -A INPUT -p icmp -j DROP",
        {"link-down", "firewall"},
    ),
    "a bridge down, and not joined to it": (
        bridge,
        "ip link set {n}br0 down\nip link set {n}brveth2 nomaster",
        {"link-down", "not-joined"},
    ),
    "not joined, and deaf": (
        bridge,
        "ip link set {n}brveth2 nomaster\n"
        "ip netns exec {n}ns2 sysctl -qw net.ipv4.conf.all.arp_ignore=8\n"
        "ip -n {n}ns1 neigh flush all",
        {"not-joined", "arp-ignored"},
    ),
    "no address, and no ARP": (
        bridge,
        "ip -n {n}ns2 addr flush dev {n}veth2\nip -n {n}ns2 link set {n}veth2 arp off",
        {"no-address", "no-arp"},
    ),
    "one address for both, and a port that is down": (
        bridge,
        "ip -n {n}ns2 addr flush dev {n}veth2\nip -n {n}ns2 addr add 10.1.0.1/24 dev {n}veth2\n"
        "ip link set {n}brveth2 down",
        {"duplicate-address", "link-down"},
    ),
    "out of the wrong interface, and two bridges": (
        bridge,
        "ip -n {n}ns1 link add x type veth peer name y\nip -n {n}ns1 link set x up\n"
        "ip -n {n}ns1 link set y up\nip -n {n}ns1 route add 10.1.0.2/32 dev x\n"
        "ip link set {n}brveth1 nomaster",
        {"wrong-device", "not-joined"},
    ),
    "a gateway's bridge that has lost a port, and does not forward": (
        bridge,
        "sysctl -qw net.ipv4.ip_forward=0\n"
        "ip addr add 10.1.0.254/24 dev {n}br0\nip addr add 10.6.0.1/24 dev {n}br0\n"
        "ip -n {n}ns2 addr flush dev {n}veth2\nip -n {n}ns2 addr add 10.6.0.2/24 dev {n}veth2\n"
        "ip -n {n}ns1 route add default via 10.1.0.254\n"
        "ip -n {n}ns2 route add default via 10.6.0.1\nip link set {n}brveth1 nomaster",
        {"not-joined", "forwarding-off"},
    ),
    "a prefix too long, and not joined": (
        bridge,
        "ip -n {n}ns1 addr flush dev {n}veth1\nip -n {n}ns1 addr add 10.1.0.1/32 dev {n}veth1\n"
        "ip link set {n}brveth1 nomaster",
        {"wrong-prefix-length", "not-joined"},
    ),
    "the receiver's address at a sender that knows no subnet": (
        bridge,
        "ip -n {n}ns1 link set lo up\nip -n {n}ns1 addr flush dev {n}veth1\n"
        "ip -n {n}ns1 addr add 10.1.0.1/32 dev {n}veth1\n"
        "ip -n {n}ns1 addr add 10.1.0.2/24 dev {n}veth1\nip link set {n}br0 down",
        {"duplicate-address", "link-down"},
    ),
    "no route to a router, which does not forward": (
        routed,
        "ip -n {n}ns1 route del default\nip netns exec {n}r sysctl -qw net.ipv4.ip_forward=0",
        {"no-route", "forwarding-off"},
    ),
    "a gateway that is nobody, and a router that refuses": (
        routed,
        "ip -n {n}ns1 route replace default via 10.2.1.9\n"
        "ip -n {n}r route add unreachable 10.2.2.2/32",
        {"gateway-unreachable", "refusing-route"},
    ),
}


def test_two_firewalls_at_one_place_are_both_found(name: str) -> None:
    with bridge(name):
        type_in(
            """
            ip netns exec {n}ns2 nft add table inet f
            ip netns exec {n}ns2 nft 'add chain inet f i \
                {{ type filter hook input priority 0; policy drop; }}'
            ip netns exec {n}ns2 iptables-legacy -A INPUT -p icmp -j DROP
            """,
            n=name,
        )
        found = between(name, bridge)
        assert mended(name, bridge, found).healthy
    assert [cause.where for cause in found.causes] == [
        f"input in {name}ns2, chain inet f i",
        f"input in {name}ns2, chain filter INPUT",
    ]


@pytest.mark.parametrize(("lab", "commands", "causes"), PAIRS.values(), ids=PAIRS.keys())
def test_two_faults_are_both_found(
    name: str, lab: Topology, commands: str, causes: set[str]
) -> None:
    with restored(), lab(name):
        type_in(commands, n=name)
        found = between(name, lab)
        again = mended(name, lab, found)
    assert {cause.cause for cause in found.causes} == causes, found
    assert again.healthy, (found, again)
