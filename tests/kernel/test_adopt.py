"""Adoption: what was joined by hand goes by eBPF until it is detached, and is then as it was."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import bpf_objects, hosts, inventory
from tests.support.hosts import ByHand, addresses, no_ping_lost, settle
from tests.support.kit import EVERY_MODE, attached, drops, endpoints, status

PORT = 5201

# r0 = -1 (TC_ACT_UNSPEC): the next program decides.
GO_ON = bytes.fromhex("b7000000ffffffff 9500000000000000")
BPF_PROG_TYPE_SCHED_CLS = 3


@pytest.fixture
def bridged(name: str) -> Iterator[ByHand]:
    """The notes' bridge with two namespaces."""
    with hosts.bridge_by_hand(name) as made:
        settle(*made.namespaces, here=(made.bridge, *made.host_ifnames))
        yield made


def link_local(netns: str, ifname: str) -> str:
    return next(a for a in addresses(netns, ifname) if a.startswith("fe80")).partition("/")[0]


def inside(made: ByHand) -> list[Any]:
    """Names, MACs and addresses in the namespaces, as `ip` lists them."""
    kept = ("ifname", "ifindex", "address", "mtu", "addr_info")
    return [
        {key: link[key] for key in kept}
        for netns in made.namespaces
        for link in json.loads(hosts.ip("-n", netns, "-j", "addr").stdout)
    ]


def ports(made: ByHand) -> tuple[list[Any], list[Any]]:
    """All that `bridge` and `ip` have to say of the bridge's ports, apart from running timers."""
    rows = json.loads(hosts.run("bridge", "-j", "-d", "link").stdout)
    links = [json.loads(hosts.ip("-j", "-d", "link", "show", e).stdout) for e in made.host_ifnames]
    timers = re.compile(r'"\w+_timer": [\d.]+')
    return (
        [row for row in rows if row["ifname"] in made.host_ifnames],
        [timers.sub("", json.dumps(link)) for link in links],
    )


def bridge_link(made: ByHand) -> list[str]:
    """The bridge's ports by the plain words of `bridge link`."""
    lines = hosts.run("bridge", "link").stdout.splitlines()
    return [line for line in lines if f"master {made.bridge} " in line]


# One end receives and answers with the digest of what it got, the other sends and compares.
RECEIVE = f"""
import hashlib, socket
with socket.create_server(("0.0.0.0", {PORT})) as server:
    connection, _ = server.accept()
    digest = hashlib.sha256()
    while chunk := connection.recv(1 << 20):
        digest.update(chunk)
    connection.sendall(digest.digest())
"""
SEND = f"""
import hashlib, os, socket, sys
digest = hashlib.sha256()
with socket.create_connection((sys.argv[1], {PORT})) as connection:
    for _ in range(100):
        chunk = os.urandom(1_000_000)
        digest.update(chunk)
        connection.sendall(chunk)
    connection.shutdown(socket.SHUT_WR)
    print(connection.recv(32, socket.MSG_WAITALL) == digest.digest())
"""


def transfer(made: ByHand) -> bool:
    """Whether 100 MB come out of a TCP connection as they went in."""
    one, other = made.namespaces
    with hosts.background(sys.executable, "-c", RECEIVE, netns=other, port=PORT):
        done = hosts.run(sys.executable, "-c", SEND, made.addresses[1], netns=one)
    return done.stdout == "True\n"


def iperf3(made: ByHand, *options: str) -> dict[str, Any]:
    """What the client reports at the end of a run that sends from the first to the second."""
    one, other = made.namespaces
    with hosts.background("iperf3", "-s", "-1", netns=other, port=PORT):
        done = hosts.run("iperf3", "-c", made.addresses[1], "-J", *options, netns=one)
    return dict(json.loads(done.stdout)["end"])


