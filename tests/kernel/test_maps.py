"""`ebpfnet map`: what it shows is what bpftool shows."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import yaml

from tests.support import hosts
from tests.support.kit import PINS, drop_one, made_network, read_map


@pytest.fixture
def network(name: str) -> Iterator[str]:
    """A network with two endpoints, 10.1.1.2 and 10.1.1.3, that have pinged each other."""
    with made_network(name) as (first, _):
        assert hosts.ping(first, "10.1.1.3", 3)
        assert hosts.ping(first, "fd00::10.1.1.3")
        drop_one(first)
        yield name


def bpftool(*args: str) -> Any:
    return json.loads(hosts.run("bpftool", "-j", *args).stdout or "null")


def number(raw: list[str]) -> int:
    """bpftool's list of hex bytes as a number of this machine."""
    return int.from_bytes((int(byte, 16) for byte in raw), sys.byteorder)


def plain(value: int) -> int:
    return value


def ipv4(value: int) -> str:
    """bpftool shows the four bytes as a number of this machine."""
    return str(IPv4Address(value.to_bytes(4, sys.byteorder)))


def ipv6(value: list[int]) -> str:
    return str(IPv6Address(bytes(value)))


def mac(value: list[int]) -> str:
    return ":".join(f"{byte:02x}" for byte in value)


def text(value: str | list[Any]) -> str:
    """Some versions of bpftool list the characters, as text or as numbers."""
    if isinstance(value, list):
        value = "".join(chr(each) if isinstance(each, int) else each for each in value)
    return value.partition("\0")[0]


def one_of(*names: str) -> Callable[[int], str]:
    return lambda value: names[value]


# As bpf/include/verdicts.h and maps.h have them.
REASONS = (
    *("none", "unknown-endpoint", "truncated", "spoofed-mac", "spoofed-ipv4", "spoofed-ipv6"),
    *("spoofed-arp", "spoofed-nd", "broadcast", "multicast", "unknown-destination"),
    *("unsupported-protocol", "arp-unanswered", "nd-unanswered", "ipv6-extensions"),
    *("vlan-depth", "helper-failed"),
)
DESTINATION = {"id": plain, "ifindex": plain, "mac": mac}
KEYS: dict[str, Callable[[Any], Any]] = {
    "endpoints": plain,
    "endpoints_v4": ipv4,
    "endpoints_v6": lambda key: ipv6(key["address"]),
    "endpoint_stats": plain,
    "drops": one_of(*REASONS),
    "config": plain,
}
FIELDS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "endpoints": {
        "id": plain,
        "ipv4": ipv4,
        "mac": mac,
        "ipv6": ipv6,
        "ipv6_link_local": ipv6,
        "netns_inode": plain,
        "netns": text,
        "ifname": text,
        "host_ifname": text,
    },
    "endpoints_v4": DESTINATION,
    "endpoints_v6": DESTINATION,
    "endpoint_stats": dict.fromkeys(
        ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "drops", "answers", "left"), plain
    ),
    "drops": {"packets": plain, "bytes": plain},
    "config": {
        "layout_version": plain,
        "mode": one_of("", "tc", "tc-peer", "xdp"),
        "hook": one_of("", "tcx", "clsact", "xdp"),
        "max_endpoints": plain,
        "subnet": ipv4,
        "prefix_length": plain,
        "kit_version": text,
        "generation": plain,
        "otherwise": one_of("drop", "kernel"),
    },
}


def by_bpftool(network: str, name: str) -> list[dict[str, Any]]:
    """A map's entries in the words of `ebpfnet map dump`, worked out from what bpftool prints."""
    entries = bpftool("map", "dump", "pinned", str(PINS / network / "maps" / name))
    if name == "devices":  # the kernel gives devmaps no BTF
        return [
            {"key": number(entry["key"]), "value": {"ifindex": number(entry["value"])}}
            for entry in entries
            if isinstance(entry["value"], list)
        ]

    def fields(value: dict[str, Any]) -> dict[str, Any]:
        shown = {field: each for field, each in value.items() if field != "pad"}
        assert shown.keys() == FIELDS[name].keys()
        return {field: convert(shown[field]) for field, convert in FIELDS[name].items()}

    rows = []
    for entry in (entry["formatted"] for entry in entries):
        if "values" in entry:
            each_cpu = [fields(one["value"]) for one in entry["values"]]
            value = {field: sum(one[field] for one in each_cpu) for field in each_cpu[0]}
        else:
            value = fields(entry["value"])
        rows.append({"key": KEYS[name](entry["key"]), "value": value})
    return rows


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["key"]))


