"""Compiling without a compiler: sources are joined, maps replaced, headers found."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from datapath.errors import InvalidInput, Unsupported
from datapath.kernel.bpf import compiler, headers
from datapath.kernel.bpf.compiler import Instructions

SOURCES = sorted(compiler.source_folder().glob("*.c"))
MARKER = re.compile(r'#line (\d+) "(.*)"')
OWN_INCLUDE = re.compile(r'#include "')


def origins(joined: str) -> list[tuple[Path, int, str]]:
    """Where each line of a joined text says that it comes from: file, line number, and the line."""
    found = []
    path, number = Path(), 0
    for line in joined.splitlines():
        if marker := MARKER.fullmatch(line):
            path, number = Path(marker[2]), int(marker[1])
        else:
            found.append((path, number, line))
            number += 1
    return found


def included(joined: str) -> list[str]:
    """Names of the files that a joined text holds, as often as it does."""
    return [
        Path(m[2]).name
        for line in joined.splitlines()
        if (m := MARKER.fullmatch(line)) and m[1] == "1"
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A program whose headers include one another, in a circle too."""
    (tmp_path / "include").mkdir()
    for name, text in {
        "program.c": '#include <linux/bpf.h>\n#include "a.h"\n#include "b.h"\n\nint program;\n',
        "include/a.h": '/* a */\n#pragma once\n#include "common.h"\nint a;\n',
        "include/b.h": '#pragma once\n#include "common.h"\n#include "a.h"\nint b;\n',
        "include/common.h": '#pragma once\n\n#include "b.h"\nint common;\n',
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_each_header_is_put_in_once(folder: Path) -> None:
    joined = compiler.join(folder / "program.c", folder)
    assert sorted(included(joined)) == ["a.h", "b.h", "common.h", "program.c"]
    assert [line for line in joined.splitlines() if line.startswith("int")] == [
        "int b;",
        "int common;",
        "int a;",
        "int program;",
    ]


def test_kernel_includes_stay_and_own_ones_go(folder: Path) -> None:
    joined = compiler.join(folder / "program.c", folder)
    assert "#include <linux/bpf.h>" in joined.splitlines()
    assert not OWN_INCLUDE.search(joined)
    assert "#pragma once" not in joined


def test_lines_are_marked_with_their_file_and_number(folder: Path) -> None:
    joined = compiler.join(folder / "program.c", folder)
    for path, number, line in origins(joined):
        if line:
            assert path.read_text().splitlines()[number - 1] == line


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_line_of_the_kit_is_marked_rightly(source: Path) -> None:
    joined = compiler.join(source)
    marked = {(path, number): line for path, number, line in origins(joined)}
    assert len(included(joined)) == len(set(included(joined)))
    for path in {path for path, _ in marked}:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not OWN_INCLUDE.match(line):
                expected = "" if line == "#pragma once" else line
                assert marked[path, number] == expected, f"{path}:{number}"


def test_missing_header_is_named(folder: Path) -> None:
    (folder / "include/common.h").unlink()
    with pytest.raises(InvalidInput, match=r"include/common\.h: No such file") as raised:
        compiler.join(folder / "program.c", folder)
    assert str(folder) in raised.value.message


def test_missing_source_is_named(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent\.c: No such file"):
        compiler.join(folder / "absent.c", folder)


LOAD_IMM64 = 0x18
MAP_FD, MAP_VALUE = 1, 2  # BPF_PSEUDO_*, source register of LOAD_IMM64


def instruction(opcode: int, destination: int = 0, source: int = 0, immediate: int = 0) -> bytes:
    """struct bpf_insn, offset 0."""
    return struct.pack("=BBhi", opcode, destination | source << 4, 0, immediate)


def load_imm64(low: int, *, destination: int = 1, source: int = 0, high: int = 0) -> bytes:
    """A 64-bit constant or a map, two instructions long."""
    return instruction(LOAD_IMM64, destination, source, low) + instruction(0, immediate=high)


EXIT = instruction(0x95)


def replaced(*code: bytes, maps: dict[str, int], **replacements: int) -> bytes:
    return compiler.with_maps(Instructions("program", b"".join(code), maps), replacements)


def test_map_is_replaced_wherever_it_is_loaded() -> None:
    assert replaced(
        load_imm64(7, source=MAP_FD),
        load_imm64(7, destination=2, source=MAP_FD),
        EXIT,
        maps={"drops": 7},
        drops=42,
    ) == (load_imm64(42, source=MAP_FD) + load_imm64(42, destination=2, source=MAP_FD) + EXIT)


def test_maps_are_told_apart_where_new_and_old_descriptors_cross() -> None:
    code = (load_imm64(7, source=MAP_FD), load_imm64(8, source=MAP_FD), EXIT)
    swapped = (load_imm64(8, source=MAP_FD), load_imm64(7, source=MAP_FD), EXIT)
    maps = {"drops": 7, "config": 8}
    assert replaced(*code, maps=maps, drops=8, config=7) == b"".join(swapped)


def test_map_without_a_replacement_stays() -> None:
    code = (load_imm64(7, source=MAP_FD), load_imm64(8, source=MAP_FD), EXIT)
    kept = (load_imm64(42, source=MAP_FD), load_imm64(8, source=MAP_FD), EXIT)
    assert replaced(*code, maps={"drops": 7, "config": 8}, drops=42) == b"".join(kept)
    assert replaced(*code, maps={"drops": 7, "config": 8}) == b"".join(code)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(load_imm64(7), id="64-bit constant"),
        pytest.param(load_imm64(7, source=MAP_VALUE), id="address inside a map"),
        pytest.param(load_imm64(0, high=7), id="upper half of a 64-bit constant"),
        pytest.param(
            instruction(LOAD_IMM64, 1, immediate=0) + instruction(LOAD_IMM64, 1, MAP_FD, 7),
            id="second half that looks like a map",
        ),
        pytest.param(instruction(0xB7, 1, MAP_FD, 7), id="move of the same number"),
        pytest.param(instruction(0x85, 0, MAP_FD, 7), id="call of the same number"),
    ],
)
def test_what_only_looks_like_a_map_stays(code: bytes) -> None:
    before = load_imm64(7, source=MAP_FD)
    after = load_imm64(42, source=MAP_FD)
    assert replaced(before, code, before, EXIT, maps={"drops": 7}, drops=42) == (
        after + code + after + EXIT
    )


