"""kill -9 at every moment, and what puts things right afterwards; and ctrl-C, which undoes itself.

What is worked on are networks that exist, so that nothing has to be compiled each time; each has
two endpoints that stay. The others' traffic and inventory are not to change meanwhile.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from threading import Thread

import pytest

from datapath.kernel.net import netns
from tests.support import hosts, inventory
from tests.support.crash import Judge, Launcher, Run
from tests.support.kit import PINS

ADDRESSES = ("10.1.0.1", "10.1.0.2")  # of the two namespaces on the bridge
HOOKS = {"tcx": "tc-peer", "clsact": "tc", "xdp": "xdp"}  # with a mode for each
NEW_ADDRESS = "10.1.0.7"
STAYING_ADDRESSES = ("10.1.0.8", "10.1.0.9")
INTERRUPTED = "ebpfnet: interrupted; what was begun is undone\n"


@dataclass(frozen=True, slots=True)
class Scene:
    """A bridge by hand, and a network for each hook with two endpoints."""

    prefix: str
    bridged: hosts.ByHand

    @property
    def new(self) -> str:
        """A namespace that attach is to make."""
        return f"{self.prefix}new"

    def staying(self, hook: str) -> list[str]:
        """The namespaces of endpoints that no test takes out."""
        return [f"{self.prefix}{hook}{number}" for number in (1, 2)]

    def network(self, hook: str) -> str:
        return f"{self.prefix}{hook}"

    def attach(self, hook: str) -> list[str]:
        """A command that adopts both ports of the bridge and makes a third endpoint."""
        return [
            *("attach", *self.bridged.namespaces, self.new, "--network", self.network(hook)),
            *("--ip", f"{self.new}={NEW_ADDRESS}"),
        ]

    def detach(self, hook: str) -> list[str]:
        """What undoes it, and leaves the endpoint that stays."""
        return [
            *("detach", *self.bridged.namespaces, self.new),
            *("--network", self.network(hook)),
        ]

    def others_work(self, hook: str) -> bool:
        """Whether the endpoints of the other networks reach one another."""
        return all(
            hosts.ping(self.staying(other)[0], STAYING_ADDRESSES[1], count=3)
            for other in {*HOOKS} - {hook}
        )


@pytest.fixture(scope="module")
def scene(kit: Launcher) -> Iterator[Scene]:
    with ExitStack() as undo:
        prefix = hosts.unique_prefix()
        made = Scene(prefix, undo.enter_context(hosts.bridge_by_hand(prefix)))
        port = made.bridged.host_ifnames[1]
        hosts.run(*("bridge", "link", "set", "dev", port), *("cost", "77", "guard", "on"))
        for hook, mode in HOOKS.items():
            undo.callback(kit.run, "detach", "--network", made.network(hook))
            kit.succeed(
                *("attach", *made.staying(hook), "--network", made.network(hook)),
                *("--subnet", "10.1.0.0/24", "--mode", mode),
                *(() if hook == "xdp" else ("--hook", hook)),
                *(
                    word
                    for netns, address in zip(made.staying(hook), STAYING_ADDRESSES, strict=True)
                    for word in ("--ip", f"{netns}={address}")
                ),
            )
        hosts.settle(*made.bridged.namespaces, *chain(*map(made.staying, HOOKS)))
        yield made


def killed(kit: Launcher, *argv: str, first: int = 1, every: int = 1) -> Iterator[Run]:
    """The command again and again, killed at a later moment each time until it ends before that."""
    for at in count(first, every):
        run = kit.run(*argv, at=at)
        if not run.killed:
            assert run.code == 0, run.stderr
            return
        yield run


def stands(run: Run) -> bool:
    """Whether it was killed so late that all it was to do is done."""
    return any(moment.startswith('wrote {"committed"') for moment in run.moments)


def kind(moment: str) -> str:
    return moment.split("{")[0]


def assert_undone(judge: Judge, scene: Scene, hook: str) -> None:
    """The machine is what it was: nothing is left, and whoever reached another still does."""
    assert inventory.left_behind(judge.inventory) == []
    assert hosts.ping(scene.bridged.namespaces[0], ADDRESSES[1], count=3)
    assert scene.others_work(hook)


@pytest.mark.parametrize(("hook", "every"), [("tcx", 4), ("clsact", 9), ("xdp", 9)])
def test_gc_undoes_an_attach_that_was_killed(
    kit: Launcher, scene: Scene, hook: str, every: int
) -> None:
    judge = Judge()
    hit = []
    try:
        for run in killed(kit, *scene.attach(hook), every=every):
            kit.succeed("gc")
            if stands(run):
                break
            assert judge.differences() == [], run.moments[-1]
            hit.append(run.moments[-1])
        assert hosts.ping(scene.new, ADDRESSES[0], count=3)
        assert hosts.ping(scene.bridged.namespaces[0], ADDRESSES[1], count=3)
        assert hosts.ping(scene.bridged.namespaces[1], STAYING_ADDRESSES[0], count=3)
    finally:
        kit.run(*scene.detach(hook))
    assert len(hit) >= 10
    assert len({kind(moment) for moment in hit}) >= 5
    assert_undone(judge, scene, hook)


@pytest.mark.parametrize(("hook", "every"), [("tcx", 4), ("clsact", 8), ("xdp", 9)])
def test_gc_finishes_a_detach_that_was_killed(
    kit: Launcher, scene: Scene, hook: str, every: int
) -> None:
    """Before the journal says that they leave, all of them stay; from then on, all of them go."""
    judge = Judge()
    hit = []
    try:
        kit.succeed(*scene.attach(hook))
        for run in killed(kit, *scene.detach(hook), every=every):
            leaving = any(moment.startswith('wrote {"leaving"') for moment in run.moments)
            kit.succeed("gc")
            if leaving:
                assert judge.differences() == [], run.moments[-1]
                kit.succeed(*scene.attach(hook))
            hit.append(run.moments[-1])
            assert hosts.ping(scene.new, ADDRESSES[1])
    finally:
        kit.run(*scene.detach(hook))
    assert len(hit) >= 10
    assert len({kind(moment) for moment in hit}) >= 5
    assert_undone(judge, scene, hook)


@pytest.mark.parametrize("repair", ["attach", "detach"])
def test_the_next_command_repairs_what_was_killed(kit: Launcher, scene: Scene, repair: str) -> None:
    judge = Judge()
    hit = 0
    try:
        for run in killed(kit, *scene.attach("tcx"), first=4, every=8):
            if stands(run):
                break
            hit += 1
            if repair == "attach":
                kit.succeed(*scene.attach("tcx"))
                assert hosts.ping(scene.new, ADDRESSES[0]), run.moments[-1]
                kit.succeed(*scene.detach("tcx"))
            else:
                refused = kit.run(*scene.detach("tcx"))
                assert (refused.code, "has no endpoint" in refused.stderr) == (1, True)
            assert judge.differences() == [], run.moments[-1]
    finally:
        kit.run(*scene.detach("tcx"))
    assert hit >= 10
    assert_undone(judge, scene, "tcx")


def test_an_attach_that_is_interrupted_undoes_itself(kit: Launcher, scene: Scene) -> None:
    judge = Judge()
    hit = 0
    try:
        for at in count(1, 4):
            run = kit.run(*scene.attach("tcx"), at=at, signal=signal.SIGINT)
            if run.code == 0:
                break
            hit += 1
            assert run.code == 130, (run.moments[-1], run.stderr)
            assert run.stderr.split("\n", 1)[1] == INTERRUPTED, run.moments[-1]
            assert judge.differences() == [], run.moments[-1]
    finally:
        kit.run(*scene.detach("tcx"))
    assert hit >= 10
    assert_undone(judge, scene, "tcx")


@pytest.mark.parametrize(
    "moment",
    ["os.mkdir {pins}/maps", "bpf_obj_pin {pins}/progs", 'write {{"committed"'],
)
def test_gc_removes_a_network_that_was_half_made(kit: Launcher, scene: Scene, moment: str) -> None:
    judge = Judge()
    network = scene.network("made")
    run = kit.run(
        *("attach", scene.new, "--network", network),
        at=moment.format(pins=f"{PINS}/{network}"),
    )
    assert run.killed, run.stderr
    done = kit.succeed("gc")
    assert f"{network}: undid what a killed process had left half done" in done.stdout
    assert inventory.left_behind(judge.inventory) == []
    assert "nothing to do" in kit.succeed("gc").stderr


@pytest.mark.parametrize("moment", ["os.remove {pins}/maps/endpoints", "os.remove {journal}"])
def test_gc_that_is_killed_itself_removes_a_network_in_the_end(
    kit: Launcher, scene: Scene, moment: str
) -> None:
    judge = Judge()
    network = scene.network("made")
    try:
        kit.succeed("attach", scene.new, "--network", network)
        run = kit.run(
            *("detach", "--network", network),
            at=moment.format(pins=f"{PINS}/{network}", journal=f"/run/ebpfnet/{network}.journal"),
        )
        assert run.killed, run.stderr
        while kit.run("gc", at='wrote {"undone"').killed:
            pass
        assert inventory.left_behind(judge.inventory) == []
    finally:
        kit.run("detach", "--network", network)


def test_gc_drops_a_program_that_was_left_half_replaced(kit: Launcher, scene: Scene) -> None:
    judge = Judge()
    network = scene.network("made")
    pins = PINS / network
    namespaces = (scene.new, f"{scene.prefix}newer")
    try:
        kit.succeed("attach", *namespaces, "--network", network, "--ip", f"{scene.new}=10.1.1.7")
        pinned = sorted(pins.rglob("*"))
        for moment in ("bpf_link_update", "os.rename"):
            run = kit.run("reload", "--network", network, at=moment)
            assert run.killed, run.stderr
            kit.succeed("gc")
            assert sorted(pins.rglob("*")) == pinned
            assert hosts.ping(namespaces[1], "10.1.1.7", count=3), moment
    finally:
        kit.run("detach", "--network", network)
    assert inventory.left_behind(judge.inventory) == []


def test_gc_undoes_a_refresh_that_was_killed(kit: Launcher, scene: Scene) -> None:
    """Attaching anew brings entries up to date; what they were is what they are afterwards."""
    judge = Judge()
    network = scene.network("made")
    attach = ("attach", scene.new, "--network", network)
    maps = [f"{PINS}/{network}/maps/endpoints{suffix}" for suffix in ("", "_v4")]

    def entries() -> list[str]:
        return [hosts.run("bpftool", "map", "dump", "pinned", path, "-j").stdout for path in maps]

    try:
        kit.succeed(*attach)
        hosts.ip("-n", scene.new, "addr", "add", "10.1.1.77/24", "dev", "eth0")
        before = entries()
        hit = 0
        for run in killed(kit, *attach):
            if stands(run):
                break
            kit.succeed("gc")
            assert entries() == before, run.moments[-1]
            hit += 1
        assert hit >= 5
        assert "10.1.1.77" in kit.run("map", "dump", "endpoints_v4", "--network", network).stdout
    finally:
        kit.run("detach", "--network", network)
    assert inventory.left_behind(judge.inventory) == []


def test_an_interrupt_waits_for_what_is_under_way_in_a_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However early it comes: here while the thread that does the work starts."""
    happened = []
    set_ident = Thread._set_ident  # type: ignore[attr-defined]

    def interrupted(thread: Thread) -> None:
        happened.append("started")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # for the main thread to see it
        set_ident(thread)

    def work() -> None:
        time.sleep(0.1)
        happened.append("done")

    monkeypatch.setattr(Thread, "_set_ident", interrupted)
    with pytest.raises(KeyboardInterrupt):
        netns.run_inside(Path("/proc/self/ns/net"), work)
    assert happened == ["started", "done"]
