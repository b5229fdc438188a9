"""Labs that cannot be built or read: what is said of them, and that no other suffers."""

import pytest

from datapath.errors import KernelError
from datapath.labs import catalogue, checks, feasible, lifecycle
from datapath.labs.loader import load
from tests.support import hosts
from tests.support.crash import Judge
from tests.unit import test_lab_feasible as unit

PAIR = """\
title: A pair
nodes:
  a: {interfaces: {eth0: 10.7.9.1/24}}
  b: {interfaces: {eth0: 10.7.9.2/24}}
links: [a:eth0 -- b:eth0]
"""


def test_a_lab_of_another_version_is_taken_down_and_hinders_no_other(name: str) -> None:
    judge = Judge()
    lifecycle.up(load(PAIR, "pair.yaml", name))
    lifecycle.up(catalogue.declared("veth-pair"))
    catalogue.record(name).write_text(f"{PAIR}colour: blue\n")
    assert [lab.name for lab in catalogue.running()] == ["veth-pair"]
    assert hosts.ebpfnet("lab", "list").returncode == 0
    assert "lab veth-pair is down" in hosts.ebpfnet("lab", "down").stderr
    assert f"lab {name} is down" in hosts.ebpfnet("lab", "down", "--all").stderr
    assert judge.differences() == []


def test_nobody_tries_an_address_that_it_has_itself(name: str) -> None:
    lab = load(PAIR.replace("10.7.9.2", "10.7.9.1"), "pair.yaml", name)
    lifecycle.up(lab)
    try:
        assert checks.check(lab) == checks.Outcome((), 0)
    finally:
        lifecycle.down(name)


def test_a_node_that_somebody_has_taken_away_is_named() -> None:
    lifecycle.up(catalogue.declared("arp"))
    try:
        hosts.ip("netns", "del", "arp-b")
        for command in ("lab check", "lab exec b -- true", "attach --lab arp"):
            done = hosts.ebpfnet(*command.split(), check=False)
            said = "ebpfnet: node b of lab arp is gone; ebpfnet lab down arp, and up again\n"
            assert (done.returncode, done.stderr) == (1, said)
        assert hosts.ebpfnet("lab", "exec", "a", "--", "true").returncode == 0
    finally:
        lifecycle.down("arp")


def test_a_sysctl_of_an_interface_with_a_dot_is_written_as_sysctl_has_it(name: str) -> None:
    sysctls = "sysctls: {net.ipv4.conf.eth0/1.forwarding: 1}"
    text = PAIR.replace("b:eth0", "b:eth0.1")
    text = text.replace("b: {interfaces: {eth0:", f"b: {{{sysctls}, interfaces: {{eth0.1:")
    lab = load(text, "pair.yaml", name)
    lifecycle.up(lab)
    try:
        set_ = "/proc/sys/net/ipv4/conf/eth0.1/forwarding"
        assert hosts.run("cat", set_, netns=f"{name}-b").stdout == "1\n"
    finally:
        lifecycle.down(name)


def test_the_kernel_takes_the_routes_that_a_lab_may_have_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feasible, "_check_routes", lambda *_: None)
    for routes in unit.GOOD_ROUTES:
        lifecycle.up(unit.lab(routes))
        lifecycle.down("mine")
    for routes, _ in unit.BAD_ROUTES:
        with pytest.raises(KernelError, match="adding a route to "):
            lifecycle.up(unit.lab(routes))