def test_program_itself_is_not_changed() -> None:
    program = Instructions("program", load_imm64(7, source=MAP_FD) + EXIT, {"drops": 7})
    compiler.with_maps(program, {"drops": 42})
    assert program.code == load_imm64(7, source=MAP_FD) + EXIT


COMMON = ("include/linux/kernel.h", "include/linux/kconfig.h")
FLAVOUR = ("include/generated/autoconf.h",)


class Machine:
    """Where headers may be installed: the folders that headers.find() looks through."""

    def __init__(self, root: Path) -> None:
        self.sources = root / "src"
        self.own = root / "running" / "build"
        self.cache = root / "cache"

    @staticmethod
    def install(folder: Path, files: tuple[str, ...] = COMMON + FLAVOUR) -> Path:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(folder.name)
        return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without headers."""
    made = Machine(tmp_path)
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    monkeypatch.setattr(headers, "_SOURCES", made.sources)
    monkeypatch.setattr(headers, "_CACHE", made.cache)
    # An absolute release replaces /lib/modules in front of it.
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=str(made.own.parent)))
    return made


def test_given_headers_come_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install(machine.own)
    given = machine.install(machine.sources / "given")
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(given))
    assert headers.find() == given


def test_headers_of_the_running_kernel_come_before_others(machine: Machine) -> None:
    machine.install(machine.own)
    machine.install(machine.sources / "linux-headers-99.0-amd64")
    assert headers.find() == machine.own


def test_newest_of_other_headers_is_taken(machine: Machine) -> None:
    for release in ("6.9.0-1-amd64", "6.10.0-2-amd64", "5.15.0-100-generic"):
        machine.install(machine.sources / f"linux-headers-{release}")
    machine.install(machine.sources / "linux-headers-7.0-common", COMMON)
    machine.install(machine.sources / "linux-source-8.0")
    assert headers.find() == machine.sources / "linux-headers-6.10.0-2-amd64"


def test_halves_are_joined_and_left_as_they_are(machine: Machine) -> None:
    common = machine.install(machine.sources / "linux-headers-6.1.0-9-common", COMMON)
    flavour = machine.install(machine.sources / "linux-headers-6.1.0-9-cloud-amd64", FLAVOUR)
    before = sorted(machine.sources.rglob("*"))
    joined = headers.find()
    assert joined.parent == machine.cache
    assert {name: (joined / name).read_text() for name in COMMON + FLAVOUR} == {
        **dict.fromkeys(COMMON, common.name),
        **dict.fromkeys(FLAVOUR, flavour.name),
    }
    assert sorted(machine.sources.rglob("*")) == before
    assert headers.find() == joined
    assert list(machine.cache.iterdir()) == [joined]


def test_missing_half_is_said(machine: Machine) -> None:
    machine.install(machine.sources / "linux-headers-6.1.0-9-amd64", FLAVOUR)
    with pytest.raises(Unsupported, match=r"-common half of \S+6\.1\.0-9-amd64 is not installed"):
        headers.find()


def test_missing_headers_are_said_with_the_package(machine: Machine) -> None:
    with pytest.raises(Unsupported, match="apt-get install linux-headers-amd64") as raised:
        headers.find()
    assert raised.value.feature == "kernel headers"
