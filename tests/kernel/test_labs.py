"""Labs on this kernel: built, checked by their own traffic, compared with what is typed by hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from datapath.errors import Conflict, EbpfnetError, Unsupported
from datapath.kernel.net import netns
from datapath.labs import catalogue, checks, groups, lifecycle, needs, planning
from datapath.labs.loader import load
from datapath.labs.model import Lab
from tests.support import hosts, inventory
from tests.support.crash import Judge, Launcher, Run
from tests.support.labs import standing, wrong

# Something of each that a lab can declare and this kernel can make.
EVERYTHING = """\
title: Something of everything
nodes:
  host:
    interfaces:
      {name}br: {{type: bridge, ports: {name}h, addresses: 10.7.9.254/24}}
  a:
    interfaces:
      eth0: [10.7.9.1/24, "fd07:9::1/64"]
      m0: {{type: macvlan, mode: private, parent: "b:eth1"}}
      x: {{promisc: true, addresses: 10.7.8.1/24}}
    routes:
      - default via 10.7.9.254
      - "fd07:8::/64 via fd07:9::9"
      - 10.6.0.0/16 dev x metric 7
      - 10.7.6.0/23 via 10.7.8.2
    neighbours: [10.7.8.2 lladdr 02:00:00:00:08:02 dev x, 10.7.8.77 proxy dev x]
    nft: |
      table ip t {{
        chain forward {{
          type filter hook forward priority filter
          ip daddr 10.7.7.7 counter drop
        }}
      }}
  b:
    interfaces:
      eth1: {{mtu: 1400, mac: "02:00:00:00:08:02", addresses: 10.7.8.2/24}}
      eth2: {{up: false}}
      br0: {{type: bridge, ageing_time: 100, ports: [vx0, tap0]}}
      vx0: {{type: vxlan, id: 7, local: 10.7.8.2, learning: false, addresses: 10.7.7.0/32}}
      tap0: {{type: tap, mac: "02:00:00:00:08:03"}}
      tun0: {{type: tun, addresses: 10.7.6.1/24}}
    routes: 10.5.0.0/16 via 10.7.8.9 dev eth1 src 10.7.8.2 onlink
    fdb:
      - 02:00:00:00:08:09 dev vx0 dst 10.7.8.9
      - 00:00:00:00:00:00 dev vx0 dst 10.7.8.8
      - 00:00:00:00:00:00 dev vx0 dst 10.7.8.9
      - 02:00:00:00:08:0a dev tap0
    sysctls: {{net.ipv4.ip_forward: 1, net.ipv4.conf.eth1.rp_filter: 2}}
    iptables: -t nat -A POSTROUTING -s 10.7.6.0/24 -o eth1 -j MASQUERADE
    commands: ip route add blackhole 10.7.5.0/24
    processes: [[sleep, "1000"], python3 -m datapath.labs.answer b 80]
links:
  - a:eth0 -- host:{name}h
  - {{ends: a:x -- b:eth1, rate: 10mbit}}
  - {{ends: a:y -- b:eth2, mtu: 1300}}
reach:
  host: [10.7.9.1]
  a: [host, 10.7.8.2, 10.7.7.0, 10.7.6.1, "10.7.8.2:80"]
  b: [10.7.8.1]
"""
# What the kernel numbers, what tells ours from namesakes, and what settles after a while.
MARKS = {"ifindex", "link_index", "link_netnsid", "ifalias", "operstate"}
PAIR = """\
title: A pair
nodes:
  a: {interfaces: {eth0: 10.7.9.1/24, eth1: 10.7.8.2/24}}
  b: {interfaces: {eth0: 10.7.9.2/24}}
  host: {interfaces: {NAMEh: 10.7.8.1/24}}
