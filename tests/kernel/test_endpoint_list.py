"""`ebpfnet endpoint`: who is on a network as `ip` knows it, what was sent as counted by hand."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support import hosts
from tests.support.kit import drop_one, endpoints, made_network

KEYS = [
    *("id", "netns", "ifname", "ipv4", "ipv6", "mac", "host_ifname", "ifindex"),
    *("rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "drops", "left"),
]
HEADINGS = (
    "id namespace ifname IPv4 IPv6 MAC host interface ifindex "
    "rx packets rx bytes tx packets tx bytes drops left"
)


def endpoint(network: str, which: str) -> dict[str, Any]:
    done = hosts.ebpfnet("endpoint", "get", which, "--network", network, "-o", "json")
    row: dict[str, Any] = json.loads(done.stdout)
    return row


def by_ip(netns: str) -> dict[str, Any]:
    """What `ip` says of an endpoint with one interface."""
    (link,) = json.loads(hosts.ip("-n", netns, "-j", "link", "show", "type", "veth").stdout)
    (addresses,) = json.loads(hosts.ip("-n", netns, "-j", "addr", "show", "type", "veth").stdout)
    by_scope = {(each["family"], each["scope"]): each["local"] for each in addresses["addr_info"]}
    (host,) = (
        each
        for each in json.loads(hosts.ip("-j", "link", "show", "type", "veth").stdout)
        if each["ifindex"] == link["link_index"]
    )
    return {
        "netns": netns,
        "ifname": link["ifname"],
        "ipv4": by_scope["inet", "global"],
        "ipv6": by_scope.get(("inet6", "global"), by_scope["inet6", "link"]),
        "mac": link["address"],
        "host_ifname": host["ifname"],
        "ifindex": host["ifindex"],
    }


def test_list_shows_what_ip_shows(name: str) -> None:
    with made_network(name, endpoints=3) as namespaces:
        rows = list(endpoints(name).values())
        assert [list(row) for row in rows] == [KEYS] * 3
        assert [row["id"] for row in rows] == [1, 2, 3]
        for namespace, row in zip(namespaces, rows, strict=True):
            expected = by_ip(namespace)
            assert {key: row[key] for key in expected} == expected


def test_an_adopted_interface_is_listed_with_its_link_local_address(name: str) -> None:
    with hosts.bridge_by_hand(name) as made:
        hosts.ebpfnet("attach", *made.namespaces, "--network", name)
        try:
            rows = list(endpoints(name).values())
            assert [row["host_ifname"] for row in rows] == list(made.host_ifnames)
            for namespace, row in zip(made.namespaces, rows, strict=True):
                expected = by_ip(namespace)
                assert expected["ipv6"].startswith("fe80:")
                assert {key: row[key] for key in expected} == expected
        finally:
            hosts.ebpfnet("detach", "--network", name)


def test_counters_are_what_was_sent(name: str) -> None:
    frame = 14 + 20 + 8 + 56  # Ethernet, IPv4, ICMP, what ping puts in

    def counted(netns: str) -> dict[str, int]:
        row = endpoint(name, netns)
        return {key: row[key] for key in (*KEYS[8:], "answers")}

    with made_network(name, endpoints=3) as (first, second, third):
        # The kernel's own announcements, which are dropped, come with the interfaces.
        before = [counted(each) for each in (first, second, third)]
        assert hosts.ping(first, "10.1.1.3", 5)
        after = [counted(each) for each in (first, second, third)]
        for old, new in zip(before[:2], after[:2], strict=True):
            sent = {key: new[key] - old[key] for key in KEYS[8:12]}
            assert sent == {
                "rx_packets": 5,
                "rx_bytes": 5 * frame,
                "tx_packets": 5,
                "tx_bytes": 5 * frame,
            }
            assert new["answers"] > old["answers"], "each asked for the other's MAC"
        assert {key: after[2][key] for key in KEYS[8:12]} == dict.fromkeys(KEYS[8:12], 0)
        drop_one(third)
        assert counted(third)["drops"] > after[2]["drops"]


def test_an_id_that_is_given_again_counts_anew(name: str) -> None:
    with made_network(name) as (first, second):
        assert hosts.ping(first, "10.1.1.3")
        hosts.ebpfnet("detach", second, "--network", name)
        hosts.ebpfnet("attach", second, "--network", name)
        row = endpoint(name, second)
        assert (row["id"], row["rx_packets"], row["tx_packets"]) == (2, 0, 0)


def test_get_knows_an_endpoint_by_all_its_names(name: str) -> None:
    with made_network(name) as (_, second), hosts.resident(second) as pid:
        row = endpoint(name, second)
        assert {key: row[key] for key in ("id", "netns", "ipv4")} == {
            "id": 2,
            "netns": second,
            "ipv4": "10.1.1.3",
        }
        assert row["netns_inode"] == Path(f"/run/netns/{second}").stat().st_ino
        assert row["ipv6_link_local"] in row["addresses"]
        names = (str(pid), f"/proc/{pid}/ns/net", f"/run/netns/{second}")
        for which in (*names, "2", *row["addresses"]):
            assert endpoint(name, which)["netns"] == second, which


def test_get_of_who_is_not_there_is_one_line(name: str) -> None:
    with made_network(name):
        for which in ("nobody", "99", "10.1.1.77", "fd00::77", "/proc/self/ns/net", "a/b", ""):
            done = hosts.ebpfnet("endpoint", "get", which, "--network", name, check=False)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == (
                f"ebpfnet: network {name} has no endpoint {which}; "
                f"see `ebpfnet endpoint list --network {name}`\n"
            )


def test_table_and_yaml_show_the_same(name: str) -> None:
    with made_network(name) as namespaces:
        for netns in namespaces:  # or unasked-for frames would be counted in between
            hosts.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1", netns=netns)
        for args in (("list",), ("get", "1")):
            command = ("endpoint", *args, "--network", name, "-o")
            as_json, as_yaml = (hosts.ebpfnet(*command, form).stdout for form in ("json", "yaml"))
            assert yaml.safe_load(as_yaml) == json.loads(as_json)
        heading, *lines = hosts.ebpfnet("endpoint", "list", "--network", name).stdout.splitlines()
        assert " ".join(heading.split()) == HEADINGS
        assert [line.split()[:8] for line in lines] == [
            [str(row[key]) for key in KEYS[:8]] for row in endpoints(name).values()
        ]
        fields = hosts.ebpfnet("endpoint", "get", "1", "--network", name).stdout
        assert "IPv6 link-local" in fields


def test_network_that_is_not_there_is_one_line() -> None:
    for args in (("list",), ("get", "1")):
        done = hosts.ebpfnet("endpoint", *args, "--network", "nonsense", check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("ebpfnet: there is no network nonsense; ")
        assert done.stderr.count("\n") == 1


def test_endpoints_are_completed(name: str) -> None:
    with made_network(name) as namespaces:
        completed = hosts.run(
            *("env", "_EBPFNET_COMPLETE=bash_complete", "COMP_CWORD=5"),
            f"COMP_WORDS=ebpfnet endpoint get --network {name} {name}",
            *(sys.executable, "-m", "cli"),
            cwd=hosts.CHECKOUT,
        )
        assert completed.stdout.split() == [f"plain,{namespace}" for namespace in namespaces]
