"""In mode xdp what an endpoint sends has a queue to wait in; an adopted one keeps what it has."""

import json

from tests.support import hosts
from tests.support.kit import attached


def queue(netns: str, ifname: str) -> str:
    """Kind of an interface's root qdisc."""
    shown = hosts.run("tc", "-n", netns, "-j", "qdisc", "show", "dev", ifname, "root").stdout
    (root,) = json.loads(shown)
    kind: str = root["kind"]
    return kind


def test_xdp_gives_an_interface_of_its_making_a_queue(name: str) -> None:
    with attached(name, f"{name}a", "--mode", "xdp") as namespaces:
        assert {queue(netns, "eth0") for netns in namespaces} == {"pfifo"}


def test_tc_modes_need_none(name: str) -> None:
    with attached(name, f"{name}a") as namespaces:
        assert {queue(netns, "eth0") for netns in namespaces} == {"noqueue"}


def test_an_adopted_interface_keeps_what_it_has(name: str) -> None:
    """The kernel loses what an interface sends while its qdisc is changed."""
    with hosts.bridge_by_hand(name) as made, attached(name, *made.namespaces, "--mode", "xdp"):
        ends = zip(made.namespaces, made.ifnames, strict=True)
        assert {queue(*end) for end in ends} == {"noqueue"}
