"""Something is missing, full, refused or gone midway: one clear line, and all is undone at once."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support import hosts, inventory
from tests.support.crash import Launcher, Run
from tests.support.kit import PINS

MAIN = "from cli.main import main; main()"
# Done by a process before it runs the kit; it may have a mount namespace of its own.
WITHOUT_BPFFS = """
import subprocess
subprocess.run(["umount", "--no-mtab", "--all-targets", "/sys/fs/bpf"], check=True)
"""
WITHOUT_HEADERS = """
import os, subprocess
os.environ.pop("BCC_KERNEL_SOURCE", None)
for folder in filter(os.path.isdir, ("/usr/src", "/lib/modules")):
    subprocess.run(["mount", "--no-mtab", "-t", "tmpfs", "none", folder], check=True)
"""
WITH_WRONG_HEADERS = """
import os
os.environ["BCC_KERNEL_SOURCE"] = "/nowhere"
"""
WITHOUT_BCC = """
import importlib.util, subprocess
(folder,) = importlib.util.find_spec("bcc").submodule_search_locations
subprocess.run(["mount", "--no-mtab", "-t", "tmpfs", "none", folder], check=True)
"""
WITHOUT_ROOT = """
import importlib, os
for name in ("attach", "endpoint", "main", "map", "status"):
    importlib.import_module(f"cli.{name}")
os.setgroups([]), os.setgid(65534), os.setuid(65534)
"""
WITH_LITTLE_ROOM = """
import os, subprocess
os.makedirs("/run/ebpfnet", 0o700, exist_ok=True)
mount = ["mount", "--no-mtab", "-t", "tmpfs", "-o", "size=4k", "none", "/run/ebpfnet"]
subprocess.run(mount, check=True)
"""
# The kernel takes a namespace's interfaces away after `ip netns del` has returned.
DELETE = """
import os, subprocess, sys, time
_, noun, name, path = sys.argv
subprocess.run(["ip", noun, "del", name], check=True)
while os.path.exists(path):
    time.sleep(0.01)
"""


def with_source(folder: Path) -> str:
    """The kit compiles what is there."""
    return f"""
import pathlib
from datapath.kernel.bpf import compiler
compiler.source_folder = lambda: pathlib.Path({str(folder)!r})
"""


def hindered(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """The kit's command line, in a mount namespace of its own, after some Python code."""
    return hosts.run(
        *("unshare", "--mount", sys.executable, "-c", code + MAIN, *argv),
        check=False,
        cwd=hosts.CHECKOUT,
    )


def complaint(done: subprocess.CompletedProcess[str] | Run) -> str:
    """The one line that it failed with; what gc says of others' networks does not count."""
    code = done.code if isinstance(done, Run) else done.returncode
    assert code in (1, 2), done.stderr
    assert [line for line in done.stdout.splitlines() if not line.endswith("left alone")] == []
    (line,) = done.stderr.splitlines()
    assert line.startswith("ebpfnet: ")
    assert "internal error" not in line
    return line


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (WITHOUT_BPFFS, r"bpffs is not mounted at /sys/fs/bpf; mount -t bpf bpf /sys/fs/bpf"),
        (WITHOUT_HEADERS, r"no kernel headers are installed.*; apt-get install linux-headers"),
        (WITH_WRONG_HEADERS, r"/nowhere, of \$BCC_KERNEL_SOURCE, holds no.*; unset BCC_KERNEL"),
        (WITHOUT_BCC, r"bcc's Python package is not importable; apt-get install python3-bpfcc"),
        (WITHOUT_ROOT, r"this needs root, and you are user 65534; run it with sudo"),
    ],
    ids=["bpffs", "headers", "wrong headers", "bcc", "root"],
)
def test_what_attach_misses_is_named(name: str, code: str, says: str) -> None:
    line = complaint(hindered(code, "attach", f"{name}a", f"{name}b", "--network", name))
    assert re.search(says, line), line


@pytest.mark.parametrize(
    "argv",
    [
        *(["detach"], ["detach", "--all"], ["reload"], ["gc"], ["status"], ["map", "list"]),
        *(["endpoint", "list"], ["endpoint", "get", "x"], ["attach", "--dry-run"]),
    ],
    ids=" ".join,
)
def test_without_root_it_says_so(argv: list[str]) -> None:
    assert "this needs root" in complaint(hindered(WITHOUT_ROOT, *argv))


