"""diagnose in labs: whoever is to reach whom is healthy, and whoever is not learns the reason."""

import pytest

from datapath import names
from datapath.diagnose import Diagnosis, diagnose
from datapath.diagnose.causes import Cause
from datapath.labs import catalogue, lifecycle, needs, planning
from datapath.labs.model import HOST, Lab
from tests.support import hosts


def reachable(lab: Lab) -> list[tuple[str, str]]:
    """Nodes that reach every address of one another, as declared."""

    def reaches(source: str, node: str) -> bool:
        targets = {each for each in lab.targets if each.node == node and each.port is None}
        return bool(targets) and targets <= lab.reach.get(source, frozenset())

    return [
        (one, other)
        for one in lab.nodes
        for other in lab.nodes
        if HOST not in (one, other) and one != other
        if reaches(one, other) and reaches(other, one)
    ]


def between(lab: str, one: str, other: str) -> Diagnosis:
    return diagnose(*(names.node(planning.netns_name(lab, node)) for node in (one, other)))


PRESETS = {lab.name: lab for lab in catalogue.presets() if reachable(lab)}


@pytest.mark.parametrize("lab", PRESETS)
def test_no_false_alarm(lab: str) -> None:
    if lacking := needs.missing(PRESETS[lab]):
        pytest.skip("; ".join(lacking))
    pairs = reachable(PRESETS[lab])
    lifecycle.up(PRESETS[lab])
    try:
        for pair in {pairs[0], pairs[-1]}:
            # What settles after a lab has come up (tunnels that start, trees of bridges) may.
            assert hosts.until(lambda pair=pair: between(lab, *pair).healthy), (
                f"{pair}: {between(lab, *pair)}"
            )
    finally:
        lifecycle.down(lab)


@pytest.mark.parametrize(
    ("lab", "one", "other", "cause", "sentence"),
    [
        (
            *("macvlan-private", "host1", "c1", "macvlan-parent"),
            "eth0 in macvlan-private-c1 is a macvlan of eth0 in macvlan-private-host1, and the two",
        ),
        (
            *("macvlan-private", "c1", "c2", "macvlan-mode"),
            "eth0 in macvlan-private-c1 is a macvlan in mode private",
        ),
        (
            *("macvlan-passthru", "host1", "outside", "macvlan-passthru"),
            "eth0 in macvlan-passthru-c1 is a macvlan in mode passthru, and takes all that",
        ),
        (
            *("vlan", "a1", "b1", "vlan-mismatch"),
            "a1 in vlan-s1 puts frames in VLAN 10, of which b1 in vlan-s1 is no member",
        ),
        (
            *("vlan", "a1", "b2", "vlan-mismatch"),
            "trunk in vlan-s2 puts frames in VLAN 10, of which b2 in vlan-s2 is no member",
        ),
        ("nat", "world", "client", "no-route", "nat-world has no route to 10.0.0.2"),
    ],
    ids=lambda each: each if " " not in each else "",
)
def test_who_is_not_to_reach_learns_why(
    lab: str, one: str, other: str, cause: str, sentence: str
) -> None:
    declared = catalogue.declared(lab)
    if lacking := needs.missing(declared):
        pytest.skip("; ".join(lacking))
    lifecycle.up(declared)
    found: list[Cause] = []

    def found_out() -> bool:
        found[:] = between(lab, one, other).causes
        return {each.cause for each in found} == {cause}

    try:
        # On a slow machine ports take their time to forward.
        assert hosts.until(found_out), found
    finally:
        lifecycle.down(lab)
    assert any(sentence in each.sentence for each in found), found


def test_a_switched_lab_is_healthy_and_a_fault_in_it_is_named() -> None:
    lifecycle.up(catalogue.declared("cilium"))
    try:
        assert between("cilium", "p1", "p2").healthy
        hosts.ip("-n", "cilium-p1", "link", "set", "eth0", "address", "02:00:00:00:00:99")
        found = between("cilium", "p1", "p2")
        assert {each.cause for each in found.causes} == {"datapath-entry"}, found
        assert "network cilium-1: endpoints" in found.causes[0].sentence
    finally:
        lifecycle.down("cilium")
