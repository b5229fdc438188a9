"""Every forwarding mode at every hook carries what a network carries, and nothing has to help."""

import json

import pytest

from datapath import modes
from tests.support import hosts
from tests.support.kit import (
    EVERY_MODE,
    Row,
    attached,
    endpoints,
    joined,
    made_network,
    program_at,
    status,
)

EVERY_WAY = pytest.mark.parametrize(
    "way",
    [
        ("--mode", "tc", "--hook", "tcx"),
        ("--mode", "tc", "--hook", "clsact"),
        ("--mode", "tc-peer", "--hook", "tcx"),
        ("--mode", "tc-peer", "--hook", "clsact"),
        ("--mode", "xdp"),
    ],
    ids=lambda way: "-".join(way[1::2]),
)
PORT = 5201
LARGEST_FRAME = 1514  # bytes, at the usual MTU


def ping(one: Row, address: str, *options: str) -> bool:
    """Whether each of three echo requests with these options is answered."""
    done = hosts.run(
        *("ping", "-n", "-c", "3", "-i", "0.05", "-W", "1", *options, address),
        netns=one["netns"],
        check=False,
    )
    return " 3 received" in done.stdout


def packets(name: str) -> dict[str, tuple[int, int]]:
    """How many each endpoint was sent and sent."""
    return {n: (row["rx_packets"], row["tx_packets"]) for n, row in endpoints(name).items()}


def iperf3(one: Row, other: Row, *options: str) -> int:
    """Bytes that a run over TCP sent."""
    with hosts.background("iperf3", "-s", "-1", netns=other["netns"], port=PORT):
        done = hosts.run("iperf3", "-J", *options, netns=one["netns"])
    return int(json.loads(done.stdout)["end"]["sum_sent"]["bytes"])


@EVERY_WAY
def test_pings_of_every_kind(name: str, way: tuple[str, ...]) -> None:
    with joined(name, way) as (one, other):
        network = status(name)
        assert (network["mode"], network["hook"]) == (way[1], way[-1])
        assert {each["program_id"] for each in network["endpoints"]} == {program_at(one, way)}

        # Nobody is known as a neighbour until the datapath answers for him.
        show = ("-n", one["netns"], "-j", "neigh", "show", "dev", "eth0")
        for address in (other["ipv4"], other["ipv6"]):
            assert address not in hosts.ip(*show).stdout
            assert ping(one, address)
        known = {row["dst"]: row["lladdr"] for row in json.loads(hosts.ip(*show).stdout)}
        assert known[other["ipv4"]] == known[other["ipv6"]] == other["mac"]
        said = hosts.run("arping", "-c", "1", "-i", "eth0", other["ipv4"], netns=one["netns"])
        assert f"from {other['mac']}" in said.stdout.lower()

        # Each echo comes in three fragments, and so does its answer.
        for address in (other["ipv4"], other["ipv6"]):
            before = packets(name)
            assert ping(one, address, "-s", "4000")
            assert packets(name) == {n: (rx + 9, tx + 9) for n, (rx, tx) in before.items()}


@EVERY_WAY
def test_tcp_both_ways(name: str, way: tuple[str, ...]) -> None:
    amount = 30 << 20
    with joined(name, way) as (one, other):
        for address in (other["ipv4"], other["ipv6"]):
            assert iperf3(one, other, "-c", address, "-n", str(amount)) >= amount
        assert iperf3(one, other, "-c", other["ipv4"], "-n", str(amount), "-R") >= amount
        for row in endpoints(name).values():
            mean = row["tx_bytes"] / row["tx_packets"]
            # Super-packets of 64 KiB are one packet; XDP lets TCP have none.
            if "xdp" in way:
                assert mean <= LARGEST_FRAME
            else:
                assert mean > 3 * LARGEST_FRAME


@EVERY_MODE
def test_jumbo_frames_pass(name: str, mode: str) -> None:
    with hosts.jumbo_by_hand(name) as made, attached(name, *made.namespaces, "--mode", mode):
        one, other = (endpoints(name)[netns] for netns in made.namespaces)
        for address in ("10.1.0.2", "fd00:77::2"):
            before = packets(name)
            assert ping(one, address, "-M", "do", "-s", "8000")
            assert packets(name) == {n: (rx + 3, tx + 3) for n, (rx, tx) in before.items()}
        assert iperf3(one, other, "-c", "10.1.0.2", "-n", "30M") >= 30 << 20


@pytest.mark.parametrize("mode", ["tc", "tc-peer", "xdp", "sockmap", "netkit"])
def test_what_is_for_no_endpoint_is_left_to_a_bridge(name: str, mode: str) -> None:
    if missing := modes.get(mode).missing():
        pytest.skip(f"this kernel lacks {missing}")
    bridge, gateway = f"{name}br", "10.1.1.254"
    with made_network(name, "--mode", mode, "--otherwise", "kernel") as (one, other):
        assert hosts.ping(one, "10.1.1.3", count=3)
        assert not hosts.ping(one, gateway)
        hosts.ip("link", "add", bridge, "type", "bridge")
        try:
            hosts.ip("addr", "add", f"{gateway}/24", "dev", bridge)
            hosts.ip("link", "set", bridge, "up")
            for row in endpoints(name).values():
                hosts.ip("link", "set", row["host_ifname"], "master", bridge)
            before = endpoints(name)
            for netns in (one, other):
                assert hosts.ping(netns, gateway, count=3)
            assert hosts.ping(other, "10.1.1.2", count=3)
            for netns, row in endpoints(name).items():
                # The kernel's own announcements are left to it as well.
                assert row["left"] >= before[netns]["left"] + 3
                assert (row["tx_packets"], row["rx_packets"], row["drops"]) == (6, 6, 0)
        finally:
            hosts.ip("link", "del", bridge)
