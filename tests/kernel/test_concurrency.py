"""Several at once: on one network they take turns, on different ones none is in another's way."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.crash import Launcher, Run
from tests.support.kit import PINS, endpoints

PAUSE = """
import os, sys, time
_, paused, go = sys.argv
open(paused, "w").close()
while not os.path.exists(go):
    time.sleep(0.01)
"""
# Whether it succeeds is for the test to see.
COMPETE = f"""
import subprocess, sys
argv = [sys.executable, "-m", "cli", "attach", *sys.argv[1:]]
subprocess.run(argv, cwd={str(hosts.CHECKOUT)!r}, capture_output=True)
"""


@contextmanager
def paused(kit: Launcher, folder: Path, *argv: str, at: str) -> Iterator[Future[Run]]:
    """A run of the kit that stands still at a moment while the body runs, and then goes on."""
    files = folder / "paused", folder / "go"
    command = [sys.executable, "-c", PAUSE, *map(str, files)]
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(kit.run, *argv, at=at, command=command)
        try:
            assert hosts.until(lambda: run.done() or files[0].exists(), 30)
            assert not run.done(), run.result()
            yield run
        finally:
            files[1].touch()


def waits(*argv: str, folder: Path) -> subprocess.Popen[bytes]:
    """The command line, started, once it has said that it waits."""
    said = folder / "stderr"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", *argv],
            cwd=hosts.CHECKOUT,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    assert hosts.until(lambda: "waiting for another process on network" in said.read_text(), 30)
    return process


def ids_and_addresses(network: str) -> dict[int, str]:
    return {row["id"]: row["ipv4"] for row in endpoints(network).values()}


def test_a_second_attach_waits_for_the_first(kit: Launcher, name: str, tmp_path: Path) -> None:
    first, second = (["attach", f"{name}{letter}", "--network", name] for letter in "ab")
    try:
        with paused(kit, tmp_path, *first, at="apply MakeNetwork") as run:
            other = waits(*second, folder=tmp_path)
        assert run.result().code == 0
        assert other.wait(30) == 0
        assert ids_and_addresses(name) == {1: "10.1.1.2", 2: "10.1.1.3"}
        assert hosts.ping(f"{name}a", "10.1.1.3", count=3)
    finally:
        kit.run("detach", "--network", name)


def test_a_detach_waits_for_the_attach(kit: Launcher, name: str, tmp_path: Path) -> None:
    with paused(
        kit, tmp_path, "attach", f"{name}a", "--network", name, at="apply AttachProgram"
    ) as run:
        other = waits("detach", "--network", name, folder=tmp_path)
    assert run.result().code == 0
    assert other.wait(30) == 0
    assert f"there is no network {name}" in kit.run("detach", "--network", name).stderr


@pytest.mark.parametrize("at", ["apply MakeNetwork", "apply AttachProgram"])
def test_gc_leaves_alone_what_somebody_works_on(
    kit: Launcher, name: str, tmp_path: Path, at: str
) -> None:
    try:
        with paused(
            kit, tmp_path, "attach", f"{name}a", f"{name}b", "--network", name, at=at
        ) as run:
            for force in ([], ["--force"]):
                done = hosts.ebpfnet("gc", *force)
                assert f"{name}: another process is working on it, left alone" in done.stdout
        assert run.result().code == 0
        assert hosts.ping(f"{name}a", "10.1.1.3", count=3)
    finally:
        kit.run("detach", "--network", name)


def test_another_network_comes_and_goes_meanwhile(kit: Launcher, name: str, tmp_path: Path) -> None:
    """Also one that adopts, and looks at who has what for that."""
    network, other = f"{name}x", f"{name}y"
    with ExitStack() as undo:
        made = undo.enter_context(hosts.bridge_by_hand(name))
        undo.callback(kit.run, "detach", "--network", network)
        undo.callback(hosts.ebpfnet, "detach", "--network", other, check=False)
        attach = ["attach", f"{name}a", f"{name}b", "--network", network]
        half_made = f"os.mkdir {PINS}/{network}/maps"
        with paused(kit, tmp_path, *attach, at=half_made) as run:
            hosts.ebpfnet("attach", *made.namespaces, "--network", other)
            assert hosts.ping(made.namespaces[0], made.addresses[1], count=3)
            hosts.ebpfnet("detach", "--network", other)
        assert run.result().code == 0, run.result().stderr
        assert hosts.ping(f"{name}a", "10.1.1.3", count=3)


def test_the_folder_of_all_networks_may_go_at_any_moment(kit: Launcher, name: str) -> None:
    """Which it does when the last network is detached while another is made."""
    try:
        run = kit.run(
            *("attach", f"{name}a", "--network", name),
            at=f"os.mkdir {PINS}/{name}",
            command=["rmdir", "--ignore-fail-on-non-empty", str(PINS)],
        )
        assert run.code == 0, run.stderr
    finally:
        kit.run("detach", "--network", name)


@pytest.mark.parametrize("at", ["apply AddEndpoint", "apply AttachProgram"])
def test_of_two_networks_that_adopt_the_same_one_gives_way(
    kit: Launcher, name: str, at: str
) -> None:
    """At the first moment the other is the faster one; at the second it comes too late."""
    with ExitStack() as undo:
        made = undo.enter_context(hosts.bridge_by_hand(name))
        networks = [f"{name}x", f"{name}y"]
        for network in networks:
            undo.callback(kit.run, "detach", "--network", network)
        mine, other = ([f"--network={network}", *made.namespaces] for network in networks)
        compete = [sys.executable, "-c", COMPETE, *other]
        run = kit.run("attach", *mine, at=at, command=compete)
        standing = networks[1] if "AddEndpoint" in at else networks[0]
        if standing == networks[1]:
            assert (run.code, run.stdout) == (1, "")
            assert f"endpoint of network {standing} meanwhile; ebpfnet detach" in run.stderr
        else:
            assert run.code == 0, run.stderr
        status = json.loads(hosts.ebpfnet("status", "-o", "json").stdout)
        assert [row["network"] for row in status if row["network"] in networks] == [standing]
        assert hosts.ping(made.namespaces[0], made.addresses[1], count=3)
        assert kit.run("detach", "--network", standing).code == 0
        assert hosts.ping(made.namespaces[0], made.addresses[1], count=3)


def test_many_at_once(kit: Launcher, name: str) -> None:
    """Four attaches to one network, beside two networks that come and go."""
    try:
        with ThreadPoolExecutor() as pool:
            joins = [
                pool.submit(hosts.ebpfnet, "attach", f"{name}{letter}", "--network", name)
                for letter in "abcd"
            ]
            comes = [
                pool.submit(hosts.ebpfnet, "attach", f"{name}{letter}", "--network", name + letter)
                for letter in "xy"
            ]
            goes = []
            for letter, attach in zip("xy", comes, strict=True):
                attach.result()
                goes.append(pool.submit(hosts.ebpfnet, "detach", "--network", name + letter))
            for done in (*joins, *goes):
                done.result()
        assert ids_and_addresses(name) == {number: f"10.1.1.{number + 1}" for number in range(1, 5)}
        rows = endpoints(name)
        for letter in "bcd":
            assert hosts.ping(f"{name}a", rows[name + letter]["ipv4"], count=3)
    finally:
        for network in (name, f"{name}x", f"{name}y"):
            kit.run("detach", "--network", network)