links: [a:eth0 -- b:eth0, a:eth1 -- host:NAMEh]
reach: {a: all, b: [10.7.9.1], host: [10.7.8.2]}
"""


@pytest.fixture
def pair(name: str) -> Lab:
    return load(PAIR.replace("NAME", name), "pair.yaml", name)


def comparable() -> inventory.Inventory:
    """The inventory of links and what is set on them, without marks."""

    def kept(category: str, key: str) -> bool:
        # Link-local ones come once duplicate detection is done, and of a tun they are random.
        return category not in {"process", "mount", "run", "namespace"} and "fe80:" not in key

    return {
        category: {
            key: {name: value for name, value in entry.items() if name not in MARKS}
            for key, entry in entries.items()
            if kept(category, key)
        }
        for category, entries in inventory.take().items()
        if not category.startswith("bpf")
    }


def settle(name: str) -> None:
    """Wait until the kernel has noticed that nobody holds the other ends of tap0 and tun0."""
    assert hosts.until(lambda: hosts.ip("-n", f"{name}-b", "link").stdout.count("NO-CARRIER") >= 2)


def test_every_lab_works_beside_all_others_or_says_what_is_missing() -> None:
    possible = []
    for preset in catalogue.presets():
        if needs.missing(preset):
            with pytest.raises(Unsupported, match=f"lab {preset.name} cannot be built here: "):
                lifecycle.up(preset)
        else:
            possible.append(preset)
    assert {"veth-pair", "bridge", "arp", "nat", "routed"} <= {lab.name for lab in possible}
    try:
        for lab in possible:
            lifecycle.up(lab)
        assert [lab.name for lab in catalogue.running()] == sorted(lab.name for lab in possible)
        with ThreadPoolExecutor(len(possible)) as pool:  # they mostly wait for what is not to come
            assert [line for lines in pool.map(wrong, possible) for line in lines] == []
    finally:
        for name in catalogue.journalled():
            lifecycle.down(name)


@contextmanager
def typed_by_hand(labs: list[Lab]) -> Iterator[None]:
    """What `lab show --commands` says of labs, done by a shell; all gone in the end."""
    namespaces = [planning.netns_name(lab.name, node) for lab in labs for node in lab.nodes]
    try:
        for lab in labs:
            hosts.run("bash", "-e", "-c", "\n".join(planning.commands(lab)))
        yield
    finally:
        for lab in labs:
            for group in groups.declared(lab):
                hosts.ebpfnet("detach", "--network", group.network, check=False)
        for namespace in namespaces:
            for process in hosts.run("ip", "netns", "pids", namespace, check=False).stdout.split():
                os.kill(int(process), signal.SIGKILL)
            hosts.run("ip", "netns", "del", namespace, check=False)
            shutil.rmtree(netns.own_files(namespace), ignore_errors=True)
        for lab in labs:
            for ifname in lab.nodes["host"].interfaces if "host" in lab.nodes else ():
                hosts.run("ip", "link", "del", ifname, check=False)


def test_commands_typed_by_hand_give_the_same_lab(name: str) -> None:
    lab = load(EVERYTHING.format(name=name), "everything.yaml", name)
    with standing(lab):
        assert wrong(lab) == []
        settle(name)
        by_kit = comparable()
    with typed_by_hand([lab]):
        assert wrong(lab) == []
        settle(name)
        assert "\n".join(inventory.difference(by_kit, comparable())) == ""


def test_commands_of_every_preset_typed_by_hand_give_that_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = tmp_path / "ebpfnet"
    kit.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli "$@"\n')
    kit.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(hosts.CHECKOUT))
    labs = [lab for lab in catalogue.presets() if not needs.missing(lab)]
    with typed_by_hand(labs), ThreadPoolExecutor(len(labs)) as pool:
        assert [line for lines in pool.map(wrong, labs) for line in lines] == []


def test_command_line_brings_a_file_up_tells_of_it_and_takes_it_down(
    kit: Launcher, name: str, tmp_path: Path, pair: Lab
) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text(pair.text)

    def lab(*argv: str, code: int = 0) -> Run:
        run = kit.run("lab", *argv)
        assert run.code == code, run.stderr
        return run

    lab("up", str(file))
    try:
        listed = {row["name"]: row for row in json.loads(lab("list", "-o", "json").stdout)}
        assert listed[name]["up"]
        assert {"name", "title", "available", "reason"} <= listed["ipip"].keys()
        assert "10.7.9.1/24" in lab("show").stdout
        assert "<svg" in lab("draw", name, "--svg", "/dev/stdout").stdout
        assert "is up already" in lab("up", str(file), code=1).stderr
        assert kit.run("gc").stdout == ""  # it is neither half made nor half gone

        shown = lab("exec", "a", "--", "ip", "-br", "addr", "show", "eth0")
        assert "10.7.9.1/24" in shown.stdout
        lab("exec", f"{name}-a", "--", "sh", "-c", "exit 7", code=7)
        assert "nodes: a, b, host" in lab("exec", "c", "--", "true", code=1).stderr
        assert "no command" in lab("exec", "a", "--", "no-such-command", code=2).stderr

        assert " ms" in lab("check").stdout
        assert " ms" in lab("check", str(file)).stdout
        hosts.ip("-n", f"{name}-b", "addr", "del", "10.7.9.2/24", "dev", "eth0")
        failed = lab("check", name, code=1)
        assert "no (!)" in failed.stdout
        assert "a does not reach b 10.7.9.2" in failed.stderr
    finally:
        assert f"lab {name} is down" in kit.run("lab", "down", str(file)).stderr
    assert "is not up" in lab("down", name, code=1).stderr


def test_check_finds_what_is_not_to_be_reached(name: str) -> None:
    text = PAIR.replace("NAME", name).replace("a: all", "a: [host]")
    lab = load(text, "pair.yaml", name)
    with standing(lab):
        assert [(cell.source, str(cell.target)) for cell in checks.check(lab).differing] == [
            ("a", "10.7.9.2")
        ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  a: {", "  a: {commands: 'false', ", "node a: false: exit code 1"),
        (
            "  a: {",
            "  a: {processes: 'false', ",
            "node a: false ended at once, with code 1; bring the lab up without it",
        ),
        ("  a: {", "  a: {nft: tabel, ", "syntax error"),
        (
            "  a: {",
            "  a: {sysctls: {net.ipv4.nothing: 1}, ",
            "node a: setting sysctl net/ipv4/nothing",
        ),
        (
            "  host: {",
            "  host: {routes: 10.1.0.0/16 via 10.9.9.9, ",
            "adding a route to 10.1.0.0/16",
        ),
    ],
)
def test_what_fails_midway_is_undone_whole(name: str, old: str, new: str, says: str) -> None:
    lab = load(PAIR.replace("NAME", name).replace(old, new), "pair.yaml", name)
    with pytest.raises(EbpfnetError, match=says):
        lifecycle.up(lab)


def test_taken_names_are_left_to_whom_they_belong(name: str, pair: Lab) -> None:
    hosts.ip("link", "add", f"{name}h", "type", "bridge")
    try:
        with pytest.raises(Conflict, match=f"{name}h or eth1 exists already"):
            lifecycle.up(pair)
        assert "bridge" in hosts.ip("-d", "link", "show", f"{name}h").stdout
    finally:
        hosts.ip("link", "del", f"{name}h")


def test_missing_command_is_said_before_anything_is_built(name: str) -> None:
    text = PAIR.replace("NAME", name).replace("  a: {", "  a: {processes: no-such-command, ")
    with pytest.raises(Unsupported, match="there is no no-such-command command"):
        lifecycle.up(load(text, "pair.yaml", name))


@pytest.mark.parametrize(("repair", "every"), [("gc", 5), ("up", 19), ("down", 13)])
def test_killed_at_any_moment_of_up_it_is_put_right(
    kit: Launcher, name: str, tmp_path: Path, pair: Lab, repair: str, every: int
) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text(pair.text)
    judge = Judge()
    moment = 1
    while (run := kit.run("lab", "up", str(file), at=moment)).killed:
        if repair == "gc":
            assert kit.run("gc").code == 0
        elif repair == "up":
            done = kit.run("lab", "up", str(file))
            assert done.code == 0 or "is up already" in done.stderr, done.stderr
        # A lab that was whole when its maker was killed stands, whatever repaired the machine.
        if catalogue.running() or (repair == "down" and catalogue.journalled()):
            assert kit.run("lab", "down", name).code == 0
        assert judge.differences() == [], run.moments[-1]
        moment += every
    assert run.code == 0, run.stderr
    assert moment > 3 * every
    assert kit.run("lab", "down", name).code == 0


def test_lab_joined_by_ebpf_that_is_killed_leaves_nothing_after_gc(kit: Launcher) -> None:
    judge = Judge()
    assert kit.run("lab", "up", "cilium", at="bpf_link_create").killed
    done = kit.run("gc")
    assert done.code == 0
    assert "lab cilium: undid what a killed process had left half done" in done.stdout
    assert judge.differences() == []


def test_processes_of_a_lab_end_with_it_and_with_nothing_else(name: str) -> None:
    text = PAIR.replace("NAME", name).replace(
        "  a: {",
        "  a: {processes: [sleep 1000, \"sh -c 'trap : TERM; while :; do sleep 1; done'\"], ",
    )
    lab = load(text, "pair.yaml", name)
    lifecycle.up(lab)
    try:
        bystander = subprocess.Popen(["ip", "netns", "exec", f"{name}-b", "sleep", "1000"])
        inside = hosts.run("ip", "netns", "pids", f"{name}-a").stdout.split()
        assert len(inside) >= 2
    finally:
        lifecycle.down(name)
    # Those whose parents ended first are init's to bury.
    assert hosts.until(lambda: not any(Path("/proc", process).exists() for process in inside))
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_names_are_answered_in_a_container_by_its_own_resolver() -> None:
    with standing(catalogue.declared("docker")):

        def resolved(node: str, name: str) -> str:
            done = hosts.ebpfnet("lab", "exec", node, "--", "getent", "ahostsv4", name, check=False)
            return done.stdout.partition(" ")[0]

        assert hosts.until(lambda: resolved("web", "db") == "172.17.0.3")  # once it listens
        assert resolved("db", "web") == "172.17.0.2"
        assert hosts.until(lambda: resolved("web", "www.world") == "198.51.100.9")
        assert resolved("web", "nobody.world") == ""
        by_hand = hosts.run("getent", "ahostsv4", "db", netns="docker-web").stdout
        assert by_hand.startswith("172.17.0.3 ")
    assert not list(Path("/etc/netns").iterdir())


def test_rules_of_the_nat_lab_count_what_they_translate() -> None:
    with standing(catalogue.declared("nat")) as lab:
        assert wrong(lab) == []
        rows = json.loads(hosts.ebpfnet("show", "nat", "nat-router", "-o", "json").stdout)
    assert [row["packets"] > 0 for row in rows] == [True, True]


def test_a_delayed_link_delays_both_ways(name: str) -> None:
    text = PAIR.replace("NAME", name).replace(
        "a:eth0 -- b:eth0", "{ends: a:eth0 -- b:eth0, delay: 20ms}"
    )
    lab = load(text, "pair.yaml", name)
    if lacking := needs.missing(lab):
        pytest.skip("; ".join(lacking))
    with standing(lab):
        took = {
            (cell.source, str(cell.target)): cell.round_trip for cell in checks.check(lab).cells
        }
    there_and_back = took["b", "10.7.9.1"]
    assert there_and_back is not None
    assert there_and_back >= 0.04
