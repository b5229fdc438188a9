"""Labs that cannot be built or read: what is said of them, and that no other suffers."""

from datapath.labs import catalogue, lifecycle
from datapath.labs.loader import load
from tests.support import hosts
from tests.support.crash import Judge

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
