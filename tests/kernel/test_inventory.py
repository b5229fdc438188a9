"""The judge is judged: every kind of change, made by hand, is named, and forgotten once undone."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import bpf_objects, hosts
from tests.support.inventory import (
    OWN_STATE,
    SESSION_VARIABLE,
    difference,
    left_behind,
    not_ours,
    take,
)

# r0 = 0; exit: lets a packet pass at tc, and drops it ("aborted") at XDP.
RETURN_ZERO = bytes.fromhex("b700000000000000 9500000000000000")
BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP, BPF_TCX_INGRESS = 3, 6, 46


@dataclass(frozen=True, slots=True)
class Change:
    """Commands as typed, apart from {n}: the prefix that the links and namespaces of a test bear.

    There are a veth pair {n}a and {n}b here, {n}a a port of the bridge {n}br and {n}b with a clsact
    qdisc, and a namespace {n}ns that holds one end of the pair {n}c and {n}d.
    """

    do: str
    undo: str
    line: str  # what the difference must have, or begin a line with


CHANGES = {
    "namespace": Change("ip netns add {n}x", "ip netns del {n}x", "+ namespace {n}x: inode"),
    "mount": Change(
        "ip netns add {n}x", "ip netns del {n}x", "+ mount /run/netns/{n}x #1: type nsfs"
    ),
    "link": Change("ip link add {n}x type bridge", "ip link del {n}x", "+ link {n}x: ifindex"),
    "link in a namespace": Change(
        "ip -n {n}ns link add {n}x type bridge",
        "ip -n {n}ns link del {n}x",
        "+ link {n}x in {n}ns: ifindex",
    ),
    "flags": Change("ip link set {n}b arp off", "ip link set {n}b arp on", "~ link {n}b: flags"),
    "mtu": Change(
        "ip link set {n}b mtu 1400",
        "ip link set {n}b mtu 1500",
        "~ link {n}b: mtu 1500 -> 1400",
    ),
    "mac": Change(
        "ip link set {n}b address 02:00:00:00:00:0c",
        "ip link set {n}b address 02:00:00:00:00:0b",
        "~ link {n}b: address 02:00:00:00:00:0b -> 02:00:00:00:00:0c",
    ),
    "master": Change(
        "ip link set {n}b master {n}br",
        "ip link set {n}b nomaster",
        "~ link {n}b: promiscuity 0 -> 1, allmulti 0 -> 1, master (none) -> {n}br",
    ),
    "bridge port": Change(
        "bridge link set dev {n}a isolated on",
        "bridge link set dev {n}a isolated off",
        "~ link {n}a: linkinfo.info_slave_data.isolated False -> True",
    ),
    "offload": Change(
        "ethtool -K {n}b gro on",
        "ethtool -K {n}b gro off",
        "~ link {n}b: rx-gro off -> on",
    ),
    "offload in a namespace": Change(
        "ip netns exec {n}ns ethtool -K {n}d tx off",
        "ip netns exec {n}ns ethtool -K {n}d tx on",
        "~ link {n}d in {n}ns: tx-checksum-ip-generic on -> off",
    ),
    "address": Change(
        "ip addr add 198.51.100.7/32 dev {n}b",
        "ip addr del 198.51.100.7/32 dev {n}b",
        "+ address 198.51.100.7/32 dev {n}b: family inet",
    ),
    "neighbour": Change(
        "ip neigh add 198.51.100.8 lladdr 02:00:00:00:00:08 dev {n}b",
        "ip neigh del 198.51.100.8 dev {n}b",
        "+ neighbour 198.51.100.8 dev {n}b: lladdr 02:00:00:00:00:08",
    ),
    "proxied neighbour": Change(
        "ip neigh add proxy 198.51.100.8 dev {n}b",
        "ip neigh del proxy 198.51.100.8 dev {n}b",
        "+ neighbour 198.51.100.8 dev {n}b is proxy",
    ),
    "fdb": Change(
        "bridge fdb add 02:00:00:00:00:08 dev {n}a master static",
        "bridge fdb del 02:00:00:00:00:08 dev {n}a master",
        "+ fdb 02:00:00:00:00:08 ifname {n}a master {n}br: state static",
    ),
    "route": Change(
        "ip route add 198.51.100.0/24 dev {n}b table 4242",
        "ip route del 198.51.100.0/24 dev {n}b table 4242",
        "+ route 198.51.100.0/24 dev {n}b table 4242 type unicast",
    ),
    "rule": Change(
        "ip -6 rule add iif {n}b priority 4242 table 4242",
        "ip -6 rule del iif {n}b priority 4242 table 4242",
        "+ rule 4242 family inet6 src all iif {n}b table 4242",
    ),
    "qdisc": Change(
        "tc qdisc add dev {n}a clsact",
        "tc qdisc del dev {n}a clsact",
        "+ qdisc clsact handle ffff: dev {n}a parent ffff:fff1",
    ),
    "filter": Change(
        "tc filter add dev {n}b egress pref 7 handle 1 bpf da pinned /sys/fs/bpf/{n}tc",
        "tc filter del dev {n}b egress pref 7 handle 1 bpf",
        "+ filter bpf dev {n}b hook egress chain 0 pref 7 handle 0x1: protocol all",
    ),
    "xdp": Change(
        "ip link set {n}b xdp pinned /sys/fs/bpf/{n}xdp",
        "ip link set {n}b xdp off",
        "~ link {n}b: xdp.mode",
    ),
    "map": Change(
        "bpftool map create /sys/fs/bpf/{n}m type array key 4 value 8 entries 1 name {n}m",
        "rm /sys/fs/bpf/{n}m",
        "name {n}m, type array, key 4 B, value 8 B, entries 1",
    ),
    "pin": Change(
        "bpftool map create /sys/fs/bpf/{n}m type array key 4 value 8 entries 1 name {n}m",
        "rm /sys/fs/bpf/{n}m",
        "+ pin /sys/fs/bpf/{n}m: is bpf-map, id",
    ),
    "folder of pins": Change(
        "mkdir /sys/fs/bpf/{n}f", "rmdir /sys/fs/bpf/{n}f", "+ pin /sys/fs/bpf/{n}f: is folder"
    ),
    "sysctl": Change(
        "sysctl -q net.ipv4.conf.{n}b.proxy_arp=1",
        "sysctl -q net.ipv4.conf.{n}b.proxy_arp=0",
        "~ sysctl net/ipv4/conf/{n}b: proxy_arp 0 -> 1",
    ),
    "file in /run": Change("touch /run/{n}", "rm /run/{n}", "+ run /run/{n}"),
    "table of nft": Change(
        "nft add table inet {n}", "nft delete table inet {n}", "+ firewall nft / table inet {n}"
    ),
    "rule of nft": Change(
        "nft add rule inet {n}t c ip saddr 198.51.100.9 counter drop",
        "nft flush chain inet {n}t c",
        "+ firewall nft / table inet {n}t / chain c / ip saddr 198.51.100.9 counter drop: times 1",
    ),
    "rule of iptables-legacy": Change(
        "ip netns exec {n}ns iptables-legacy -A FORWARD -s 198.51.100.9 -j DROP",
        "ip netns exec {n}ns iptables-legacy -F FORWARD",
        "+ firewall iptables-legacy / filter / -A FORWARD -s 198.51.100.9/32 -j DROP in {n}ns",
    ),
}


SCENE = """
    ip netns add {n}ns
    ip link add {n}a type veth peer name {n}b address 02:00:00:00:00:0b
    ip link add {n}br type bridge
    ip link set {n}a master {n}br
    ip link add {n}c type veth peer name {n}d netns {n}ns
    ip link set {n}b up
    ethtool -K {n}b gro off
    tc qdisc add dev {n}b clsact
    nft add table inet {n}t
    nft add chain inet {n}t c
    ip netns exec {n}ns iptables-legacy -F