@EVERY_MODE
def test_namespaces_on_a_bridge_go_by_ebpf_and_back(name: str, bridged: ByHand, mode: str) -> None:
    one, other = bridged.namespaces
    far = link_local(other, bridged.ifnames[1])
    assert hosts.ping(one, bridged.addresses[1], count=3)
    assert len(bridge_link(bridged)) == 2
    before, was_inside, were_ports = inventory.take(), inside(bridged), ports(bridged)

    with attached(name, *bridged.namespaces, "--mode", mode) as rows:
        assert bridge_link(bridged) == []
        assert inside(bridged) == was_inside
        for netns, ifname, host_ifname, ipv4 in zip(
            *(bridged.namespaces, bridged.ifnames, bridged.host_ifnames, bridged.addresses),
            strict=True,
        ):
            row = rows[netns]
            assert row["interface"] == "adopted"
            assert (row["ifname"], row["host_ifname"], row["ipv4"]) == (ifname, host_ifname, ipv4)
        assert hosts.ping(one, bridged.addresses[1], count=3)
        assert hosts.ping(other, bridged.addresses[0], count=3)
        assert hosts.ping(one, f"{far}%{bridged.ifnames[0]}", count=3)
        assert {row["tx_packets"] for row in endpoints(name).values()} == {9}

        assert iperf3(bridged, "-n", "20M")["sum_sent"]["bytes"] >= 20 << 20
        datagrams = iperf3(bridged, "-u", "-b", "4M", "-n", "200K", "-l", "1000")["sum"]
        assert datagrams["packets"] > 100
        assert datagrams["lost_packets"] == 0
        assert transfer(bridged)
        assert endpoints(name)[other]["rx_bytes"] > 100_000_000

        hosts.ebpfnet("detach", "--network", name)
        assert ports(bridged) == were_ports
        assert len(bridge_link(bridged)) == 2
        assert inventory.left_behind(before) == []
        assert hosts.ping(one, bridged.addresses[1], count=3)
        assert hosts.ping(other, f"{link_local(one, bridged.ifnames[0])}%{bridged.ifnames[1]}")


@pytest.mark.parametrize(
    "options", [("--hook", "tcx"), ("--mode", "tc", "--hook", "clsact"), ("--mode", "xdp")]
)
def test_beside_its_bridge_a_namespace_reaches_the_rest_as_before(
    name: str, bridged: ByHand, options: tuple[str, ...]
) -> None:
    one, other = bridged.namespaces
    gateway = "10.1.0.254"
    hosts.ip("addr", "add", f"{gateway}/24", "dev", bridged.bridge)
    before, was_port = inventory.take(), bridge_link(bridged)

    with attached(name, *bridged.namespaces, "--otherwise", "kernel", *options):
        assert bridge_link(bridged) == was_port
        assert hosts.ping(one, bridged.addresses[1], count=3)
        rows = endpoints(name)
        assert (rows[one]["tx_packets"], rows[other]["rx_packets"]) == (3, 3)

        left = rows[one]["left"]
        assert hosts.ping(one, gateway, count=3)  # nobody's: by the bridge, there and back
        row = endpoints(name)[one]
        assert row["left"] >= left + 3
        assert (row["tx_packets"], row["drops"]) == (3, 0)
        network = status(name)
        assert (network["otherwise"], network["drops"]) == ("kernel", {})
        hosts.ebpfnet("attach", one, "--network", name)  # as it is
        again = hosts.ebpfnet("attach", one, "--network", name, "--otherwise", "drop", check=False)
        assert f"network {name} has otherwise kernel already" in again.stderr

        hosts.ebpfnet("detach", "--network", name)
        assert inventory.left_behind(before) == []
        assert hosts.ping(one, bridged.addresses[1], count=3)
        assert hosts.ping(one, gateway)


@pytest.mark.parametrize("options", [("--hook", "tcx"), ("--hook", "clsact"), ("--mode", "xdp")])
def test_no_packet_is_lost_on_the_way_to_ebpf_and_back(
    name: str, bridged: ByHand, options: tuple[str, ...]
) -> None:
    one, other = bridged.namespaces
    if "clsact" in options:
        # The kernel drops what an interface sends while a qdisc comes or goes, whoever makes it.
        for host_ifname in bridged.host_ifnames:
            hosts.run("tc", "qdisc", "add", "dev", host_ifname, "clsact")
    with no_ping_lost(one, bridged.addresses[1]):
        with attached(name, one, other, *options):
            # MLD reports and router solicitations come when they will.
            assert drops(name).keys() <= {"multicast", "nd-unanswered"}
            assert endpoints(name)[one]["rx_packets"] > 0
        assert len(bridge_link(bridged)) == 2


def test_ports_get_back_what_a_person_had_set(name: str, bridged: ByHand) -> None:
    first, second = bridged.host_ifnames
    for line in (
        f"bridge link set dev {first} cost 7 priority 9 learning off flood off",
        f"bridge link set dev {second} isolated on hairpin on",
        f"bridge fdb add 02:00:00:00:00:77 dev {second} master static",
    ):
        hosts.run(*line.split())
    before, were_ports = inventory.take(), ports(bridged)
    with attached(name, *bridged.namespaces):
        assert hosts.ping(bridged.namespaces[0], bridged.addresses[1], count=3)
        # One after the other, as they were plugged in: the kernel numbers ports anew each time.
        for netns in bridged.namespaces:
            hosts.ebpfnet("detach", netns, "--network", name)
    assert ports(bridged) == were_ports
    assert inventory.left_behind(before) == []


