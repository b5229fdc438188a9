"""`ebpfnet map check`: what is broken is found, and what it says to type mends it."""

import json
import shlex
import sys
from ipaddress import IPv6Address
from pathlib import Path

from tests.support import hosts
from tests.support.kit import PINS, entries, made_network, read_map

STRAY = 77  # an id that no endpoint has
MAC = "02:00:00:00:00:07"


def findings(network: str) -> list[dict[str, str]]:
    """What `ebpfnet map check` finds; the exit code must say whether there is anything."""
    done = hosts.ebpfnet("map", "check", "--network", network, "-o", "json", check=False)
    found: list[dict[str, str]] = json.loads(done.stdout)
    assert done.returncode == (1 if found else 0), done.stderr
    return found


def follow(remedy: str) -> None:
    """Type what a finding says."""
    for command in remedy.split(" && "):
        program, *args = shlex.split(command)
        if program == "ebpfnet":
            hosts.ebpfnet(*args)
        else:
            hosts.run(program, *args)


def write_entry(network: str, name: str, address: str, endpoint: int, ifindex: int) -> None:
    """An entry that no attach has written: an address that leads to MAC 02:00:00:00:00:07."""
    value = b"".join(each.to_bytes(4, sys.byteorder) for each in (endpoint, ifindex))
    value += bytes.fromhex(MAC.replace(":", "")) + bytes(2)
    hosts.run(
        *("bpftool", "map", "update", "pinned", str(PINS / network / "maps" / name)),
        *("key", *address.split("."), "value", *map(str, value)),
    )


def delete_entry(network: str, name: str, key: bytes) -> None:
    pin = str(PINS / network / "maps" / name)
    hosts.run("bpftool", "map", "delete", "pinned", pin, "key", *map(str, key))


def test_check_finds_what_differs_and_its_remedies_mend_it(name: str) -> None:
    with made_network(name, endpoints=10) as namespaces:
        assert findings(name) == []
        ifindex = {key: value["ifindex"] for key, value in entries(name, "endpoints_v4").items()}
        inside = [("ip", "-n", namespace) for namespace in namespaces]

        # Each in an endpoint of its own, number N at 10.1.1.N+2 with id N+1; nothing in the first.
        hosts.run(*inside[1], "link", "set", "eth0", "address", MAC)
        hosts.run(*inside[2], "addr", "del", "10.1.1.4/24", "dev", "eth0")
        hosts.run(*inside[3], "addr", "add", "10.1.1.205/24", "dev", "eth0")
        hosts.run(*inside[4], "link", "set", "eth0", "name", "other")
        host = f"h-{namespaces[5]}"
        hosts.ip("link", "set", host, "down")
        hosts.ip("link", "set", host, "name", f"{name}other")
        hosts.ip("link", "set", f"{name}other", "up")
        delete_entry(name, "endpoints_v6", IPv6Address("fd00::10.1.1.8").packed)
        write_entry(name, "endpoints_v4", "10.1.1.9", 8, ifindex["10.1.1.9"])
        (PINS / name / "links/9").unlink()
        hosts.run("bpftool", "link", "detach", "pinned", str(PINS / name / "links/10"))
        write_entry(name, "endpoints_v4", "10.1.1.99", STRAY, 1)

        found = findings(name)
        assert {(each["map"], each["key"]): each["problem"] for each in found} == {
            ("endpoints", str(ifindex["10.1.1.3"])): (
                f"eth0 in {namespaces[1]} has MAC {MAC}, the map has 02:eb:0a:01:01:03"
            ),
            ("endpoints_v4", "10.1.1.4"): (
                f"it leads to {namespaces[2]}, where eth0 does not have this address"
            ),
            ("endpoints_v4", "10.1.1.205"): (
                f"it is an address of {namespaces[3]}, the map has no entry"
            ),
            ("endpoints", str(ifindex["10.1.1.6"])): (
                f"the interface in {namespaces[4]} is called other, not eth0"
            ),
            ("endpoints", str(ifindex["10.1.1.7"])): (
                f"the host interface of {namespaces[5]} is called {name}other, not {host}"
            ),
            ("endpoints_v6", "fd00::a01:108"): (
                f"it is an address of {namespaces[6]}, the map has no entry"
            ),
            ("endpoints_v4", "10.1.1.9"): (
                f"it has MAC {MAC}, the endpoint {namespaces[7]} has 02:eb:0a:01:01:09"
            ),
            ("links", "9"): (
                f"the network's program is not attached at h-{namespaces[8]} of {namespaces[8]}"
            ),
            ("links", "10"): (
                f"the network's program is not attached at h-{namespaces[9]} of {namespaces[9]}"
            ),
            ("endpoints_v4", "10.1.1.99"): f"it leads to id {STRAY}, which no endpoint has",
        }
        assert len(found) == 10
        for each in found:
            follow(each["remedy"])
        assert findings(name) == []


