"""attach and detach: what is made, what is found, what is refused. Adoption has its own file."""

import json
import os
import random
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import hosts, inventory
from tests.support.hosts import addresses, settle
from tests.support.kit import PINS, attached, endpoints

NAMESPACES = Path("/run/netns")


def refused(*args: str) -> str:
    """The one line that `ebpfnet attach` says as it refuses; nothing has changed."""
    before = inventory.take()
    done = hosts.ebpfnet("attach", *args, check=False)
    assert done.returncode > 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert inventory.left_behind(before) == []
    return done.stderr


@pytest.fixture
def pair(name: str) -> tuple[str, str]:
    """Names for two namespaces that are not there yet."""
    return f"{name}a", f"{name}b"


@contextmanager
def namespace(name: str) -> Iterator[str]:
    hosts.ip("netns", "add", name)
    try:
        yield name
    finally:
        hosts.ip("netns", "del", name)


def test_attach_without_a_name_makes_ns0_and_ns1() -> None:
    taken = [p for p in (NAMESPACES / "ns0", NAMESPACES / "ns1", PINS / "default") if p.exists()]
    if taken:
        pytest.skip(f"somebody else's: {', '.join(map(str, taken))}")
    try:
        hosts.ebpfnet("attach")
        assert "10.1.1.2/24" in addresses("ns0")
        assert "10.1.1.3/24" in addresses("ns1")
        assert hosts.ping("ns0", "10.1.1.3", count=3)
        assert hosts.ping("ns1", "10.1.1.2", count=3)
    finally:
        hosts.ebpfnet("detach")


def test_namespaces_that_do_not_exist_are_made_and_joined(name: str, pair: tuple[str, str]) -> None:
    with attached(name, *pair) as rows:
        one, other = pair
        assert [rows[each]["ipv4"] for each in pair] == ["10.1.1.2", "10.1.1.3"]
        assert {rows[each]["interface"] for each in pair} == {"made"}
        assert addresses(one) == {"10.1.1.2/24", "fd00::a01:102/64", "fe80::eb:aff:fe01:102/64"}
        assert addresses(other, "lo") == {"127.0.0.1/8", "::1/128"}
        assert hosts.ping(one, "10.1.1.3", count=3)
        assert hosts.ping(one, "fd00::a01:103", count=3)
        settle(*pair)
        assert hosts.ping(one, "fe80::eb:aff:fe01:103%eth0", count=3)
        assert not hosts.ping(one, "10.1.1.4")
        assert not any("permanent" in line.lower() for line in neighbours(one))
        # The host has no business there: its end has no address.
        (host_end,) = json.loads(hosts.ip("-j", "addr", "show", rows[one]["host_ifname"]).stdout)
        assert host_end["addr_info"] == []
    assert not any((NAMESPACES / each).exists() for each in pair)


def neighbours(netns: str) -> list[str]:
    lines = hosts.run("ip", "-n", netns, "neigh").stdout.splitlines()
    assert lines, "nobody was ever asked for"
    return lines


def test_a_namespace_without_an_interface_gets_one_and_stays(name: str) -> None:
    with namespace(f"{name}a") as there:
        before = inventory.take()
        with attached(name, there, f"{name}b") as rows:
            assert rows[there]["interface"] == "made"
            assert hosts.ping(f"{name}b", rows[there]["ipv4"], count=3)
            assert hosts.ping(there, rows[f"{name}b"]["ipv4"], count=3)
        # A loopback interface that was brought up stays so.
        lines = inventory.left_behind(before)
        assert all(f"lo in {there}" in line or "lo table local" in line for line in lines), lines


