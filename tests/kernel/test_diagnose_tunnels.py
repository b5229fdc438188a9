"""diagnose in labs with tunnels and proxies: each is broken in one way, named, and mended."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from datapath import names
from datapath.diagnose import Diagnosis, diagnose, mend
from datapath.labs import catalogue, lifecycle, needs, planning
from tests.support import hosts
from tests.support.topologies import type_in

# VXLAN's far end as the lab has it, but for one thing.
VX0_ANEW = (
    "ip -n vxlan-h2 link del vx0\n"
    "ip -n vxlan-h2 link add vx0 mtu 1450 type vxlan {} local 192.168.4.2 nolearning\n"
    "ip -n vxlan-h2 link set vx0 master br0 up\n"
    "bridge -n vxlan-h2 fdb append 02:00:00:00:04:01 dev vx0 dst 192.168.4.1"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks a lab, between which nodes; what is found; whether a command mends it."""

    lab: str
    nodes: tuple[str, str]
    commands: str
    cause: str
    sentence: str
    also: frozenset[str] = frozenset()  # causes that follow from it
    by_hand: bool = False


PODS = ("p1", "p2")
FAULTS = {
    "VXLAN's cable": Fault(
        *("vxlan", PODS, "ip -n vxlan-h2 link set eth0 down", "link-down"),
        "eth0 in vxlan-h2 is down",
    ),
    "VXLAN's far end down": Fault(
        *("vxlan", PODS, "ip -n vxlan-h2 link set vx0 down", "link-down"),
        "vx0 in vxlan-h2 is down",
    ),
    "VXLAN blocked": Fault(
        *("vxlan", PODS),
        "ip netns exec vxlan-h2 iptables-legacy -A INPUT -p udp --dport 4789 -j DROP",
        "firewall",
        "the firewall of vxlan-h2 drops what 192.168.4.1 sends to 192.168.4.2 at input",
    ),
    "MAC forgotten": Fault(
        *("vxlan", PODS),
        "bridge -n vxlan-h1 fdb del 02:00:00:00:04:02 dev vx0 dst 192.168.4.2",
        "vxlan-flooding",
        "vx0 in vxlan-h1 sends what is for everybody, ARP too, to nobody",
    ),
    "MAC at another machine": Fault(
        *("vxlan", PODS),
        "bridge -n vxlan-h1 fdb replace 02:00:00:00:04:02 dev vx0 dst 192.168.4.9",
        "vxlan-destination",
        "vx0 in vxlan-h1 sends what is for 02:00:00:00:04:02 of eth0 in vxlan-p2 to 192.168.4.9, "
        "but it is behind 192.168.4.2 in vxlan-h2",
    ),
    "neighbour forgotten, and nobody floods": Fault(
        *("vxlan", PODS, "ip -n vxlan-p1 neigh del 10.4.0.2 dev eth0", "vxlan-flooding"),
        "vxlan-h2 at 192.168.4.2 never gets it",
    ),
    "one machine missing among those that are flooded": Fault(
        *("vxlan-learning", PODS),
        "bridge -n vxlan-learning-h1 fdb del 00:00:00:00:00:00 dev vx0 dst 192.168.5.2\n"
        "ip -n vxlan-learning-h1 link set vx0 down\nip -n vxlan-learning-p1 neigh flush all\n"
        "ip -n vxlan-learning-h1 link set vx0 up\nip -n vxlan-learning-p2 neigh flush all",
        "vxlan-flooding",
        "ARP too, only to 192.168.5.3: vxlan-learning-h2 at 192.168.5.2 never gets it",
    ),
    "wrong outer source": Fault(
        *("vxlan", PODS),
        "ip -n vxlan-h1 link set vx0 type vxlan id 42 local 192.168.4.77",
        "tunnel-local",
        "vx0 in vxlan-h1 sends from 192.168.4.77, which is no address of vxlan-h1",
    ),
    "another VNI": Fault(
        *("vxlan", PODS, VX0_ANEW.format("id 43 dstport 4789"), "vxlan-id"),
        "vx0 in vxlan-h1 and vx0 in vxlan-h2 are ends of one VXLAN, but with the ids 42 and 43",
    ),
    "another UDP port": Fault(
        *("vxlan", PODS, VX0_ANEW.format("id 42 dstport 8472"), "vxlan-port"),
        "are ends of one VXLAN, but at the UDP ports 4789 and 8472: neither hears the other",
    ),
    "Flannel's cable": Fault(
        *("flannel-vxlan", PODS, "ip -n flannel-vxlan-n2 link set eth0 down", "link-down"),
        "eth0 in flannel-vxlan-n2 is down",
    ),
    "a process's cable": Fault(
        *("flannel-udp", PODS, "ip -n flannel-udp-switch link set n2 down", "link-down"),
        "n2 in flannel-udp-switch is down",
    ),
    "a pod that lost its route as well": Fault(
        *("flannel-udp", PODS, "ip -n flannel-udp-p2 link set eth0 down", "link-down"),
        "eth0 in flannel-udp-p2 is down",
        also=frozenset({"no-route"}),
    ),
    "a process's packets blocked": Fault(
        *("flannel-udp", PODS),
        "ip netns exec flannel-udp-n2 iptables-legacy -A INPUT -p udp --dport 8285 -j DROP",
        "firewall",
        "the firewall of flannel-udp-n2 drops what 192.168.10.1 sends to 192.168.10.2 at input",
    ),
    "a tun that nobody reads": Fault(
        *("flannel-udp", PODS, "end flannel-udp-n2", "no-reader"),
        "no process has the other end of flannel0 in flannel-udp-n2",
        by_hand=True,
    ),
    "a tap that nobody reads": Fault(
        *("tuntap", PODS, "end tuntap-s2", "no-reader"),
        "no process has the other end of tap0 in tuntap-s2",
        by_hand=True,
    ),
    "a router that answers for nobody": Fault(
        *("routed", ("p1", "p3")),
        "ip netns exec routed-n1 sysctl -qw net.ipv4.conf.cali1.proxy_arp=0\n"
        "ip -n routed-p1 neigh flush all",
        "proxy-arp-off",
        "routed-n1 has the route to 10.65.2.2, but does not answer ARP for 169.254.1.1, whom "
        "routed-p1 asks for: net.ipv4.conf.cali1.proxy_arp is 0",
    ),
    "a pod's host route": Fault(
        *("routed", ("p1", "p3"), "ip -n routed-n2 route del 10.65.2.2", "routing-loop"),
        "routed-n2 sends them to 192.168.11.254, but routed-p3 is behind its cali3",
    ),
    "ipip-to-another-machine": Fault(
        *("ipip", PODS),
        "ip -n ipip-n1 link set tunl1 type ipip local 192.168.12.1 remote 192.168.12.9",
        "tunnel-remote",
        "tunl1 in ipip-n1 sends to 192.168.12.9, which is no address of ipip-n2",
    ),
    "ipip-from-another-machine": Fault(
        *("ipip", PODS),
        "ip -n ipip-n1 link set tunl1 type ipip local 192.168.12.8 remote 192.168.12.2",
        "tunnel-local",
        "tunl1 in ipip-n1 sends from 192.168.12.8, which is no address of ipip-n1",
    ),
    "ipip-from-another-address": Fault(
        *("ipip", PODS),
        "ip -n ipip-n1 link set tunl1 type ipip local 10.66.1.1 remote 192.168.12.2",
        "tunnel-local",
        "sends from 10.66.1.1, but tunl1 in ipip-n2 takes only what is from 192.168.12.1",
    ),
    "ipip-blocked": Fault(
        *("ipip", PODS),
        "ip netns exec ipip-n2 iptables-legacy -A INPUT -p 4 -j DROP",
        "firewall",
        "the firewall of ipip-n2 drops what 192.168.12.1 sends to 192.168.12.2 at input",
    ),
    "sub-interface-of-another-vlan": Fault(
        *("vlan-8021q", ("a", "b")),
        "ip -n vlan-8021q-b link del eth0.20\n"
        "ip -n vlan-8021q-b link add link eth0 name eth0.20 type vlan id 21\n"
        "ip -n vlan-8021q-b addr add 10.20.0.2/24 dev eth0.20\n"
        "ip -n vlan-8021q-b link set eth0.20 up\n"
        "ip -n vlan-8021q-b route add default via 10.20.0.1",
        "vlan-mismatch",
        "eth0.20 in vlan-8021q-b is for VLAN 21, but eth0.20 in vlan-8021q-t, which it is to speak",
        also=frozenset({"stale-neighbour"}),  # it has another MAC as well
    ),
}


