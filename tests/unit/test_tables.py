"""Keys and values as people write them, and what changed between two readings of a map."""

import sys
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath import tables
from datapath.errors import InvalidInput
from datapath.records import (
    MAPS,
    DestinationRecord,
    DeviceRecord,
    DropReason,
    Ipv4,
    Ipv6,
    Mac,
    MapSpec,
    Number,
    Reason,
    StatsRecord,
    readable,
)
from datapath.tables import Entries, View

PLAIN = View()


def u32(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def u64s(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, sys.byteorder) for number in numbers)


@given(st.binary(min_size=4, max_size=4))
def test_ipv4_keys_are_read_back_as_they_are_written(raw: bytes) -> None:
    text = Ipv4(*raw).people()
    assert text == str(IPv4Address(raw))
    assert bytes(Ipv4.parse(text)) == raw


@given(st.binary(min_size=16, max_size=16))
def test_ipv6_keys_are_read_back_as_they_are_written(raw: bytes) -> None:
    text = Ipv6(*raw).people()
    assert text == str(IPv6Address(raw))
    assert bytes(Ipv6.parse(text)) == raw


@given(st.binary(min_size=6, max_size=6))
def test_macs_are_read_back_as_they_are_written(raw: bytes) -> None:
    text = Mac(*raw).people()
    assert text.split(":") == [f"{byte:02x}" for byte in raw]
    assert bytes(Mac.parse(text)) == raw


@given(st.integers(min_value=0, max_value=(1 << 32) - 1))
def test_numbers_are_read_in_decimal_and_hex(number: int) -> None:
    assert bytes(Number.parse(str(number))) == bytes(Number.parse(hex(number))) == u32(number)


@pytest.mark.parametrize("reason", DropReason)
def test_reasons_are_read_back_as_they_are_written(reason: DropReason) -> None:
    text = Reason(reason).people()
    assert text == reason.name.lower().replace("_", "-")
    assert bytes(Reason.parse(text)) == u32(reason)


def test_a_reason_of_a_newer_version_is_shown_by_its_number() -> None:
    assert Reason(200).people() == "unknown (200)"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Ipv4, ""),
        (Ipv4, "10.1.1"),
        (Ipv4, "10.1.1.256"),
        (Ipv4, "fd00::1"),
        (Ipv6, "10.1.1.1"),
        (Ipv6, "fd00:1"),
        (Mac, "02:00:00:00:00"),
        (Mac, "02:00:00:00:00:00:00"),
        (Mac, "02:00:00:00:00:100"),
        (Mac, "02-00-00-00-00-00"),
        (Number, "eth0"),
        (Number, "-1"),
        (Number, str(1 << 32)),
        (Reason, "boredom"),
    ],
)
def test_a_malformed_key_is_refused_by_name(kind: type, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is (not an?|none of)") as refusal:
        kind.parse(text)  # type: ignore[attr-defined]
    assert repr(text) in str(refusal.value)


@given(
    st.lists(
        st.lists(st.integers(0, 1 << 60), min_size=7, max_size=7),
        min_size=1,
        max_size=8,
    )
)
def test_values_of_all_cpus_are_added_up(cpus: list[list[int]]) -> None:
    spec = MAPS["endpoint_stats"]
    raw = b"".join(u64s(*counters) for counters in cpus)
    assert [list(one.people().values()) for one in spec.decode_each(raw)] == cpus
    assert list(spec.decode(raw).people().values()) == [
        sum(column) for column in zip(*cpus, strict=True)
    ]


def test_every_cpu_has_a_value_padded_to_eight_bytes() -> None:
    spec = MapSpec("odd", "", "id", Number, DeviceRecord, per_cpu=True)
    raw = b"".join(u32(number) + bytes(4) for number in (1, 2, 39))
    assert [one.ifindex for one in spec.decode_each(raw)] == [1, 2, 39]
    assert spec.decode(raw).ifindex == 42


def test_padding_is_not_shown() -> None:
    shown = readable(DestinationRecord(7, 9, Mac.parse("02:00:00:00:00:01")))
    assert shown == {"id": 7, "ifindex": 9, "mac": "02:00:00:00:00:01"}


def destination(endpoint: int, ifindex: int = 9) -> bytes:
    return bytes(DestinationRecord(endpoint, ifindex, Mac.parse("02:00:00:00:00:01")))


def v4(**owners: bytes) -> Entries:
    """Entries of endpoints_v4: 10.0.0.N by "_N"."""
    return {(bytes((10, 0, 0, int(key[1:]))), None): value for key, value in owners.items()}


def test_a_first_reading_has_every_entry() -> None:
    assert list(tables.changes("endpoints_v4", None, v4(_1=destination(7)), PLAIN)) == [
        {
            "event": "present",
            "key": "10.0.0.1",
            "value": {"id": 7, "ifindex": 9, "mac": "02:00:00:00:00:01"},
        }
    ]
    assert list(tables.changes("endpoints_v4", None, {}, PLAIN)) == []


def test_a_later_reading_has_only_what_changed() -> None:
    before = v4(_1=destination(1), _2=destination(2), _3=destination(3))
    now = v4(_1=destination(1), _2=destination(2, ifindex=10), _4=destination(4))
    mac = {"mac": "02:00:00:00:00:01"}
    assert list(tables.changes("endpoints_v4", before, now, PLAIN)) == [
        {
            "event": "changed",
            "key": "10.0.0.2",
            "value": {"id": 2, "ifindex": 10, **mac},
            "before": {"ifindex": 9},
        },
        {"event": "added", "key": "10.0.0.4", "value": {"id": 4, "ifindex": 9, **mac}},
        {"event": "removed", "key": "10.0.0.3", "value": {"id": 3, "ifindex": 9, **mac}},
    ]
    assert list(tables.changes("endpoints_v4", now, now, PLAIN)) == []
    assert list(tables.changes("endpoints_v4", {}, {}, PLAIN)) == []


def test_changes_of_one_cpu_name_it() -> None:
    key = u32(5)
    before: Entries = {(key, 0): u64s(*range(7)), (key, 1): u64s(*range(7))}
    now: Entries = {**before, (key, 1): u64s(9, *range(1, 7))}
    (change,) = tables.changes("endpoint_stats", before, now, View(per_cpu=True))
    assert (change["key"], change["cpu"], change["before"]) == (5, 1, {"rx_packets": 0})
    assert change["value"] == StatsRecord(9, *range(1, 7)).people()


def test_raw_changes_are_whole_values_in_hex() -> None:
    before, now = v4(_1=destination(1)), v4(_1=destination(2))
    (change,) = tables.changes("endpoints_v4", before, now, View(raw=True))
    assert change == {
        "event": "changed",
        "key": "0a 00 00 01",
        "value": destination(2).hex(" "),
        "before": destination(1).hex(" "),
    }