def test_attaching_again_adds_what_is_missing(name: str, pair: tuple[str, str]) -> None:
    with attached(name, pair[0]) as first:
        done = hosts.ebpfnet("attach", *pair, f"{name}c", "--network", name, "-o", "json")
        rows = json.loads(done.stdout)
        assert [(row["netns"], row["ipv4"]) for row in rows] == [
            (f"{name}b", "10.1.1.3"),
            (f"{name}c", "10.1.1.4"),
        ]
        assert hosts.ping(f"{name}c", first[pair[0]]["ipv4"], count=3)
        settle(*pair, f"{name}c")
        before = inventory.take()
        again = hosts.ebpfnet("attach", *pair, f"{name}c", "--network", name, "-o", "json")
        assert json.loads(again.stdout) == []
        assert inventory.left_behind(before) == []
        # One may go, and the rest go on.
        hosts.ebpfnet("detach", pair[1], "--network", name)
        assert not (NAMESPACES / pair[1]).exists()
        assert not hosts.ping(pair[0], "10.1.1.3")
        assert hosts.ping(pair[0], "10.1.1.4", count=3)
        # Its address and id are free again.
        hosts.ebpfnet("attach", f"{name}d", "--network", name)
        assert endpoints(name)[f"{name}d"]["ipv4"] == "10.1.1.3"
        assert hosts.ping(f"{name}d", "10.1.1.4", count=3)


def imported_at(*args: str) -> str:
    """What `ebpfnet ARGS` imports, by Python's own word."""
    return hosts.run(
        sys.executable, "-X", "importtime", "-m", "cli", *args, cwd=hosts.CHECKOUT
    ).stderr


def test_a_further_endpoint_compiles_and_loads_nothing(name: str) -> None:
    compiler = re.compile(r"\| +datapath\.kernel\.bpf\.compiler$", re.MULTILINE)
    try:
        assert compiler.search(imported_at("attach", f"{name}a", "--network", name))
        before = inventory.take()
        assert not compiler.search(imported_at("attach", f"{name}b", "--network", name))
        after = inventory.take()
        assert all(after[kind] == before[kind] for kind in ("bpf program", "bpf map"))
        assert hosts.ping(f"{name}a", "10.1.1.3", count=3)
    finally:
        hosts.ebpfnet("detach", "--network", name)


def test_networks_are_separate_even_with_the_same_addresses(name: str) -> None:
    first, second = f"{name}-1", f"{name}-2"
    with (
        attached(first, f"{name}a", f"{name}b") as one,
        attached(second, f"{name}c", f"{name}d") as other,
    ):
        assert [row["ipv4"] for row in one.values()] == ["10.1.1.2", "10.1.1.3"]
        assert [row["ipv4"] for row in other.values()] == ["10.1.1.2", "10.1.1.3"]
        assert hosts.ping(f"{name}a", "10.1.1.3", count=3)
        assert {row["rx_packets"] for row in endpoints(first).values()} == {3}
        assert {row["rx_packets"] for row in endpoints(second).values()} == {0}
        assert hosts.ping(f"{name}d", "fd00::a01:102", count=5)
        assert {row["rx_packets"] for row in endpoints(first).values()} == {3}
        assert {row["rx_packets"] for row in endpoints(second).values()} == {5}
        hosts.ebpfnet("detach", "--network", second)
        assert hosts.ping(f"{name}b", "10.1.1.2", count=3)


@pytest.mark.parametrize("written", ["{pid}", "/proc/{pid}/ns/net"])
def test_a_running_container_is_attached_by_pid_or_path(name: str, written: str) -> None:
    with hosts.container() as pid:
        path = f"/proc/{pid}/ns/net"
        with attached(name, f"{name}a", written.format(pid=pid)) as rows:
            assert rows.keys() == {f"{name}a", path}
            assert hosts.ping(f"{name}a", rows[path]["ipv4"], count=3)
            again = hosts.ebpfnet("attach", str(pid), "--network", name, "-o", "json")
            assert json.loads(again.stdout) == []
            hosts.ebpfnet("detach", written.format(pid=pid), "--network", name)
            assert endpoints(name).keys() == {f"{name}a"}
            inside = hosts.run("nsenter", f"--net={path}", "ip", "-j", "link").stdout
            assert [link["ifname"] for link in json.loads(inside)] == ["lo"]


