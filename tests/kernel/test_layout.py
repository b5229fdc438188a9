"""Maps of another version of the kit are never misread: they are refused by what differs."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from datapath.modes import xdp
from datapath.records import MAPS
from tests.support import hosts, inventory
from tests.support.crash import Judge, Launcher, Run
from tests.support.kit import PINS

REMEDY = (
    "; remove it with the version that made it, or take the network down with `ebpfnet gc --force`"
)
# Another version of the kit, as far as maps go: it compiles other sources.
OTHER_SOURCES = """
import pathlib, sys
from datapath.kernel.bpf import compiler
folder = pathlib.Path(sys.argv.pop(1))
compiler.source_folder = lambda: folder
from cli.main import main
main()
"""


@pytest.fixture(scope="module")
def network(kit: Launcher) -> Iterator[str]:
    """A network of one endpoint, {network}stays; also the prefix of more names."""
    prefix = hosts.unique_prefix()
    try:
        kit.succeed("attach", f"{prefix}stays", "--network", prefix, "--mode", "xdp")
        hosts.settle(f"{prefix}stays")
        yield prefix
    finally:
        kit.run("detach", "--network", prefix)


@contextmanager
def another_map(network: str, name: str, *, key: int, value: int) -> Iterator[Path]:
    """A map of these sizes in the place of a network's own."""
    pin = PINS / network / "maps" / name
    aside = PINS.parent / f"{network}-aside"
    pin.rename(aside)
    try:
        hosts.run(
            *("bpftool", "map", "create", str(pin), "type", "hash", "name", name[:15]),
            *("key", str(key), "value", str(value), "entries", "8"),
        )
        yield pin
    finally:
        pin.unlink(missing_ok=True)
        aside.rename(pin)


def refusal(run: Run) -> str:
    """The one line that a run complained by; what gc says of others' networks does not count."""
    printed = [line for line in run.stdout.splitlines() if not line.endswith("left alone")]
    assert (run.code, printed) == (1, []), run
    (line,) = run.stderr.splitlines()
    assert line.startswith("ebpfnet: ")
    return line


def readers(name: str) -> Iterator[list[str]]:
    """Commands that read a map, which `--network NAME` may follow."""
    yield from (["detach"], ["map", "dump", name], ["attach"])
    if name in ("endpoints", "endpoint_stats"):
        yield ["endpoint", "list"]
    if name in ("config", "endpoints"):
        yield ["reload"]


@pytest.mark.parametrize("differs", ["key", "value"])
@pytest.mark.parametrize("name", xdp.MODE.program.maps)
def test_other_sizes_are_refused(kit: Launcher, network: str, name: str, differs: str) -> None:
    spec = MAPS[name]
    sizes = {"key": spec.key_size, "value": spec.value_size}
    other = {**sizes, differs: sizes[differs] + 4}
    with another_map(network, name, **other):
        judge = Judge()
        for command in readers(name):
            attach = [f"{network}more"] if command == ["attach"] else []
            assert refusal(kit.run(*command, *attach, "--network", network)) == (
                f"ebpfnet: map {name} at {PINS}/{network}/maps/{name} was made by another version "
                f"of ebpfnet: {differs} size is {other[differs]} bytes there, {sizes[differs]} "
                f"bytes here{REMEDY}"
            )
            assert judge.differences() == []
        if name in ("config", "drops", "endpoints"):
            status = kit.run("status")
            assert status.code == 0
            assert f"{network}: map {name} at " in status.stdout
            assert REMEDY in status.stdout


def swapped(text: str, structure: str, one: str, other: str) -> str:
    """With two members of a structure in each other's place."""
    found = re.search(rf"(?s)struct {structure} {{.*?({one};.*?\n)(.*?)({other};.*?\n).*?}};", text)
    assert found, structure
    return text[: found.start(1)] + found[3] + found[2] + found[1] + text[found.end(3) :]


def renamed(text: str, one: str, other: str) -> str:
    assert text.count(one) == 1
    return text.replace(one, other)


