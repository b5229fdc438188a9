"""datapath.records repeats bpf/include: enums, structures, maps. The C is read, not compiled."""

from __future__ import annotations

import ctypes as ct
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from datapath import records
from datapath.errors import InvalidInput
from datapath.kernel.bpf import compiler
from datapath.records import MAPS, Cookie, DropReason, FlowKey, MapSpec

INCLUDE: Path = compiler.source_folder() / "include"
SIZES = {"u8": 1, "char": 1, "u16": 2, "__be16": 2, "u32": 4, "__be32": 4, "u64": 8}
STRUCTURES = {spec.structure: spec for spec in MAPS.values() if spec.structure}
each_structure = pytest.mark.parametrize("structure", STRUCTURES)


@dataclass(frozen=True)
class CField:
    """A member of a C structure; `count` is None for what is no array."""

    name: str
    type: str
    count: int | None

    @property
    def size(self) -> int:
        return SIZES[self.type] * (self.count or 1)


@cache
def code(header: str) -> str:
    """A header without its comments."""
    return re.sub(r"/\*.*?\*/", "", (INCLUDE / header).read_text(), flags=re.DOTALL)


@cache
def constants() -> dict[str, int]:
    found = re.findall(r"^#define (\w+)\s+(\d+)\s*$", code("maps.h"), re.MULTILINE)
    return {name: int(value) for name, value in found}


def fields(structure: str) -> list[CField]:
    """The members of a structure; raises where a line is not understood."""
    body = re.search(
        rf"^struct {structure} {{\n(.*?)^}};", code("maps.h"), re.DOTALL | re.MULTILINE
    )
    assert body, f"maps.h has no struct {structure}"
    found = []
    for line in filter(str.strip, body[1].splitlines()):
        member = re.fullmatch(r"\t(\w+) (\w+)(?:\[(\w+)\])?;\s*", line)
        assert member, f"struct {structure}: not understood: {line}"
        kind, name, count = member.groups()
        number = None if count is None else int(constants().get(count, count))
        found.append(CField(name, kind, number))
    return found


def offsets(members: list[CField]) -> tuple[list[int], int]:
    """Where a C compiler puts the members, and the structure's size."""
    position, found, strictest = 0, [], 1
    for member in members:
        alignment = SIZES[member.type]
        strictest = max(strictest, alignment)
        position += -position % alignment
        found.append(position)
        position += member.size
    return found, position + -position % strictest


def enum(header: str, name: str) -> dict[str, int]:
    """An enum of a header, all of whose numbers have to be written out."""
    body = re.search(rf"^enum {name} {{\n(.*?)^}};", code(header), re.DOTALL | re.MULTILINE)
    assert body, f"{header} has no enum {name}"
    found: dict[str, int] = {}
    for line in filter(str.strip, body[1].splitlines()):
        member = re.fullmatch(r"\t(\w+) = (\d+),?\s*", line)
        assert member, f"enum {name}: no explicit number: {line}"
        assert int(member[2]) not in found.values(), f"enum {name}: a number twice: {line}"
        found[member[1]] = int(member[2])
    return found


def test_drop_reasons_are_those_of_the_header() -> None:
    reasons = enum("verdicts.h", "drop_reason")
    assert reasons.pop("DROP_REASON_COUNT") == len(reasons)
    assert reasons == {f"DROP_{reason.name}": reason.value for reason in DropReason}


def test_what_is_otherwise_and_for_which_reasons_is_that_of_the_header() -> None:
    assert enum("verdicts.h", "otherwise") == {
        f"OTHERWISE_{each.name}": each.value for each in records.Otherwise
    }
    body = re.search(r"#define NOBODYS_REASONS(.*?[^\\])\n", code("verdicts.h"), re.DOTALL)
    assert body
    named = re.findall(r"1u << DROP_(\w+)", body[1])
    assert sorted(named) == sorted(reason.name for reason in records.NOBODYS_REASONS)


def test_flow_states_are_those_of_the_header() -> None:
    states = enum("maps.h", "flow_state")
    assert states == {f"FLOW_{state.name}": state.value for state in records.FlowState}


