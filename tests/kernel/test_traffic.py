"""What passes between endpoints frame by frame, what does not, and how either is counted."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.support import bpf_objects, hosts
from tests.support.kit import EVERY_MODE, Row, attached, drops, endpoints, joined
from tests.support.wire import capture, send, silence

ALL_MAC, GROUP_MAC = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb"
STRANGER_MAC = "02:00:00:00:00:99"
VLAN = 7

# skb->vlan_tag = 802.1Q, VLAN (bpf_skb_vlan_push); return TC_ACT_OK.
PUSH_TAG = bytes.fromhex(
    "b702000081000000 b7030000 07000000 85000000 12000000 b700000000000000 9500000000000000"
)
BPF_PROG_TYPE_SCHED_CLS = 3


def to(one: Row, other: Row) -> Packet:
    return Ether(src=one["mac"], dst=other["mac"])


def message(one: Row, other: Row, size: int = 100) -> Packet:
    """What nobody answers, not even to complain: an echo reply that nobody asked for."""
    return IP(src=one["ipv4"], dst=other["ipv4"]) / ICMP(type="echo-reply") / Raw(bytes(size))


@EVERY_MODE
def test_counters_are_exact(name: str, mode: str) -> None:
    with joined(name, ["--mode", mode]) as (one, other):
        assert hosts.ping(one["netns"], other["ipv4"], count=7)
        assert hosts.ping(other["netns"], one["ipv6"], count=5)
        for row in endpoints(name).values():
            assert row["rx_packets"] == row["tx_packets"] == 12
            # 56 bytes of data behind Ethernet, IP and ICMP.
            assert row["rx_bytes"] == row["tx_bytes"] == 7 * 98 + 5 * 118
        details = hosts.ebpfnet("endpoint", "get", one["netns"], "--network", name, "-o", "json")
        assert json.loads(details.stdout)["answers"] >= 2


@EVERY_MODE
def test_vlan_tags_arrive_as_they_were_sent(name: str, mode: str) -> None:
    with joined(name, ["--mode", mode]) as (one, other), capture(other) as arrived:
        ipv6 = IPv6(src=one["ipv6"], dst=other["ipv6"]) / UDP(sport=9, dport=9)
        sent = [
            to(one, other) / Dot1Q(vlan=VLAN, prio=5) / message(one, other),
            to(one, other) / Dot1Q(vlan=4094) / ipv6,
            to(one, other) / Dot1AD(vlan=100) / Dot1Q(vlan=VLAN) / message(one, other),
            to(one, other) / message(one, other),
        ]
        send(one, *sent)
        assert arrived(len(sent)) == [bytes(frame) for frame in sent]
        assert {row["rx_packets"] for row in endpoints(name).values()} == {0, len(sent)}


@EVERY_MODE
def test_a_tag_beside_the_frame_arrives_in_it(name: str, mode: str) -> None:
    """A VLAN interface does not write its tag: it leaves that to the interface below."""
    pin = Path(f"/sys/fs/bpf/{name}push")
    fd = bpf_objects.libbpf().bpf_prog_load(
        BPF_PROG_TYPE_SCHED_CLS, b"ebt_push", b"GPL", PUSH_TAG, len(PUSH_TAG) // 8, None
    )
    assert fd >= 0
    assert bpf_objects.libbpf().bpf_obj_pin(fd, bytes(pin)) == 0
    os.close(fd)
    try:
        with joined(name, ["--mode", mode]) as (one, other), capture(other) as arrived:
            # The tool for namespaces would hide the pin: it mounts another /sys.
            inside = ("nsenter", f"--net=/run/netns/{one['netns']}", "tc")
            hosts.run(*inside, "qdisc", "add", "dev", "eth0", "clsact")
            add = ("filter", "add", "dev", "eth0", "egress", "bpf", "direct-action")
            hosts.run(*inside, *add, "object-pinned", str(pin))
            send(one, to(one, other) / message(one, other))
            tagged = to(one, other) / Dot1Q(vlan=VLAN) / message(one, other)
            assert arrived(1) == [bytes(tagged)]
    finally:
        pin.unlink()


@EVERY_MODE
def test_headers_beyond_the_linear_part_are_read(name: str, mode: str) -> None:
    with hosts.jumbo_by_hand(name) as made, attached(name, *made.namespaces, "--mode", mode):
        one, other = (endpoints(name)[netns] for netns in made.namespaces)
        silence(one, other)
        with capture(other) as arrived:
            sent = to(one, other) / message(one, other, size=hosts.JUMBO - 28)
            send(one, sent)
            assert arrived(1) == [bytes(sent)]


def unwanted(one: Row, other: Row) -> Iterator[tuple[str, Packet]]:
    """Frames that `one` may not send, or that go nowhere, each under its reason."""
    ours, nobody, nobody6 = to(one, other), "10.1.1.99", "fd00::99"
    data = UDP(sport=9, dport=9) / Raw(bytes(20))
    good = message(one, other)
    request = {"op": 1, "hwsrc": one["mac"], "psrc": one["ipv4"], "pdst": other["ipv4"]}
    everybody = Ether(src=one["mac"], dst=ALL_MAC)
    asking = IPv6(src=one["ipv6"], dst=other["ipv6"], hlim=255)
    own_mac = ICMPv6NDOptSrcLLAddr(lladdr=one["mac"])

    yield "spoofed-mac", Ether(src=STRANGER_MAC, dst=other["mac"]) / good
    yield "spoofed-mac", Ether(src=other["mac"], dst=other["mac"]) / good
    yield "spoofed-ipv4", ours / IP(src=nobody, dst=other["ipv4"]) / data
    yield "spoofed-ipv4", ours / IP(src=other["ipv4"], dst=other["ipv4"]) / data
    yield "spoofed-ipv4", ours / Dot1Q(vlan=VLAN) / IP(src=nobody, dst=other["ipv4"]) / data
    yield "spoofed-ipv6", ours / IPv6(src=nobody6, dst=other["ipv6"]) / data
    yield "spoofed-arp", everybody / ARP(**{**request, "psrc": nobody})
    yield "spoofed-arp", everybody / ARP(**{**request, "hwsrc": STRANGER_MAC})
    yield "spoofed-arp", ours / ARP(**{**request, "op": 2, "psrc": "10.1.1.1"})
    yield (
        "spoofed-nd",
        ours / asking / ICMPv6ND_NS(tgt=other["ipv6"]) / ICMPv6NDOptSrcLLAddr(lladdr=STRANGER_MAC),
    )
    yield "broadcast", everybody / IP(src=one["ipv4"], dst="255.255.255.255") / data
    yield (
        "multicast",
        Ether(src=one["mac"], dst=GROUP_MAC) / IP(src=one["ipv4"], dst="224.0.0.251") / data,
    )
    yield (
        "multicast",
        Ether(src=one["mac"], dst="33:33:00:00:00:01")
        / IPv6(src=one["ipv6"], dst="ff02::1")
        / data,
    )
    yield "unknown-destination", ours / IP(src=one["ipv4"], dst=nobody) / data
    yield "unknown-destination", everybody / ARP(**{**request, "pdst": nobody})
    yield "unknown-destination", ours / asking / ICMPv6ND_NS(tgt=nobody6) / own_mac
    yield "arp-unanswered", everybody / ARP(**{**request, "op": 2})
    yield "arp-unanswered", everybody / ARP(**{**request, "pdst": one["ipv4"]})
    yield "nd-unanswered", ours / asking / ICMPv6ND_NA(tgt=one["ipv6"])
    yield "nd-unanswered", ours / asking / ICMPv6ND_RS() / own_mac
    yield "unsupported-protocol", Ether(src=one["mac"], dst=other["mac"], type=0x88CC) / Raw(b"x")
    headers: Packet = IPv6(src=one["ipv6"], dst=other["ipv6"])
    for _ in range(5):
        headers = headers / IPv6ExtHdrHopByHop()
    yield "ipv6-extensions", ours / headers / data
    yield "vlan-depth", ours / Dot1AD() / Dot1Q() / Dot1Q() / good
    yield "truncated", Raw(bytes(ours / good)[: 14 + 19])
    yield "truncated", Raw(bytes(ours / asking)[: 14 + 39])


@EVERY_MODE
def test_what_may_not_pass_is_counted_under_its_reason(name: str, mode: str) -> None:
    with joined(name, ["--mode", mode]) as (one, other):
        silence(one, other)
        frames = list(unwanted(one, other))
        last = to(one, other) / message(one, other)
        before, dropped = drops(name), endpoints(name)[one["netns"]]["drops"]
        with capture(other) as arrived:
            send(one, *(frame for _, frame in frames), last)
            assert arrived(1) == [bytes(last)]
        counted = drops(name)
        expected = dict(before)
        for reason, _ in frames:
            expected[reason] = expected.get(reason, 0) + 1
        assert counted == expected
        row = endpoints(name)[one["netns"]]
        assert (row["drops"], row["tx_packets"]) == (dropped + len(frames), 1)
