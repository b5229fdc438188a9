"""Every forwarding mode at every hook carries what a network carries, and nothing has to help."""

import ctypes
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.kernel.test_attach import attached, endpoints
from tests.support import bpf_objects, hosts

Row = dict[str, Any]  # of `ebpfnet endpoint list`

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
EVERY_MODE = pytest.mark.parametrize("mode", ["tc", "tc-peer", "xdp"])
LOOPBACK, BPF_TCX_INGRESS = 1, 46
PORT = 5201
LARGEST_FRAME = 1514  # bytes, at the usual MTU
JUMBO = 9000


@contextmanager
def joined(name: str, way: Sequence[str]) -> Iterator[tuple[Row, Row]]:
    """Two namespaces made and attached; the rows of both. Skips what the kernel says it has not."""
    query = (LOOPBACK, BPF_TCX_INGRESS, 0, None, None, ctypes.byref(ctypes.c_uint32()))
    if "tcx" in way and bpf_objects.libbpf().bpf_prog_query(*query) != 0:
        pytest.skip("this kernel has no tcx")
    with attached(name, f"{name}a", f"{name}b", *way):
        rows = endpoints(name)
        yield rows[f"{name}a"], rows[f"{name}b"]


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


def program_at(row: Row, way: tuple[str, ...]) -> int:
    """The id of the one program at an endpoint's host end, as tools find it."""
    if "clsact" in way:
        said = hosts.run("tc", "filter", "show", "dev", row["host_ifname"], "ingress").stdout
        ids = re.findall(r" direct-action .*\bid (\d+)", said)
    elif "tcx" in way:
        ids = dict(bpf_objects.attached(row["ifindex"]))["tcx ingress"]["programs"].split()
    else:
        ids = re.findall(r"prog/xdp id (\d+)", hosts.ip("link", "show", row["host_ifname"]).stdout)
    (found,) = ids
    return int(found)


@EVERY_WAY
def test_pings_of_every_kind(name: str, way: tuple[str, ...]) -> None:
    with joined(name, way) as (one, other):
        networks = json.loads(hosts.ebpfnet("status", "-o", "json").stdout)
        (status,) = (each for each in networks if each["network"] == name)
        assert (status["mode"], status["hook"]) == (way[1], way[-1])
        assert {each["program_id"] for each in status["endpoints"]} == {program_at(one, way)}

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


@contextmanager
def jumbo(name: str) -> Iterator[tuple[str, str]]:
    """Two namespaces with interfaces made by hand for large frames, joined by nothing."""
    pair = (f"{name}a", f"{name}b")
    with ExitStack() as undo:
        for number, netns in enumerate(pair, 1):
            host_ifname = f"{name}h{number}"
            hosts.ip("netns", "add", netns)
            undo.callback(hosts.ip, "netns", "del", netns)
            veth = ("type", "veth", "peer", "name", "eth0", "mtu", str(JUMBO), "netns", netns)
            hosts.ip("link", "add", host_ifname, "mtu", str(JUMBO), *veth)
            # Or the host itself would speak to the namespace, of its IPv6 address.
            hosts.ip("link", "set", host_ifname, "addrgenmode", "none", "up")
            for address in (f"10.1.0.{number}/24", f"fd00:77::{number}/64"):
                options = ("nodad",) if ":" in address else ()
                hosts.ip("-n", netns, "addr", "add", address, "dev", "eth0", *options)
            hosts.ip("-n", netns, "link", "set", "eth0", "up")
        yield pair


@EVERY_MODE
def test_jumbo_frames_pass(name: str, mode: str) -> None:
    with jumbo(name) as pair, attached(name, *pair, "--mode", mode):
        one, other = (endpoints(name)[netns] for netns in pair)
        for address in ("10.1.0.2", "fd00:77::2"):
            before = packets(name)
            assert ping(one, address, "-M", "do", "-s", "8000")
            assert packets(name) == {n: (rx + 3, tx + 3) for n, (rx, tx) in before.items()}
        assert iperf3(one, other, "-c", "10.1.0.2", "-n", "30M") >= 30 << 20