"""
CURTAIN = """
    rm -f /sys/fs/bpf/{n}tc /sys/fs/bpf/{n}xdp
    nft delete table inet {n}t
    ip link del {n}a
    ip link del {n}br
    ip link del {n}c
    ip netns del {n}ns
"""


def load(kind: int) -> int:
    """Load a program that returns 0; its descriptor."""
    fd: int = bpf_objects.libbpf().bpf_prog_load(
        kind, b"ebt_zero", b"GPL", RETURN_ZERO, ctypes.c_size_t(2), None
    )
    assert fd >= 0
    return fd


@pytest.fixture
def scene(name: str) -> Iterator[str]:
    """What `Change` says is there, and a pinned program for tc and one for XDP; the prefix."""
    try:
        for line in SCENE.format(n=name).strip().splitlines():
            hosts.run(*line.split())
        for kind, suffix in ((BPF_PROG_TYPE_SCHED_CLS, "tc"), (BPF_PROG_TYPE_XDP, "xdp")):
            fd = load(kind)
            assert bpf_objects.libbpf().bpf_obj_pin(fd, f"/sys/fs/bpf/{name}{suffix}".encode()) == 0
            os.close(fd)
        yield name
    finally:
        for line in CURTAIN.format(n=name).strip().splitlines():
            hosts.run(*line.split(), check=False)


def assert_named(lines: list[str], expected: str) -> None:
    assert any(expected in line for line in lines), f"not {expected!r} in\n" + "\n".join(lines)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_is_named_and_forgotten_once_undone(change: Change, scene: str) -> None:
    before = take()
    hosts.run(*change.do.format(n=scene).split())
    lines = difference(before, take(), not_ours)
    hosts.run(*change.undo.format(n=scene).split())
    assert_named(lines, change.line.format(n=scene))
    assert left_behind(before) == []


def test_a_program_and_its_tcx_link_are_named(scene: str) -> None:
    before = take()
    program = load(BPF_PROG_TYPE_SCHED_CLS)
    ifindex = int(Path(f"/sys/class/net/{scene}b/ifindex").read_text())
    link = bpf_objects.libbpf().bpf_link_create(program, ifindex, BPF_TCX_INGRESS, None)
    assert link >= 0
    lines = difference(before, take(), not_ours)
    os.close(link)
    os.close(program)
    assert_named(lines, f"+ attachment tcx ingress of {scene}b: programs ")
    assert_named(lines, ": name ebt_zero, type sched_cls")
    assert_named(lines, "type tcx, program ")
    assert_named(lines, f"ifindex {ifindex}")
    assert left_behind(before) == []


def test_a_pin_that_names_another_object_is_a_change(scene: str) -> None:
    before = take()
    pin = Path(f"/sys/fs/bpf/{scene}tc")
    pin.rename(pin.with_name(f"{scene}old"))
    Path(f"/sys/fs/bpf/{scene}xdp").rename(pin)
    lines = difference(before, take(), not_ours)
    pin.rename(f"/sys/fs/bpf/{scene}xdp")
    pin.with_name(f"{scene}old").rename(pin)
    assert_named(lines, f"~ pin /sys/fs/bpf/{scene}tc: id ")
    assert left_behind(before) == []


def test_the_kits_own_files_are_compared_by_their_contents(name: str) -> None:
    made = not OWN_STATE.exists()
    OWN_STATE.mkdir(exist_ok=True)
    journal = OWN_STATE / f"{name}.json"
    try:
        journal.write_text("{}")
        before = take()
        journal.write_text("[]")
        lines = difference(before, take(), not_ours)
        journal.write_text("{}")
        assert_named(lines, f"~ run {journal}: sha256 ")
        assert left_behind(before) == []
    finally:
        journal.unlink(missing_ok=True)
        if made:
            OWN_STATE.rmdir()


def test_a_process_is_named_though_it_was_orphaned() -> None:
    before = take()
    shell = hosts.run("sh", "-c", "setsid sleep 61.5 >/dev/null 2>&1 & echo $!")
    number = shell.stdout.strip()
    assert hosts.until(lambda: Path(f"/proc/{number}/comm").read_text() == "sleep\n")
    lines = difference(before, take(), not_ours)
    os.kill(int(number), signal.SIGKILL)
    assert_named(lines, f"+ process {number}: command sleep 61.5, started ")
    assert left_behind(before) == []


def test_a_process_of_somebody_else_is_not_ours(name: str) -> None:
    before = take()
    environment = {**os.environ, SESSION_VARIABLE: name}
    with subprocess.Popen(["sleep", "62.5"], env=environment) as process:
        try:
            after = take()
        finally:
            process.kill()
    assert_named(difference(before, after), f"+ process {process.pid}: command sleep 62.5")
    assert difference(before, after, not_ours) == []


def test_nothing_happens_on_a_machine_left_alone(scene: str) -> None:
    with hosts.background("iperf3", "-s", netns=f"{scene}ns", port=5201):
        before = take()
        assert before["link"].keys() >= {
            "lo",
            f"{scene}a",
            f"lo in {scene}ns",
            f"{scene}d in {scene}ns",
        }
        assert left_behind(before) == []


LEAK = """
from tests.support import hosts