def test_a_namespace_with_a_name_goes_by_it_however_it_was_called(name: str) -> None:
    with hosts.container() as pid:
        hosts.ip("netns", "attach", f"{name}c", str(pid))
        try:
            with attached(name, str(pid), f"/proc/{pid}/ns/net", f"{name}b") as rows:
                assert rows.keys() == {f"{name}b", f"{name}c"}
                assert hosts.ping(f"{name}c", rows[f"{name}b"]["ipv4"], count=3)
        finally:
            hosts.ip("netns", "del", f"{name}c")


def test_the_hosts_own_namespace_is_never_an_endpoint(name: str) -> None:
    mine = os.getpid()
    hosts.ip("netns", "attach", f"{name}h", str(mine))
    try:
        for called in (f"{name}h", str(mine), f"/proc/{mine}/ns/net", "/proc/self/ns/net"):
            said = refused(f"{name}a", called, "--network", name)
            assert f"{called} is the host's own namespace, which is never an endpoint" in said
    finally:
        hosts.ip("netns", "del", f"{name}h")


def test_a_direct_pair_is_refused_with_a_way_to_proceed(name: str) -> None:
    with hosts.pair_by_hand(name) as made:
        settle(*made.namespaces)
        said = refused(*made.namespaces, "--network", name)
        assert "it is a direct pair" in said
        remedy = re.search(r"\((ip .*?)\)", said)
        assert remedy, said
        hosts.run(*shlex.split(remedy[1]))
        with attached(name, *made.namespaces) as rows:
            assert {row["interface"] for row in rows.values()} == {"made"}
            assert hosts.ping(made.namespaces[0], rows[made.namespaces[1]]["ipv4"], count=3)


def test_a_direct_pair_of_a_process_is_deleted_as_is_said(name: str) -> None:
    with (
        namespace(f"{name}a") as there,
        subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process,
    ):
        try:
            own, its = Path("/proc/self/ns/net"), Path(f"/proc/{process.pid}/ns/net")
            assert hosts.until(lambda: its.readlink() != own.readlink())
            peer = ("type", "veth", "peer", "name", "eth0", "netns", str(process.pid))
            hosts.ip("-n", there, "link", "add", "eth0", *peer)
            remedy = re.search(r"\((.*eth0)\)", refused(str(process.pid), "--network", name))
            assert remedy
            hosts.run(*shlex.split(remedy[1]))
            assert hosts.until(lambda: "eth0" not in hosts.ip("-n", there, "link").stdout)
        finally:
            process.kill()


def test_subnet_and_addresses_are_as_asked_for(name: str, pair: tuple[str, str]) -> None:
    options = ("--subnet", "10.9.0.0/16", "--ip", f"{pair[1]}=10.9.77.1")
    with attached(name, *pair, *options):
        assert {"10.9.0.2/16", "fd00::a09:2/64"} <= addresses(pair[0])
        assert {"10.9.77.1/16", "fd00::a09:4d01/64"} <= addresses(pair[1])
        assert hosts.ping(pair[0], "10.9.77.1", count=3)
        assert hosts.ping(pair[1], "fd00::a09:2", count=3)


