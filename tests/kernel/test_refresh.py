"""Attaching a namespace again brings what has changed meanwhile up to date."""

import json

import pytest

from tests.support import hosts


def entries(network: str, name: str) -> dict[str, dict[str, object]]:
    """A map's values by key, as the kit shows them."""
    shown = hosts.ebpfnet("map", "dump", name, "--network", network, "-o", "json").stdout
    return {entry["key"]: entry["value"] for entry in json.loads(shown)}


def is_consistent(network: str) -> bool:
    return hosts.ebpfnet("map", "check", "--network", network, check=False).returncode == 0


def test_another_mac_and_address_reach_the_maps(name: str) -> None:
    near, far = f"{name}0", f"{name}1"
    hosts.ebpfnet("attach", near, far, "--network", name)
    try:
        hosts.ip("-n", far, "link", "set", "eth0", "address", "02:00:00:00:00:77")
        hosts.ip("-n", far, "addr", "add", "10.1.1.77/24", "dev", "eth0")
        hosts.ip("-n", far, "addr", "del", "fd00::10.1.1.3/64", "dev", "eth0")
        assert not is_consistent(name)
        hosts.run("ip", "neigh", "flush", "all", netns=near)
        assert not hosts.ping(near, "10.1.1.77")

        hosts.ebpfnet("attach", far, "--network", name)
        assert is_consistent(name)
        hosts.run("ip", "neigh", "flush", "all", netns=near)
        assert hosts.ping(near, "10.1.1.77")
        assert hosts.ping(near, "10.1.1.3")
        addresses = entries(name, "endpoints_v4")
        assert {key: value["mac"] for key, value in addresses.items() if value["id"] == 2} == {
            "10.1.1.3": "02:00:00:00:00:77",
            "10.1.1.77": "02:00:00:00:00:77",
        }
        assert "fd00::a01:103" not in entries(name, "endpoints_v6")

        # An address that was given up may be another's by the time that its owner is detached.
        hosts.ip("-n", far, "addr", "del", "10.1.1.77/24", "dev", "eth0")
        hosts.ebpfnet("attach", far, "--network", name)
        third = f"{name}2"
        hosts.ebpfnet("attach", third, "--network", name, "--ip", f"{third}=10.1.1.77")
        hosts.ebpfnet("detach", far, "--network", name)
        assert hosts.ping(near, "10.1.1.77")
    finally:
        hosts.ebpfnet("detach", "--network", name)


def test_an_address_that_another_has_is_refused(name: str) -> None:
    near, far = f"{name}0", f"{name}1"
    hosts.ebpfnet("attach", near, far, "--network", name)
    try:
        before = entries(name, "endpoints_v4")
        hosts.ip("-n", far, "addr", "add", "10.1.1.2/24", "dev", "eth0")
        done = hosts.ebpfnet("attach", far, "--network", name, check=False)
        assert done.returncode == 1
        assert f"address 10.1.1.2 of {far} belongs to {near} already" in done.stderr
        assert entries(name, "endpoints_v4") == before
    finally:
        hosts.ebpfnet("detach", "--network", name)


@pytest.mark.parametrize("hook", ["tcx", "clsact"])
def test_a_program_that_was_detached_by_hand_comes_back(name: str, hook: str) -> None:
    near, far = f"{name}0", f"{name}1"
    hosts.ebpfnet("attach", near, far, "--network", name, "--hook", hook)
    try:
        if hook == "clsact":
            hosts.run("tc", "qdisc", "del", "dev", f"h-{near}", "clsact")
        else:
            pin = f"/sys/fs/bpf/ebpfnet/{name}/links/1"
            hosts.run("bpftool", "link", "detach", "pinned", pin)
        assert not hosts.ping(near, "10.1.1.3")
        hosts.ebpfnet("attach", near, "--network", name)
        assert hosts.ping(near, "10.1.1.3")
    finally:
        hosts.ebpfnet("detach", "--network", name)


def test_nothing_is_done_where_nothing_has_changed(name: str) -> None:
    near, far = f"{name}0", f"{name}1"
    hosts.ebpfnet("attach", near, far, "--network", name)
    try:
        assert hosts.ebpfnet("attach", near, far, "--network", name, "--dry-run").stdout == ""
    finally:
        hosts.ebpfnet("detach", "--network", name)