def between(fault: Fault) -> Diagnosis:
    return diagnose(*(names.node(planning.netns_name(fault.lab, node)) for node in fault.nodes))


def do(commands: str) -> None:
    """As a person types them, and "end NAMESPACE" for the processes that a lab started there."""
    for line in commands.splitlines():
        word, _, netns = line.partition(" ")
        if word != "end":
            type_in(line)
            continue
        for pid in map(int, hosts.ip("netns", "pids", netns).stdout.split()):
            os.kill(pid, signal.SIGKILL)
            assert hosts.until(lambda pid=pid: not Path(f"/proc/{pid}/fd/0").exists())


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_and_its_remedy_mends_it(fault: Fault) -> None:
    declared = catalogue.declared(fault.lab)
    if lacking := needs.missing(declared):
        pytest.skip("; ".join(lacking))
    lifecycle.up(declared)
    try:
        # Until the lab's processes are at work; and what a switch has heard is not asked again.
        assert hosts.until(lambda: between(fault).healthy), between(fault)
        do(fault.commands)
        found = between(fault)
        for cause in found.causes:
            mend(cause)
        again = between(fault)
    finally:
        lifecycle.down(fault.lab)
    assert [cause for cause in found.causes if fault.sentence in cause.sentence], found
    assert {cause.cause for cause in found.causes} == {fault.cause, *fault.also}, found
    assert again.healthy != fault.by_hand, (found, again)