@pytest.mark.parametrize("mode", ["tc-peer", "xdp"])
def test_dump_shows_what_bpftool_shows(name: str, mode: str) -> None:
    with made_network(name, "--mode", mode, "--max-endpoints", "5") as (first, _):
        hosts.ping(first, "10.1.1.3")
        drop_one(first)
        names = sorted(path.name for path in (PINS / name / "maps").iterdir())
        assert names == sorted([*FIELDS, *(["devices"] if mode == "xdp" else [])])
        for map_name in names:
            # Namespaces speak up unasked: only a reading between two equal ones can be compared.
            for _ in range(20):
                before = by_bpftool(name, map_name)
                shown = read_map(name, "dump", map_name, "--all")
                if before == by_bpftool(name, map_name):
                    break
            assert in_order(shown) == in_order(before), map_name
            assert shown, map_name


def test_raw_and_per_cpu_show_what_bpftool_shows(network: str) -> None:
    # In a slot that no program writes to.
    pin = PINS / network / "maps/endpoint_stats"
    slot = 1000
    key = slot.to_bytes(4, sys.byteorder)
    value = bytes(range(56))
    hosts.run(
        *("bpftool", "map", "update", "pinned", str(pin)),
        *("key", *map(str, key), "value", *map(str, value)),
    )
    entry = bpftool("map", "lookup", "pinned", str(pin), "key", *map(str, key))
    each_cpu = [bytes(int(byte, 16) for byte in one["value"]) for one in entry["values"]]
    assert each_cpu == [value] * len(each_cpu), "bpftool writes it for every CPU"

    one_key = ("lookup", "endpoint_stats", str(slot))
    assert read_map(network, *one_key, "--raw") == {
        "key": key.hex(" "),
        "value": b"".join(each_cpu).hex(" "),
    }
    rows = read_map(network, *one_key, "--per-cpu")
    formatted = entry["formatted"]["values"]
    assert [(row["cpu"], row["value"]) for row in rows] == [
        (one["cpu"], one["value"]) for one in formatted
    ]
    total = read_map(network, *one_key)["value"]
    assert total == {
        field: sum(one["value"][field] for one in formatted) for field in FIELDS["endpoint_stats"]
    }
    raw_rows = read_map(network, *one_key, "--raw", "--per-cpu")
    assert [row["value"] for row in raw_rows] == [one.hex(" ") for one in each_cpu]


def test_lookup_finds_every_entry_by_its_key_as_dump_shows_it(network: str) -> None:
    for name in ("endpoints", "endpoints_v4", "endpoints_v6", "config"):
        rows = read_map(network, "dump", name)
        assert rows
        for row in rows:
            assert read_map(network, "lookup", name, str(row["key"])) == row
    assert read_map(network, "lookup", "drops", "unknown-destination")["value"]["packets"] > 0


def test_arrays_show_used_slots_unless_all_are_asked_for(network: str) -> None:
    used, every = read_map(network, "dump", "drops"), read_map(network, "dump", "drops", "--all")
    assert {"unknown-destination"} <= {row["key"] for row in used} < {row["key"] for row in every}
    assert [row["key"] for row in every] == list(REASONS)
    assert all(row["value"]["packets"] for row in used)


def test_list_shows_types_sizes_entries_and_memory_as_bpftool_does(network: str) -> None:
    rows = {row["name"]: row for row in read_map(network, "list")}
    assert rows.keys() == {path.name for path in (PINS / network / "maps").iterdir()}
    for name, row in rows.items():
        shown = bpftool("map", "show", "pinned", str(PINS / network / "maps" / name))
        assert (row["type"], row["key_size"], row["value_size"], row["max_entries"]) == (
            shown["type"],
            shown["bytes_key"],
            shown["bytes_value"],
            shown["max_entries"],
        )
        assert row["memory"] > 0
        assert row["entries"] == len(read_map(network, "dump", name))


def test_tables_and_yaml_show_the_same(network: str) -> None:
    rows = read_map(network, "dump", "endpoints_v4")
    args = ("map", "dump", "endpoints_v4", "--network", network)
    assert yaml.safe_load(hosts.ebpfnet(*args, "-o", "yaml").stdout) == rows
    heading, *lines = hosts.ebpfnet(*args).stdout.splitlines()
    assert heading.split() == ["address", "id", "ifindex", "mac"]
    assert [line.split() for line in lines] == [
        [row["key"], *map(str, row["value"].values())] for row in rows
    ]


def test_reading_needs_neither_a_compiler_nor_netlink(network: str) -> None:
    program = (
        "import sys; from cli.main import cli; cli.main(sys.argv[1:], standalone_mode=False);"
        "assert not {'bcc', 'pyroute2'} & set(sys.modules)"
    )
    for args in (
        ("endpoint", "list"),
        ("endpoint", "get", "1"),
        ("map", "list"),
        ("map", "dump", "endpoints"),
        ("map", "lookup", "config", "0"),
        ("map", "watch", "drops", "--count", "1"),
    ):
        hosts.run(sys.executable, "-c", program, *args, "--network", network, cwd=hosts.CHECKOUT)