@pytest.mark.parametrize(
    ("wrong", "says", "detail"),
    [
        (
            "find_sender(*(u32 *)(long)skb->data);",
            r"the kernel's verifier refused program tc_peer: R\d.* outside of the packet; see",
            r"invalid access to packet.*\n(.*\n)*processed \d+ insns",
        ),
        (
            "find_sender(skb->no_such_field);",
            r"cannot compile endpoint.c: .*endpoint.c:\d+:\d+: error: no member named .*; see",
            r"endpoint.c:\d+:\d+: error: no member named 'no_such_field'",
        ),
    ],
    ids=["verifier", "compiler"],
)
def test_a_program_that_is_refused_leaves_nothing(
    name: str, bpf_copy: Path, wrong: str, says: str, detail: str
) -> None:
    source = bpf_copy / "endpoint.c"
    text = source.read_text()
    right = "find_sender(skb->ifindex);"
    assert right in text
    source.write_text(text.replace(right, wrong))
    attach = ["attach", f"{name}a", "--network", name]
    before = inventory.take()
    line = complaint(hindered(with_source(bpf_copy), *attach))
    assert re.search(says, line), line
    assert inventory.left_behind(before) == []
    first, _, more = hindered(with_source(bpf_copy), *attach, "--verbose").stderr.partition("\n")
    assert first == line
    assert re.search(detail, more), more


def test_a_journal_that_finds_no_room_leaves_nothing(name: str) -> None:
    many = [f"{name}{number}" for number in range(40)]
    try:
        line = complaint(hindered(WITH_LITTLE_ROOM, "attach", *many, "--network", name))
    finally:
        with suppress(OSError):  # others have journals in it
            Path("/run/ebpfnet").rmdir()
    assert re.search(r"writing /run/ebpfnet/.*: no space left; make room in /run", line), line


@pytest.fixture
def bpf_copy(tmp_path: Path) -> Path:
    """A copy of the C sources."""
    hosts.run("cp", "-r", str(hosts.CHECKOUT / "bpf"), str(tmp_path))
    return tmp_path / "bpf"


@pytest.fixture(scope="module")
def network(kit: Launcher) -> Iterator[str]:
    """A network with room for two, where {network}stays is; also the prefix of more names."""
    prefix = hosts.unique_prefix()
    try:
        kit.succeed("attach", f"{prefix}stays", "--network", prefix, "--max-endpoints", "2")
        hosts.settle(f"{prefix}stays")
        host_end = ("link", "show", f"h-{prefix}stays")
        assert hosts.until(lambda: "state UP" in hosts.ip(*host_end).stdout)
        yield prefix
    finally:
        kit.run("detach", "--network", prefix)


@pytest.mark.parametrize(
    "moment",
    [
        *("apply AddEndpoint", "bpf_map_update_elem", "apply AttachProgram", "bpf_link_create"),
        'write {"committed"',
    ],
)
@pytest.mark.parametrize("vanishing", [("link", "h-{}new"), ("netns", "{}new")], ids=" ".join)
def test_an_interface_that_vanishes_midway(
    kit: Launcher, network: str, moment: str, vanishing: tuple[str, str]
) -> None:
    noun, name = vanishing
    run = kit.run(
        *("attach", f"{network}new", "--network", network),
        at=moment,
        command=[
            *(sys.executable, "-c", DELETE, noun, name.format(network)),
            f"/sys/class/net/h-{network}new",
        ],
    )
    if "committed" in moment:  # too late for that run to see; the next one does
        assert run.code == 0, run.stderr
        run = kit.run("gc")
        assert f"removed endpoints whose interfaces are gone: {network}new" in run.stdout
    else:
        assert re.search(r"(does not exist|is gone); see ", complaint(run))


