"""show, neigh, link and capture, on what was made by hand; iproute2 and tcpdump are the judges."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datapath.capture import places
from datapath.labs import catalogue, lifecycle
from tests.support import hosts
from tests.support.hosts import ByHand
from tests.support.kit import attached, capturing


def show(view: str, node: str) -> list[dict[str, Any]]:
    done = hosts.ebpfnet("show", view, node, "-o", "json")
    return list(json.loads(done.stdout))


@pytest.fixture
def joined(name: str) -> Iterator[ByHand]:
    with hosts.bridge_by_hand(name) as made:
        assert hosts.until(lambda: hosts.ping(made.namespaces[0], made.addresses[1]))
        yield made


def test_links_are_those_of_iproute2_with_their_peers(joined: ByHand) -> None:
    (one, _), (veth, _) = joined.namespaces, joined.ifnames
    rows = {row["ifname"]: row for row in show("links", one)}
    told = {row["ifname"]: row for row in json.loads(hosts.ip("-n", one, "-j", "link").stdout)}
    assert rows.keys() == told.keys()
    assert rows[veth]["mac"] == told[veth]["address"]
    assert (rows[veth]["kind"], rows[veth]["state"], rows[veth]["mtu"]) == ("veth", "up", 1500)
    assert rows[veth]["peer"] == f"{joined.host_ifnames[0]} in host"
    here = {row["ifname"]: row for row in show("links", "host")}
    for host_ifname, netns, ifname in zip(
        joined.host_ifnames, joined.namespaces, joined.ifnames, strict=True
    ):
        assert here[host_ifname]["peer"] == f"{ifname} in {netns}"
        assert here[host_ifname]["bridge"] == joined.bridge


def test_a_peer_in_a_namespace_without_a_name_is_known_by_a_process(name: str) -> None:
    with hosts.container() as pid:
        hosts.ip(
            *("link", "add", f"{name}h", "type", "veth"),
            *("peer", "name", "eth0", "netns", str(pid)),
        )
        (row,) = [row for row in show("links", "host") if row["ifname"] == f"{name}h"]
        assert row["peer"] == f"eth0 in {pid}"
        assert "eth0" in {row["ifname"] for row in show("links", str(pid))}


def test_two_ends_in_one_namespace_are_here(name: str) -> None:
    hosts.ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
    try:
        rows = {row["ifname"]: row["peer"] for row in show("links", "host")}
        assert rows[f"{name}a"] == f"{name}b here"
    finally:
        hosts.ip("link", "del", f"{name}a")


def test_what_a_tunnel_or_a_macvlan_has_that_others_have_not(name: str) -> None:
    hosts.ip("netns", "add", name)
    try:
        hosts.ip(
            *("-n", name, "link", "add", "vx0", "type", "vxlan", "id", "42", "dstport", "4789"),
            *("local", "192.168.4.1", "remote", "192.168.4.2"),
        )
        hosts.ip("-n", name, "link", "add", "va", "type", "veth", "peer", "name", "vb")
        hosts.ip("-n", name, "link", "add", "link", "va", "mv0", "type", "macvlan", "mode", "vepa")
        rows = {row["ifname"]: row for row in show("links", name)}
        assert rows["vx0"]["detail"] == "id 42 dstport 4789 local 192.168.4.1 remote 192.168.4.2"
        assert (rows["mv0"]["detail"], rows["mv0"]["peer"]) == ("mode vepa", "va here")
        assert rows["va"]["detail"] == ""
    finally:
        hosts.ip("netns", "del", name)


def test_addresses_neighbours_entries_and_routes(joined: ByHand) -> None:
    (one, other), (veth, _) = joined.namespaces, joined.ifnames
    macs = {
        netns: next(row["mac"] for row in show("links", netns) if row["kind"] == "veth")
        for netns in (one, other)
    }
    addresses = {row["address"]: row for row in show("addr", one)}
    assert addresses["10.1.0.1/24"]["ifname"] == veth
    assert addresses["10.1.0.1/24"]["scope"] == "global"
    (neighbour,) = [row for row in show("neigh", one) if row["address"] == "10.1.0.2"]
    assert (neighbour["mac"], neighbour["ifname"]) == (macs[other], veth)

    learned = {row["mac"]: row for row in show("fdb", "host") if row["state"] == "learned"}
    for host_ifname, netns in zip(joined.host_ifnames, joined.namespaces, strict=True):
        row = learned[macs[netns]]
        assert (row["port"], row["bridge"]) == (host_ifname, joined.bridge)
    told = json.loads(hosts.run("bridge", "-j", "fdb", "show", "br", joined.bridge).stdout)
    local = {row["mac"] for row in show("fdb", "host") if row["state"] == "local"}
    assert local == {row["mac"] for row in told if row["state"] == "permanent" and "master" in row}

    hosts.ip("-n", one, "route", "add", "default", "via", "10.1.0.9", "metric", "7")
    hosts.ip("-n", one, "route", "add", "blackhole", "192.0.2.0/24", "table", "77")
    routes = {row["destination"]: row for row in show("routes", one)}
    assert (routes["0.0.0.0/0"]["gateway"], routes["0.0.0.0/0"]["metric"]) == ("10.1.0.9", 7)
    assert (routes["192.0.2.0/24"]["type"], routes["192.0.2.0/24"]["table"]) == ("blackhole", "77")
    assert routes["10.1.0.0/24"]["source"] == "10.1.0.1"


def test_stats_are_those_of_ethtool(joined: ByHand) -> None:
    one, veth = joined.namespaces[0], joined.ifnames[0]
    rows = {row["counter"]: row for row in show("stats", one) if row["ifname"] == veth}
    assert rows["rx_packets"]["value"] >= 1
    assert rows["rx_packets"]["peer"] == f"{joined.host_ifnames[0]} in host"
    told = hosts.run("ethtool", "-S", veth, netns=one).stdout.splitlines()[1:]
    names = {line.strip().partition(":")[0] for line in told}
    assert names - {"peer_ifindex"} <= rows.keys()
    assert any(name.startswith("rx_queue_0_") for name in rows)


def test_rules_that_translate(name: str) -> None:
    hosts.ip("netns", "add", name)
    try:
        for command in (
            ("nft", "add table ip ebt"),
            ("nft", "add chain ip ebt post { type nat hook postrouting priority 100; }"),
            ("nft", "add chain ip ebt filter { type filter hook forward priority 0; }"),
            ("nft", "add rule ip ebt post ip saddr 10.1.0.0/24 counter masquerade"),
            ("nft", "add rule ip ebt filter ip saddr 10.9.0.0/24 drop"),
        ):
            hosts.run(*command, netns=name)
        there = ("-p", "tcp", "--dport", "80", "-j", "DNAT", "--to", "10.1.0.2:8080")
        hosts.run("iptables-legacy", "-t", "nat", "-A", "PREROUTING", *there, netns=name)
        nft, legacy = show("nat", name)
        assert (nft["chain"], nft["hook"], nft["packets"]) == ("post", "postrouting", 0)
        assert nft["rule"] == "ip saddr 10.1.0.0/24 masquerade"
        assert (legacy["chain"], legacy["hook"]) == ("PREROUTING", "prerouting")
        assert "10.1.0.2:8080" in legacy["rule"]
    finally:
        hosts.ip("netns", "del", name)


def test_an_empty_table_says_in_words_what_there_is_none_of(name: str) -> None:
    hosts.ip("netns", "add", name)
    try:
        words = {"fdb": "forwarding entries", "neigh": "neighbours", "routes": "routes"}
        for view, nothing in words.items():
            done = hosts.ebpfnet("show", view, name)
            assert (done.stdout, done.stderr) == ("", f"no {nothing} in {name}\n")
            assert show(view, name) == []
    finally:
        hosts.ip("netns", "del", name)


def test_neighbours_are_forgotten_apart_from_permanent_ones(joined: ByHand) -> None:
    one, veth = joined.namespaces[0], joined.ifnames[0]
    permanent = ("lladdr", "02:00:00:00:00:09", "dev", veth, "nud", "permanent")
    hosts.ip("-n", one, "neigh", "add", "10.1.0.9", *permanent)
    assert "1 forgotten" in hosts.ebpfnet("neigh", "flush", one, "--address", "10.1.0.2").stdout
    assert {row["address"] for row in show("neigh", one) if row["mac"]} == {"10.1.0.9"}


def test_an_interface_is_made_promiscuous_and_not(joined: ByHand) -> None:
    one, veth = joined.namespaces[0], joined.ifnames[0]
    for setting in ("on", "off"):
        hosts.ebpfnet("link", "set", one, veth, "--promisc", setting)
        (told,) = json.loads(hosts.ip("-n", one, "-j", "link", "show", veth).stdout)
        assert ("PROMISC" in told["flags"]) == (setting == "on")


def test_frames_of_several_places_come_in_order_and_in_one_file(
    joined: ByHand, tmp_path: Path
) -> None:
    one, other = joined.namespaces
    file = tmp_path / "both.pcapng"
    watched = (one, other, f"host:{joined.bridge}")
    with capturing(*watched, "-w", str(file), "-f", "icmp", "-c", "6") as process:
        assert hosts.ping(one, joined.addresses[1])
        lines = process.communicate(timeout=30)[0].splitlines()
    assert process.returncode == 0
    labels = [f"{one}:{joined.ifnames[0]}", f"host:{joined.bridge}", f"{other}:{joined.ifnames[1]}"]
    assert [line.split()[1] for line in lines] == [*labels, *reversed(labels)]
    assert ["echo-request" in line for line in lines] == [True] * 3 + [False] * 3

    told = hosts.run("tcpdump", "-n", "-tt", "-r", str(file)).stdout.splitlines()
    assert len(told) == 6
    assert all("10.1.0.1 > 10.1.0.2: ICMP echo request" in line for line in told[:3])
    times = [float(line.split()[0]) for line in told]
    assert times == sorted(times)


def test_a_place_is_one_by_whatever_name(joined: ByHand) -> None:
    one = joined.namespaces[0]
    with subprocess.Popen(["ip", "netns", "exec", one, "sleep", "60"]) as process:
        try:
            inside, its = Path(f"/run/netns/{one}"), Path(f"/proc/{process.pid}/ns/net")
            assert hosts.until(lambda: its.stat().st_ino == inside.stat().st_ino)
            found, _ = places([one, str(process.pid), f"{process.pid}:{joined.ifnames[0]}"])
        finally:
            process.kill()
    assert [place.label for place in found] == [f"{one}:{joined.ifnames[0]}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_capture_with_what_passed_just_before(
    joined: ByHand, number: signal.Signals
) -> None:
    with capturing(joined.namespaces[0], "icmp") as process:
        assert hosts.ping(joined.namespaces[0], joined.addresses[1])
        process.send_signal(number)
        lines, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert ["echo-request" in line for line in lines.splitlines()] == [True, False]
    assert said == "2 frames\n"


def test_an_interface_that_goes_away_ends_a_capture_however_busy_others_are(
    joined: ByHand, name: str
) -> None:
    one, ifname = joined.namespaces[0], f"{name}x"
    hosts.ip("link", "add", ifname, "up", "type", "bridge")
    ping = subprocess.Popen(
        ["ip", "netns", "exec", one, "ping", "-i", "0.01", joined.addresses[1]],
        stdout=subprocess.DEVNULL,
    )
    try:
        with capturing(one, f"host:{ifname}", "icmp") as process:
            assert process.stdout
            assert "echo" in process.stdout.readline()
            hosts.ip("link", "del", ifname)
            said = process.communicate(timeout=30)[1]
    finally:
        ping.kill()
        ping.wait()
        hosts.run("ip", "link", "del", ifname, check=False)
    assert process.returncode == 1
    assert f"ebpfnet: capturing at host:{ifname}: " in said
    assert "interface disappeared" in said


def test_a_capture_that_is_killed_leaves_no_tcpdump(joined: ByHand) -> None:
    with capturing(joined.namespaces[0], "udp port 9") as process:  # which nothing sends to
        (tcpdump,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()

        def arguments() -> bytes:
            try:
                return Path(f"/proc/{tcpdump}/cmdline").read_bytes()
            except OSError:
                return b""

        assert hosts.until(lambda: not arguments())  # it is gone, or init's to bury


def test_a_capture_is_written_to_stdout_for_others_to_read(joined: ByHand) -> None:
    with capturing(joined.namespaces[0], "icmp", "-c", "2", "-w", "-") as process:
        reader = subprocess.Popen(
            ["tcpdump", "-n", "-r", "-"], stdin=process.stdout, stdout=subprocess.PIPE, text=True
        )
        assert hosts.ping(joined.namespaces[0], joined.addresses[1])
        lines = reader.communicate(timeout=30)[0].splitlines()
    assert ["echo request" in line for line in lines] == [True, False]


def test_packets_of_a_tun_are_no_frames(tmp_path: Path) -> None:
    file = tmp_path / "tun.pcapng"
    lifecycle.up(catalogue.declared("tuntap"))
    try:
        with capturing("tuntap-h1", "tun0", "icmp", "-c", "2", "-w", str(file)) as process:
            assert hosts.until(lambda: hosts.ping("tuntap-h1", "10.8.8.2"))
            lines = process.communicate(timeout=30)[0].splitlines()
    finally:
        lifecycle.down("tuntap")
    assert "  IP / ICMP 10.8.8.1 > 10.8.8.2 echo-request" in lines[0]
    told = hosts.run("tcpdump", "-n", "-r", str(file)).stdout
    assert "IP 10.8.8.1 > 10.8.8.2: ICMP echo request" in told


def test_where_redirect_peer_skips_the_host_end_the_namespace_is_watched(name: str) -> None:
    pair = (f"{name}a", f"{name}b")
    with attached(name, *pair) as rows:
        to = rows[pair[1]]
        with capturing("host", to["host_ifname"], "icmp", "-c", "3") as process:
            assert hosts.ping(pair[0], to["ipv4"])
            lines = process.communicate(timeout=30)[0].splitlines()
    inside, outside = f"{pair[1]}:eth0", f"host:{to['host_ifname']}"
    assert [line.split()[1] for line in lines] == [inside, inside, outside]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("show", "links", "{n}x"), "there is no namespace {n}x; see `ip netns`"),
        (("show", "addr", "../etc"), "../etc does not open a network namespace"),
        (("capture", "{n}a"), "{n}a has no single interface to capture at: none but lo"),
        (("capture", "{n}a:eth9"), "interface eth9 does not exist"),
        (("capture", "{n}a:lo"), "lo: That device is not up; ip -n {n}a link set lo up"),
        (("capture", "{n}b:lo", "-f", "foo bar"), "bad filter: "),
        (("capture", "{n}b", "lo", "foo bar"), "bad filter: "),
        (("capture", "{n}b", "lo", "icmp", "-f", "arp"), "two filters: 'icmp' and 'arp'"),
        (("capture", "{n}x", "icmp"), "there is no namespace {n}x; see `ip netns`"),
        (("capture", "{n}b:lo", "-w", "/proc/x"), "cannot write /proc/x"),
        (("capture", "{n}b:lo", "-w", "/dev/full"), "writing /dev/full: no space left"),
        (("neigh", "flush", "{n}a", "--address", "10.1"), "'10.1' is not an address"),
        (("neigh", "flush", "{n}a", "eth9"), "interface eth9 does not exist"),
        (("link", "set", "{n}a", "eth9", "--promisc", "on"), "interface eth9 does not exist"),
    ],
)
def test_bad_input_is_one_line(name: str, args: tuple[str, ...], message: str) -> None:
    hosts.ip("netns", "add", f"{name}a")
    hosts.ip("netns", "add", f"{name}b")
    hosts.ip("-n", f"{name}b", "link", "set", "lo", "up")
    try:
        done = hosts.ebpfnet(*(arg.format(n=name) for arg in args), check=False)
    finally:
        for netns in ("a", "b"):
            hosts.ip("netns", "del", f"{name}{netns}")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("capturing at")]
    assert len(lines) == 1
    assert message.format(n=name) in lines[0]