@contextmanager
def watching(network: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """`ebpfnet map watch` as one JSON object a line, left by ctrl-C."""
    command = ["map", "watch", name, "--network", network, "--interval", "0.05", "-o", "json"]
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *command],
        cwd=hosts.CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watcher:
        try:
            yield watcher
        finally:
            watcher.send_signal(signal.SIGINT)


def next_change(watcher: subprocess.Popen[str]) -> dict[str, Any]:
    assert watcher.stdout
    change: dict[str, Any] = json.loads(watcher.stdout.readline())
    assert "T" in change.pop("time")
    return change


def test_watch_shows_all_entries_first_and_then_what_changes(network: str) -> None:
    entries = read_map(network, "dump", "endpoints_v4")
    third = f"{network}n2"
    with watching(network, "endpoints_v4") as watcher:
        assert [next_change(watcher) for _ in entries] == [
            {"event": "present", **entry} for entry in entries
        ]
        hosts.ebpfnet("attach", third, "--network", network)
        added = next_change(watcher)
        assert added == {
            "event": "added",
            **read_map(network, "lookup", "endpoints_v4", "10.1.1.4"),
        }
        hosts.ebpfnet("detach", third, "--network", network)
        assert next_change(watcher) == {**added, "event": "removed"}
        watcher.send_signal(signal.SIGINT)
        output, errors = watcher.communicate(timeout=10)
        assert (output, errors, watcher.returncode) == ("", "", 0)


def test_watch_shows_the_fields_that_changed_as_they_were(network: str) -> None:
    with watching(network, "endpoint_stats") as watcher:
        before = {change["key"]: change["value"] for change in map(next_change, [watcher] * 2)}
        assert hosts.ping(f"{network}n0", "10.1.1.3")
        change = next_change(watcher)
        while change["before"].keys().isdisjoint({"rx_packets"}):  # the kernel's own chatter
            before[change["key"]] = change["value"]
            change = next_change(watcher)
    assert change["event"] == "changed"
    known = before[change["key"]]
    assert change["before"] == {
        field: value for field, value in known.items() if change["value"][field] != value
    }
    assert change["before"]["rx_packets"] < change["value"]["rx_packets"]


def test_watch_ends_with_an_error_when_the_network_goes(name: str) -> None:
    with made_network(name), watching(name, "config") as watcher:
        assert next_change(watcher)["key"] == 0
        hosts.ebpfnet("detach", "--network", name)
        output, errors = watcher.communicate(timeout=10)
        # The last endpoints went, and with them a generation.
        assert {json.loads(line)["event"] for line in output.splitlines()} <= {"changed"}
        assert errors.startswith("ebpfnet: ")
        assert errors.count("\n") == 1
        assert watcher.returncode == 1


def test_what_cannot_be_meant_is_one_line(network: str) -> None:
    for args, code, words in (
        (("dump", "nonsense"), 1, "maps: config, drops, endpoint_stats, endpoints, "),
        (("lookup", "nonsense", "1"), 1, "no map nonsense"),
        (("watch", "nonsense"), 1, "no map nonsense"),
        (("lookup", "endpoints_v4", "10.1.1"), 2, "not an IPv4 address"),
        (("lookup", "endpoints_v6", "fd00"), 2, "not an IPv6 address"),
        (("lookup", "endpoints", "h-ns0"), 2, "not a number"),
        (("lookup", "drops", "boredom"), 2, "none of none, unknown-endpoint"),
        (("lookup", "endpoints_v4", "10.1.1.77"), 1, "no entry for address 10.1.1.77"),
        (("lookup", "endpoints", "1"), 1, "no entry for ifindex 1"),
        (("lookup", "endpoint_stats", "4294967295"), 1, "no entry for id 4294967295"),
        (("dump", "endpoints", "--per-cpu"), 2, "one value for all CPUs"),
        (("watch", "drops", "--interval", "0"), 2, "--interval"),
        (("list", "--network", "nonsense"), 1, "there is no network nonsense; networks: "),
        (("check", "--network", "a/../b"), 1, "there is no network a/../b"),
        (("dump", "drops", "--network", ""), 1, "there is no network ''"),
    ):
        done = hosts.ebpfnet("map", args[0], "--network", network, *args[1:], check=False)
        assert (done.returncode, done.stdout) == (code, ""), args
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_map_names_are_completed(network: str) -> None:
    completed = hosts.run(
        *("env", "_EBPFNET_COMPLETE=bash_complete", "COMP_CWORD=5"),
        f"COMP_WORDS=ebpfnet map dump --network {network} endpoint",
        *(sys.executable, "-m", "cli"),
        cwd=hosts.CHECKOUT,
    )
    assert completed.stdout.split() == [
        f"plain,{name}" for name in ("endpoint_stats", "endpoints", "endpoints_v4", "endpoints_v6")
    ]