def test_leaks():
    hosts.ip("netns", "add", "{n}x")

def test_does_not():
    hosts.ip("netns", "add", "{n}y")
    hosts.ip("netns", "del", "{n}y")
"""


def test_a_test_that_leaves_something_behind_fails(name: str, tmp_path: Path) -> None:
    leak = tmp_path / "test_leak.py"
    leak.write_text(LEAK.format(n=name))
    try:
        done = hosts.run(
            *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(tmp_path)),
            *("-p", "no:cacheprovider", "-p", "tests.conftest", "-p", "tests.kernel.conftest"),
            str(leak),
            check=False,
            cwd=hosts.CHECKOUT,
        )
    finally:
        hosts.run("ip", "netns", "del", f"{name}x", check=False)
    assert done.returncode == 1
    assert_named(done.stdout.splitlines(), f"+ namespace {name}x: inode")
    assert "2 passed, 1 error" in done.stdout


@pytest.mark.parametrize("topology", [hosts.bridge_by_hand, hosts.pair_by_hand])
def test_what_is_typed_from_the_notes_joins_its_namespaces(
    topology: Callable[[str], AbstractContextManager[hosts.ByHand]], name: str
) -> None:
    with topology(name) as made:
        one, other = made.namespaces
        assert hosts.ping(one, made.addresses[1], count=3)
        assert hosts.ping(other, made.addresses[0], count=3)
        assert not hosts.ping(one, "10.1.255.255")