def made_interfaces(pair: tuple[str, str]) -> list[Any]:
    """All that matters of the interfaces in two namespaces, and of their host ends.

    Not: the numbers of interfaces, the host ends' MACs, which are drawn at random, and those
    offloads that the kernel itself takes away where an XDP program is.
    """
    ours = re.compile(r"^\s*((?:tx-checksum-|tx-vlan-|generic-receive-offload).*)$", re.MULTILINE)
    found = []
    for netns in pair:
        (inside,) = json.loads(hosts.run("ip", "-n", netns, "-j", "addr", "show", "eth0").stdout)
        (host,) = json.loads(hosts.ip("-j", "-d", "link", "show", f"h-{netns}").stdout)
        (lo,) = json.loads(hosts.run("ip", "-n", netns, "-j", "link", "show", "lo").stdout)
        kept = ("local", "prefixlen", "scope", "tentative", "nodad")
        found.append(
            (
                netns,
                inside["address"],
                [{key: each.get(key) for key in kept} for each in inside["addr_info"]],
                [sorted(link["flags"]) for link in (inside, host, lo)],
                [link["mtu"] for link in (inside, host)],
                Path(f"/proc/sys/net/ipv6/conf/h-{netns}/disable_ipv6").read_text(),
                ours.findall(hosts.run("ethtool", "-k", "eth0", netns=netns).stdout),
            )
        )
    return found


@pytest.mark.parametrize("mode", ["tc-peer", "xdp"])
def test_dry_run_prints_what_is_typed_by_hand_and_does_none_of_it(
    name: str, pair: tuple[str, str], mode: str
) -> None:
    options = (*pair, "--network", name, "--mode", mode)
    before = inventory.take()
    lines = hosts.ebpfnet("attach", *options, "--dry-run").stdout.splitlines()
    assert inventory.left_behind(before) == []
    by_hand = [shlex.split(line) for line in lines if line.startswith(("ip ", "sysctl "))]
    assert len(by_hand) > len(pair) * 5
    assert any(line.startswith("bpftool ") for line in lines)
    try:
        for command in by_hand:
            hosts.run(*command)
        assert hosts.until(lambda: "NO-CARRIER" not in str(made_interfaces(pair)))
        typed = made_interfaces(pair)
    finally:
        for each in pair:
            hosts.run("ip", "netns", "del", each, check=False)
    assert hosts.until(lambda: not Path(f"/sys/class/net/h-{pair[0]}").exists())
    with attached(name, *pair, "--mode", mode):
        assert made_interfaces(pair) == typed


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--hook", "clsact"), "tc filter add dev h-{netns} ingress "),
        (("--mode", "xdp"), "bpftool net attach xdpdrv pinned {pins}/progs/xdp_devmap dev h-"),
    ],
)
def test_dry_run_names_the_tool_of_each_step(
    name: str, pair: tuple[str, str], options: tuple[str, ...], expected: str
) -> None:
    lines = hosts.ebpfnet("attach", *pair, "--network", name, "--dry-run", *options).stdout
    for netns in pair:
        assert expected.format(netns=netns, pins=PINS / name) in lines


def test_pins_and_journal_are_roots_alone(name: str, pair: tuple[str, str]) -> None:
    with attached(name, *pair):
        folders = [PINS / name, *filter(Path.is_dir, (PINS / name).iterdir())]
        assert {path.name for path in folders} == {name, "maps", "progs", "links"}
        journal = Path(f"/run/ebpfnet/{name}.journal")
        for path in (PINS, journal.parent, *folders):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
        assert {path.stat().st_uid for path in (PINS, journal, *folders)} == {0}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_thousand_endpoints_by_one_command(name: str) -> None:
    many = [f"{name}{number:03x}" for number in range(1000)]
    with attached(name, *many, "--subnet", "10.9.0.0/16", timeout=180) as rows:
        assert list(rows) == many
        assert len({row["ipv4"] for row in rows.values()}) == 1000
        assert endpoints(name).keys() == set(many)
        for _ in range(3):
            one, other = random.sample(many, 2)
            assert hosts.ping(one, rows[other]["ipv4"], count=3)
        more = hosts.ebpfnet("attach", many[0], f"{name}x", "--network", name, "-o", "json")
        assert [row["netns"] for row in json.loads(more.stdout)] == [f"{name}x"]
        assert hosts.ping(f"{name}x", rows[many[-1]]["ipv4"], count=3)