@dataclass(frozen=True, slots=True)
class Other:
    """Another version: its maps.h made of ours, and by which map and words it is told from ours.

    `reader` is a command that sees it, besides attach and detach; `code` is how the version runs.
    """

    maps: Callable[[str], str]
    name: str
    says: str
    reader: list[str]
    code: str = OTHER_SOURCES


@pytest.mark.parametrize(
    "other",
    [
        Other(
            lambda text: swapped(text, "endpoint_stats", "u64 rx_packets", "u64 tx_packets"),
            "endpoint_stats",
            "field rx_packets is at byte 16, 8 bytes long there, at byte 0, 8 bytes long here",
            ["endpoint", "list"],
        ),
        Other(
            lambda text: swapped(text, "destination", "u32 id", "u32 ifindex"),
            "endpoints_v4",
            "field id is at byte 4, 4 bytes long there, at byte 0, 4 bytes long here",
            ["map", "dump", "endpoints_v4"],
        ),
        Other(
            lambda text: renamed(text, "char kit_version[", "char made_by["),
            "config",
            "field kit_version is missing there, at byte 24, 16 bytes long here",
            ["reload"],
        ),
        Other(
            lambda text: text,
            "config",
            "layout version is 99 there, 3 here",
            ["reload"],
            "from datapath import records\nrecords.LAYOUT_VERSION = 99\n" + OTHER_SOURCES,
        ),
    ],
    ids=["order", "place", "name", "version"],
)
def test_other_fields_are_refused_and_force_takes_the_network_down(
    kit: Launcher, name: str, tmp_path: Path, other: Other
) -> None:
    hosts.run("cp", "-r", str(hosts.CHECKOUT / "bpf"), str(tmp_path))
    header = tmp_path / "bpf/include/maps.h"
    header.write_text(other.maps(header.read_text()))
    before = inventory.take()
    try:
        hosts.run(
            *(sys.executable, "-c", other.code, str(tmp_path / "bpf")),
            *("attach", f"{name}a", f"{name}b", "--network", name),
            cwd=hosts.CHECKOUT,
        )
        judge = Judge()
        for command in (["attach", f"{name}c"], ["detach"], other.reader):
            line = refusal(kit.run(*command, "--network", name))
            assert f"map {other.name} at {PINS}/{name}/maps/{other.name} was made by" in line
            assert line.endswith(f": {other.says}{REMEDY}")
        assert judge.differences() == []
    finally:
        forced = kit.run("gc", "--force")
    assert (forced.code, forced.stderr) == (0, "")
    assert f"network {name}: removed, its maps are not ours to read" in forced.stdout.splitlines()
    assert inventory.left_behind(before) == []


@pytest.mark.parametrize("value", [100, 200])
def test_force_takes_down_what_cannot_be_read_at_all(kit: Launcher, name: str, value: int) -> None:
    """Its entries are shorter or longer than ours; and a map is gone."""
    before = inventory.take()
    try:
        assert kit.run("attach", f"{name}a", "--network", name).code == 0
        pin = PINS / name / "maps/endpoints"
        pin.unlink()
        assert f"network {name} has no map endpoints" in refusal(kit.run("gc"))
        hosts.run(
            *("bpftool", "map", "create", str(pin), "type", "hash", "name", "endpoints"),
            *("key", "4", "value", str(value), "entries", "8"),
        )
        entry = ("key", "1", "0", "0", "0", "value", *["1"] * value)
        hosts.run("bpftool", "map", "update", "pinned", str(pin), *entry)
        assert f"value size is {value} bytes there" in refusal(kit.run("gc"))
    finally:
        forced = kit.run("gc", "--force")
    assert (forced.code, forced.stderr) == (0, "")
    assert inventory.left_behind(before) == []


def test_force_leaves_networks_alone_that_can_be_read(kit: Launcher, network: str) -> None:
    judge = Judge()
    forced = kit.run("gc", "--force")
    assert (forced.code, network in forced.stdout) == (0, False)
    assert inventory.left_behind(judge.inventory) == []
    assert f"{network}stays" in kit.run("endpoint", "list", "--network", network).stdout