def test_check_finds_what_is_gone_and_its_remedy_takes_it_out(name: str) -> None:
    with made_network(name, endpoints=3) as namespaces:
        expected = []
        for row in read_map(name, "dump", "endpoints"):
            value = row["value"]
            if value["netns"] in namespaces[1:]:
                key = str(row["key"])
                expected += [
                    ("endpoints", key, f"interface h-{value['netns']} of {value['netns']} is gone"),
                    ("endpoints_v4", value["ipv4"], f"leads to ifindex {key}, which is gone"),
                    ("endpoints_v6", value["ipv6"], f"leads to ifindex {key}, which is gone"),
                    ("endpoints_v6", value["ipv6_link_local"], f"leads to ifindex {key}"),
                    ("links", str(value["id"]), "the network's program is not attached"),
                ]
        expected.append(("endpoints", key, f"namespace {namespaces[2]} is gone"))
        hosts.ip("link", "del", f"h-{namespaces[1]}")
        hosts.ip("netns", "del", namespaces[2])
        host = Path("/sys/class/net") / f"h-{namespaces[2]}"
        assert hosts.until(lambda: not host.exists()), "the kernel takes it away after a while"

        found = findings(name)
        for map_name, key, words in expected:
            assert any(
                (each["map"], each["key"]) == (map_name, key) and words in each["problem"]
                for each in found
            ), words
        assert len(found) == len(expected)
        assert {each["remedy"] for each in found} == {"ebpfnet gc"}
        follow("ebpfnet gc")
        assert findings(name) == []
        assert len(read_map(name, "dump", "endpoints")) == 1


def test_check_finds_another_namespace_under_the_same_name(name: str) -> None:
    with made_network(name) as (first, second):
        # A process keeps the namespace, with its interface, when its name goes.
        with hosts.resident(first):
            hosts.ip("netns", "del", first)
            (gone,) = findings(name)
            assert gone["problem"] == f"namespace {first} is gone"
            hosts.ip("netns", "add", first)
            try:
                (found,) = findings(name)
                assert found["problem"] == (
                    f"{first} is another namespace than the one that was attached"
                )
                assert found["remedy"] == gone["remedy"]
                follow(found["remedy"])
            finally:
                hosts.run("ip", "netns", "del", first, check=False)
        assert findings(name) == []
        assert [row["value"]["netns"] for row in read_map(name, "dump", "endpoints")] == [second]


def test_check_finds_a_missing_device_and_a_foreign_program_in_mode_xdp(name: str) -> None:
    with made_network(name, "--mode", "xdp") as (first, _):
        delete_entry(name, "devices", (1).to_bytes(4, sys.byteorder))
        (pin,) = (PINS / name / "progs").iterdir()
        pin.unlink()
        found = findings(name)
        assert [(each["map"], each["key"]) for each in found] == [
            ("links", "1"),
            ("links", "2"),
            ("devices", "1"),
        ]
        assert "which is not the network's" in found[0]["problem"]
        assert found[2]["problem"].startswith(f"there is no entry, endpoint {first} is at ")
        assert found[0]["remedy"] == found[1]["remedy"]
        for each in found[1:]:
            follow(each["remedy"])
        assert findings(name) == []


def test_check_finds_a_filter_that_is_gone(name: str) -> None:
    with made_network(name, "--hook", "clsact") as (_, second):
        assert findings(name) == []
        hosts.run("tc", "filter", "del", "dev", f"h-{second}", "ingress")
        (found,) = findings(name)
        assert (found["map"], found["key"]) == ("links", "2")
        follow(found["remedy"])
        assert findings(name) == []


def test_check_finds_entries_that_have_lost_their_endpoint(name: str) -> None:
    with made_network(name) as (first, _):
        (row,) = (
            row for row in read_map(name, "dump", "endpoints") if row["value"]["netns"] == first
        )
        delete_entry(name, "endpoints", row["key"].to_bytes(4, sys.byteorder))
        found = findings(name)
        assert sorted((each["map"], each["key"]) for each in found) == [
            ("endpoints_v4", row["value"]["ipv4"]),
            ("endpoints_v6", row["value"]["ipv6"]),
            ("endpoints_v6", row["value"]["ipv6_link_local"]),
            ("links", "1"),
        ]
        for each in found:
            follow(each["remedy"])
        assert findings(name) == []
