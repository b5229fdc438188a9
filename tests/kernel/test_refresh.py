"""Attaching a namespace again brings what has changed meanwhile up to date."""

import pytest

from tests.support import hosts
from tests.support.kit import PINS, entries, made_network


def is_consistent(network: str) -> bool:
    return hosts.ebpfnet("map", "check", "--network", network, check=False).returncode == 0


def test_another_mac_and_address_reach_the_maps(name: str) -> None:
    with made_network(name) as (near, far):
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


def test_an_address_that_another_has_is_refused(name: str) -> None:
    with made_network(name) as (near, far):
        before = entries(name, "endpoints_v4")
        hosts.ip("-n", far, "addr", "add", "10.1.1.2/24", "dev", "eth0")
        done = hosts.ebpfnet("attach", far, "--network", name, check=False)
        assert done.returncode == 1
        assert f"address 10.1.1.2 of {far} belongs to {near} already" in done.stderr
        assert entries(name, "endpoints_v4") == before


@pytest.mark.parametrize("hook", ["tcx", "clsact"])
def test_a_program_that_was_detached_by_hand_comes_back(name: str, hook: str) -> None:
    with made_network(name, "--hook", hook) as (near, _):
        if hook == "clsact":
            hosts.run("tc", "qdisc", "del", "dev", f"h-{near}", "clsact")
        else:
            hosts.run("bpftool", "link", "detach", "pinned", str(PINS / name / "links/1"))
        assert not hosts.ping(near, "10.1.1.3")
        hosts.ebpfnet("attach", near, "--network", name)
        assert hosts.ping(near, "10.1.1.3")


def test_nothing_is_done_where_nothing_has_changed(name: str) -> None:
    with made_network(name) as (near, far):
        assert hosts.ebpfnet("attach", near, far, "--network", name, "--dry-run").stdout == ""
