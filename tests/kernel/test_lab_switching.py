"""Labs switched to eBPF and back, and what is joined by eBPF from the beginning."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datapath import status
from datapath.errors import Conflict
from datapath.labs import catalogue, groups, lifecycle, needs, planning, switching
from datapath.labs.model import Lab
from datapath.network import Network
from tests.support import hosts, inventory
from tests.support.crash import Judge, Launcher
from tests.support.labs import standing, wrong


def unsettled(labs: list[Lab]) -> list[str]:
    """Veths whose state or link-local addresses the kernel has yet to make up its mind about."""
    said = [
        hosts.run("ip", "-o", "addr", "show", *type_, netns=planning.netns_name(lab.name, node))
        for lab in labs
        for node in lab.nodes
        if node != "host"
        for type_ in (["type", "veth"], ["tentative"])
    ]
    return [line for done in said for line in done.stdout.splitlines() if "tentative" in line]


def test_every_lab_with_a_bridge_or_router_can_be_switched_and_back() -> None:
    """And whoever reaches whom does so all the while, between members by way of the program."""
    possible = [
        lab for lab in catalogue.presets() if groups.switchable(lab) and not needs.missing(lab)
    ]
    expected = {"bridge", "nat", "docker", "routed", "flannel-udp", "vxlan-learning", "tuntap"}
    assert expected <= {lab.name for lab in possible}
    try:
        for lab in possible:
            lifecycle.up(lab)
        assert hosts.until(lambda: not unsettled(possible))
        before = inventory.take()
        for lab in possible:
            assert switching.joined(lab) == []
            switching.switch(lab)
            with pytest.raises(Conflict, match=f"lab {lab.name} is joined by eBPF already"):
                switching.switch(lab)
        with ThreadPoolExecutor(len(possible)) as pool:
            assert [line for lines in pool.map(wrong, possible) for line in lines] == []
        for lab in possible:
            for group in groups.switchable(lab):
                with Network(group.network) as network:
                    sent = [network.stats(each.id).tx_packets for each in network.endpoints()]
                assert len(sent) == len(group.members)
                assert all(sent), f"{group}: {sent}"
        assert all(map(switching.back, possible))
        assert inventory.left_behind(before) == []
        with ThreadPoolExecutor(len(possible)) as pool:
            assert [line for lines in pool.map(wrong, possible) for line in lines] == []
        switching.switch(possible[0])  # which goes with the lab
    finally:
        for name in catalogue.journalled():
            lifecycle.down(name)


def test_lab_is_switched_by_name_and_without_a_bridge_it_is_not() -> None:
    with standing(catalogue.declared("docker")):
        rows = json.loads(hosts.ebpfnet("attach", "--lab", "docker", "-o", "json").stdout)
        assert {row["netns"] for row in rows} == {"docker-web", "docker-db"}
        again = hosts.ebpfnet("attach", "--lab", "docker", check=False)
        assert "lab docker is joined by eBPF already; ebpfnet detach --lab" in again.stderr
        listed = json.loads(hosts.ebpfnet("lab", "list", "-o", "json").stdout)
        assert [row["name"] for row in listed if row["switched"]] == ["docker"]
        told = hosts.ebpfnet("lab", "show", "docker").stdout
        assert "Joined by eBPF at machine: web, db\n  network docker, mode tc-peer at " in told
        (network,) = json.loads(hosts.ebpfnet("status", "-o", "json").stdout)
        assert [each["state"] for each in network["endpoints"]] == ["attached"] * 2
        assert "nothing is wrong" in hosts.ebpfnet("diagnose", "docker-web", "docker-db").stdout
        hosts.ebpfnet("map", "check", "--network", network["network"])
        hosts.ebpfnet("detach", "--lab", "docker")
        assert json.loads(hosts.ebpfnet("status", "-o", "json").stdout) == []
        listed = json.loads(hosts.ebpfnet("lab", "list", "-o", "json").stdout)
        assert [row["name"] for row in listed if row["up"]] == ["docker"]
        assert not any(row["switched"] for row in listed)
        shown = json.loads(hosts.ebpfnet("lab", "show", "docker", "-o", "json").stdout)
        assert shown["joined"] == []
        back = hosts.ebpfnet("detach", "--lab", "docker", check=False)
        assert "lab docker is not joined by eBPF" in back.stderr
    with standing(catalogue.declared("veth-pair")):
        done = hosts.ebpfnet("attach", "--lab", "veth-pair", check=False)
        assert "lab veth-pair has nothing that eBPF could take over" in done.stderr
        assert done.returncode == 2


def test_what_is_declared_to_be_joined_is_given_back_and_joined_again() -> None:
    def networks() -> list[tuple[str, ...]]:
        told = ("network", "mode", "hook", "otherwise", "subnet")
        return [tuple(each[key] for key in told) for each in status.read()]

    lab = catalogue.declared("cilium")
    with standing(lab):
        assert [group.node for group in switching.joined(lab)] == ["m1", "m2"]
        with pytest.raises(Conflict, match="lab cilium is joined by eBPF already"):
            switching.switch(lab)
        declared = networks()
        hosts.ebpfnet("detach", "--lab", "cilium")
        told = hosts.ebpfnet("lab", "show", "cilium").stdout
        assert "joined by eBPF, which it is not now:\n  ebpfnet attach --lab cilium\n" in told
        rows = json.loads(hosts.ebpfnet("attach", "--lab", "cilium", "-o", "json").stdout)
        assert {row["netns"] for row in rows} == {f"cilium-p{number}" for number in (1, 2, 3, 4)}
        assert networks() == declared
        assert wrong(lab) == []
        assert len(switching.back(lab)) == 4
        assert [plan.mode.name for plan in switching.switch(lab, "tc")] == ["tc", "tc"]


@pytest.mark.parametrize("moment", ["bpf_obj_pin", "bpf_link_create"])
@pytest.mark.parametrize("repair", ["gc", "lab down docker"])
def test_switching_that_is_killed_is_put_right(kit: Launcher, repair: str, moment: str) -> None:
    judge = Judge()
    lifecycle.up(catalogue.declared("docker"))
    assert kit.run("attach", "--lab", "docker", at=moment).killed
    assert kit.run(*repair.split()).code == 0
    assert not Path("/sys/fs/bpf/ebpfnet").exists()
    if repair == "gc":
        lifecycle.down("docker")
    assert judge.differences() == []


def test_gc_removes_a_network_whose_home_has_gone() -> None:
    judge = Judge()
    lifecycle.up(catalogue.declared("docker"))
    switching.switch(catalogue.standing("docker"))
    hosts.ip("netns", "del", "docker-machine")
    assert "docker: removed" in hosts.ebpfnet("gc").stdout
    lifecycle.down("docker")
    assert judge.differences() == []