def test_one_of_two_adopted_interfaces_vanishes_midway(
    kit: Launcher, network: str, name: str
) -> None:
    """What is left is put back in its bridge, as it was there."""
    with ExitStack() as undo:
        made = undo.enter_context(hosts.bridge_by_hand(name))
        gone, stays = made.host_ifnames
        hosts.run("bridge", "link", "set", "dev", stays, "cost", "77")
        before = hosts.run("bridge", "-d", "link", "show", "dev", stays).stdout
        undo.callback(kit.run, "detach", "--network", f"{name}net")
        run = kit.run(
            *("attach", *made.namespaces, "--network", f"{name}net"),
            at="apply AdoptInterface",
            command=["ip", "link", "del", gone],
        )
        assert re.search(rf"interface {gone} does not exist; see ", complaint(run))
        assert any(f'"host_ifname": "{stays}"' in m and "Adopt" in m for m in run.moments)
        assert hosts.run("bridge", "-d", "link", "show", "dev", stays).stdout == before


def test_a_map_that_is_full_midway(kit: Launcher, network: str) -> None:
    path = str(PINS / network / "maps/endpoints_v4")
    keys = [f"192 0 2 {number}" for number in range(3)]  # with the endpoint's own, that is all
    try:
        for key in keys:
            hosts.run(
                *("bpftool", "map", "update", "pinned", path, "key", *key.split()),
                *("value", *["0"] * 16),
            )
        before = hosts.run("bpftool", "map", "dump", "pinned", path, "-j").stdout
        line = complaint(kit.run("attach", f"{network}new", "--network", network))
        assert "map endpoints_v4 is full: it has room for 4 entries; detach endpoints, or" in line
        assert hosts.run("bpftool", "map", "dump", "pinned", path, "-j").stdout == before
    finally:
        for key in keys:
            delete = ("bpftool", "map", "delete", "pinned", path, "key", *key.split())
            hosts.run(*delete, check=False)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL], ids=lambda sign: sign.name)
def test_many_endpoints_at_once_are_undone_at_once(
    kit: Launcher, name: str, sign: signal.Signals
) -> None:
    """Also the kernel's switch that makes attaching many faster."""
    switch = Path("/sys/kernel/rcu_expedited")
    # Of the whole machine: others may be using it.
    assert hosts.until(lambda: switch.read_text() == "0\n")
    run = kit.run(
        *("attach", *(f"{name}{number}" for number in range(20)), "--network", name),
        at="apply AttachProgram",
        signal=sign,
    )
    if sign is signal.SIGINT:
        assert run.code == 130
        assert run.stderr.strip() == "ebpfnet: interrupted; what was begun is undone"
    else:
        assert run.killed
        assert switch.read_text() == "1\n"
        assert kit.run("gc").code == 0
    assert hosts.until(lambda: switch.read_text() == "0\n")


@pytest.mark.parametrize("command", ["gc", "detach", "attach"])
@pytest.mark.parametrize("enter", ["nsenter", "ip netns exec"])
def test_from_inside_a_namespace_nothing_is_touched(network: str, command: str, enter: str) -> None:
    """There the host's interfaces, or the pins too, look as if they had gone."""
    inside = (
        ["nsenter", f"--net=/run/netns/{network}stays"]
        if enter == "nsenter"
        else ["ip", "netns", "exec", f"{network}stays"]
    )
    argv = [command] if command == "gc" else [command, f"{network}new", "--network", network]
    done = hosts.run(
        *inside, *(sys.executable, "-m", "cli", *argv), check=False, cwd=hosts.CHECKOUT
    )
    assert re.search(
        "another network namespace than this one; run this there"
        if enter == "nsenter"
        else f"`ip netns exec {network}stays` hides /sys/fs/bpf.*; run this outside of it",
        complaint(done),
    )


@pytest.mark.parametrize("argv", [["status"], ["map", "list"], ["endpoint", "list"]], ids=" ".join)
def test_from_inside_a_namespace_no_network_is_denied(network: str, argv: list[str]) -> None:
    """Its /sys is not the one with the pins, so whether there is a network cannot be told."""
    done = hosts.run(
        *(sys.executable, "-m", "cli", *argv),
        netns=f"{network}stays",
        check=False,
        cwd=hosts.CHECKOUT,
    )
    assert "hides /sys/fs/bpf, and with it every network" in complaint(done)