def test_constants_are_those_of_the_header() -> None:
    assert {name: getattr(records, name) for name in ("LAYOUT_VERSION", "NETNS_LENGTH")} | {
        "IFNAME_LENGTH": records.IFNAME_LENGTH,
        "MAC_LENGTH": ct.sizeof(records.Mac),
        "IPV6_LENGTH": ct.sizeof(records.Ipv6),
        "VERSION_LENGTH": records.ConfigRecord.kit_version.size,
        "MAX_SOCKETS": 65536,
        "SENDER_SLOTS": 1024,
    } == constants()


@pytest.mark.parametrize(
    "text", ["10.1.1.2:5201>10.1.1.3:80", "[fd00::a01:102]:1>[fe80::3]:65535", "0.0.0.0:0>[::]:0"]
)
def test_flows_are_read_as_they_are_written(text: str) -> None:
    assert FlowKey.parse(text).people() == text


@pytest.mark.parametrize(
    "text", ["", "10.1.1.2:5201", "10.1.1.2>10.1.1.3", "a:1>b:2", "10.1.1.2:1>10.1.1.3:65536"]
)
def test_what_is_no_flow_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        FlowKey.parse(text)


def test_cookies_are_written_as_ss_does() -> None:
    assert Cookie.parse("10d5").people() == "10d5"
    for text in ("", "xyz", "-1", "1" * 17):
        with pytest.raises(InvalidInput):
            Cookie.parse(text)


@each_structure
def test_record_repeats_the_structure(structure: str) -> None:
    members = fields(structure)
    places, size = offsets(members)
    record = STRUCTURES[structure].value
    assert [
        (name, getattr(record, name).offset, getattr(record, name).size)
        for name, *_ in record._fields_
    ] == [
        (member.name, offset, member.size) for member, offset in zip(members, places, strict=True)
    ]
    assert ct.sizeof(record) == size


@each_structure
def test_padding_is_written_out(structure: str) -> None:
    members = fields(structure)
    assert sum(member.size for member in members) == offsets(members)[1]


@each_structure
def test_byte_order_of_the_record_is_that_of_the_structure(structure: str) -> None:
    in_c = {member.name: member.type == "__be32" for member in fields(structure)}
    in_python = {name: kind is records.Ipv4 for name, kind in STRUCTURES[structure].value._fields_}
    assert in_c == in_python


@each_structure
def test_text_is_text_in_both(structure: str) -> None:
    in_c = {member.name: member.type == "char" for member in fields(structure)}
    in_python = {
        name: getattr(kind, "_type_", None) is ct.c_char
        for name, kind in STRUCTURES[structure].value._fields_
    }
    assert in_c == in_python


def declared() -> dict[str, tuple[str, str, str]]:
    """Every map of maps.h by name: its kind, and the C types of key and value."""
    tables = re.findall(
        r'^BPF_(?:F_)?TABLE\("(\w+)", ([\w ]+), ([\w ]+), (\w+),', code("maps.h"), re.MULTILINE
    )
    devmaps = re.findall(r"^BPF_DEVMAP\((\w+),", code("maps.h"), re.MULTILINE)
    found = {name: (kind, key, value) for kind, key, value, name in tables}
    # This one is written out: bcc has no macro for what it holds.
    sockhash = re.search(
        r"^struct (\w+)_table_t {\n\t(\w+) key;\n\t(\w+) leaf;\n", code("maps.h"), re.MULTILINE
    )
    assert sockhash
    found[sockhash[1]] = ("sockhash", sockhash[2], sockhash[3])
    return found | dict.fromkeys(devmaps, ("devmap", "u32", "u32"))


def size_of(c_type: str) -> int:
    structure = c_type.removeprefix("struct ")
    return SIZES[c_type] if structure == c_type else offsets(fields(structure))[1]


def test_every_map_of_the_header_is_known() -> None:
    assert declared().keys() == MAPS.keys() | {"senders"}  # which is the program's own


@pytest.mark.parametrize("spec", MAPS.values(), ids=lambda spec: spec.name)
def test_map_is_declared_as_the_header_has_it(spec: MapSpec) -> None:
    kind, key, value = declared()[spec.name]
    assert spec.key_size == size_of(key)
    assert spec.value_size == size_of(value)
    assert spec.structure == (value.removeprefix("struct ") if " " in value else "")
    assert spec.per_cpu == kind.startswith("percpu_")
    assert (spec.key is records.Ipv4) == (key == "__be32"), "the key's byte order"