def test_offloads_that_xdp_needs_are_put_back(name: str, bridged: ByHand) -> None:
    one, other = bridged.namespaces
    # Neither the kernel's defaults nor what the mode asks for: a person's own.
    hosts.run("ethtool", "-K", bridged.ifnames[0], "tx", "off", "gro", "on", netns=one)
    hosts.run("ethtool", "-K", bridged.ifnames[1], "txvlan", "off", "tso", "off", netns=other)
    before = inventory.take()
    with attached(name, one, other, "--mode", "xdp"):
        features = hosts.run("ethtool", "-k", bridged.ifnames[1], netns=other).stdout
        assert "tx-checksumming: off" in features
        assert "generic-receive-offload: on" in features
        assert iperf3(bridged, "-n", "20M")["sum_sent"]["bytes"] >= 20 << 20
        assert inventory.difference(before, inventory.take(), inventory.not_ours)
    assert inventory.left_behind(before) == []


@contextmanager
def foreign_filter(name: str, ifname: str, hook: str) -> Iterator[None]:
    """Somebody else's filter, which lets everything go on, at an interface."""
    pin = f"/sys/fs/bpf/{name}go_on"
    fd = bpf_objects.libbpf().bpf_prog_load(
        BPF_PROG_TYPE_SCHED_CLS, b"ebt_go_on", b"GPL", GO_ON, 2, None
    )
    assert fd >= 0
    try:
        assert bpf_objects.libbpf().bpf_obj_pin(fd, pin.encode()) == 0
        os.close(fd)
        hosts.run("tc", "qdisc", "add", "dev", ifname, "clsact")
        add = ("tc", "filter", "add", "dev", ifname, hook, "pref", "7")
        hosts.run(*add, "bpf", "direct-action", "object-pinned", pin)
        yield
    finally:
        Path(pin).unlink()


@pytest.mark.parametrize("kit_hook", ["clsact", "tcx"])
@pytest.mark.parametrize("hook", ["ingress", "egress"])
def test_somebody_elses_filter_survives(
    name: str, bridged: ByHand, hook: str, kit_hook: str
) -> None:
    with foreign_filter(name, bridged.host_ifnames[0], hook):
        before = inventory.take()
        with attached(name, *bridged.namespaces, "--hook", kit_hook):
            show = ("tc", "filter", "show", "dev", bridged.host_ifnames[0], hook)
            assert "go_on" in hosts.run(*show).stdout
            assert hosts.ping(bridged.namespaces[0], bridged.addresses[1], count=3)
            assert hosts.ping(bridged.namespaces[1], bridged.addresses[0], count=3)
            assert {row["rx_packets"] for row in endpoints(name).values()} == {6}
        assert inventory.left_behind(before) == []


def test_an_interface_that_is_down_and_without_address_is_so_again(name: str) -> None:
    netns, made, ifname, host_ifname = f"{name}a", f"{name}b", f"{name}v", f"{name}h"
    hosts.ip("netns", "add", netns)
    try:
        pair = ("link", "add", host_ifname, "type", "veth", "peer", "name", ifname)
        hosts.ip(*pair, "netns", netns)
        # What has never been up differs from what is down again.
        for state in ("up", "down"):
            hosts.ip("link", "set", host_ifname, state)
            hosts.ip("-n", netns, "link", "set", ifname, state)
            if state == "up":
                settle(netns, here=[host_ifname])
        before = inventory.take()
        with attached(name, netns, made) as rows:
            assert rows[netns]["interface"] == "adopted"
            assert f"{rows[netns]['ipv4']}/24" in addresses(netns, ifname)
            assert hosts.ping(made, rows[netns]["ipv4"], count=3)
            assert hosts.ping(netns, rows[made]["ipv4"], count=3)
            settle(netns, made)
            assert hosts.ping(made, f"{link_local(netns, ifname)}%eth0", count=3)
            assert hosts.ping(netns, f"{link_local(made, 'eth0')}%{ifname}", count=3)
        assert inventory.left_behind(before) == []
    finally:
        hosts.ip("netns", "del", netns)


def test_a_namesake_of_a_veth_that_is_gone_is_left_alone(bridged: ByHand, name: str) -> None:
    netns, _ = bridged.namespaces
    host, _ = bridged.host_ifnames
    hosts.ebpfnet("attach", *bridged.namespaces, "--network", name)
    hosts.ip("link", "del", host)
    hosts.ip("link", "add", host, "type", "veth", "peer", "name", f"{name}other")
    hosts.ebpfnet("detach", netns, "--network", name)
    shown = json.loads(hosts.run("ip", "-j", "link", "show", host).stdout)
    assert "master" not in shown[0]
    hosts.ip("link", "del", host)
    hosts.ebpfnet("detach", "--network", name)
