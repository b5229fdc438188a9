"""Offload features against what ethtool prints, in a namespace of their own."""

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from datapath.errors import NotFound, Unsupported
from datapath.kernel.bpf import libbpf
from datapath.kernel.net import ethtool, links, netns
from tests.support.hosts import ip, run

T = TypeVar("T")

DEVICE, PEER = "device", "peer"  # unique by the namespace they are in
SEGMENTATION = "tx-tcp-segmentation"
# What XDP needs to be otherwise, and TSO.
SIX = {
    "rx-gro": True,
    "tx-checksum-ip-generic": False,
    "tx-checksum-sctp": False,
    "tx-vlan-hw-insert": False,
    "tx-vlan-stag-hw-insert": False,
    SEGMENTATION: False,
}


@pytest.fixture
def place(name: str) -> Iterator[str]:
    """A namespace that holds both ends of a veth, up."""
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "add", DEVICE, "type", "veth", "peer", "name", PEER)
        for end in (DEVICE, PEER):
            ip("-n", name, "link", "set", end, "up")
        yield name
    finally:
        ip("netns", "del", name)


def inside(place: str, work: Callable[[], T]) -> T:
    return netns.run_inside(Path("/run/netns") / place, work)


def shown(place: str) -> dict[str, str]:
    """Feature to "on", "off", "off [fixed]", "off [requested on]", ... as `ethtool -k` has it."""
    lines = run("ethtool", "-k", DEVICE, netns=place).stdout.splitlines()[1:]
    return dict(line.strip().split(": ", 1) for line in lines)


def test_what_was_changed_is_put_back_exactly(place: str) -> None:
    before = shown(place)
    kept = inside(place, lambda: ethtool.requested(DEVICE, SIX))
    assert kept == {name: not value for name, value in SIX.items()}
    inside(place, lambda: ethtool.set_features(DEVICE, SIX))
    assert inside(place, lambda: ethtool.get_features(DEVICE, SIX)) == SIX
    changed = shown(place)
    assert changed["tx-checksum-ip-generic"] == "off"
    assert changed["generic-receive-offload"] == "on"
    inside(place, lambda: ethtool.set_features(DEVICE, kept))
    assert shown(place) == before != changed


def test_what_a_person_had_changed_is_put_back_too(place: str) -> None:
    run("ethtool", "-K", DEVICE, "sg", "off", "gro", "on", "txvlan", "off", netns=place)
    before = shown(place)
    kept = inside(place, lambda: ethtool.requested(DEVICE, SIX))
    # Without scatter-gather there is no segmentation, which is requested all the same.
    assert kept[SEGMENTATION]
    assert not inside(place, lambda: ethtool.get_features(DEVICE, [SEGMENTATION]))[SEGMENTATION]
    inside(place, lambda: ethtool.set_features(DEVICE, SIX))
    assert shown(place) != before
    inside(place, lambda: ethtool.set_features(DEVICE, kept))
    assert shown(place) == before


def test_xdp_at_the_peer_masks_what_is_requested(place: str) -> None:
    before = shown(place)
    code = bytes.fromhex("b700000002000000 9500000000000000")  # r0 = XDP_PASS; exit
    program = libbpf.program_load("ebt_pass", libbpf.PROG_XDP, code)

    def attach() -> int:
        index = links.get(PEER).index
        return libbpf.link_create(program, index, libbpf.ATTACH_XDP, libbpf.XDP_FLAGS_DRV_MODE)

    try:
        link = inside(place, attach)
        try:
            active = inside(place, lambda: ethtool.get_features(DEVICE, [SEGMENTATION]))
            requested = inside(place, lambda: ethtool.requested(DEVICE, [SEGMENTATION]))
            assert (active, requested) == ({SEGMENTATION: False}, {SEGMENTATION: True})
            # To restore it meanwhile is no error, and it is back when the program ends.
            inside(place, lambda: ethtool.set_features(DEVICE, requested))
            inside(place, lambda: ethtool.set_features(DEVICE, active))
        finally:
            os.close(link)
    finally:
        os.close(program)
    assert shown(place) == before


def test_unknown_features_are_left_out(place: str) -> None:
    names = ["rx-gro", "tx-of-tomorrow"]
    assert inside(place, lambda: ethtool.get_features(DEVICE, names)) == {"rx-gro": False}
    assert inside(place, lambda: ethtool.requested(DEVICE, names)) == {"rx-gro": False}
    inside(place, lambda: ethtool.set_features(DEVICE, {"tx-of-tomorrow": False}))


@pytest.mark.parametrize("known", [True, False])
def test_feature_that_cannot_be_had_is_refused_and_nothing_changed(place: str, known: bool) -> None:
    before = shown(place)
    fixed = next(name for name, state in before.items() if state == "off [fixed]")
    name = fixed if known else "tx-of-tomorrow"
    with pytest.raises(Unsupported, match=f"{DEVICE} cannot have {name} turned on"):
        inside(place, lambda: ethtool.set_features(DEVICE, {"rx-gro": True, name: True}))
    assert shown(place) == before
    inside(place, lambda: ethtool.set_features(DEVICE, {name: False}))


@pytest.mark.parametrize("missing", ["nosuch", f"{DEVICE}-and-a-name-too-long"])
def test_interface_that_is_not_there(place: str, missing: str) -> None:
    works: tuple[Callable[[], object], ...] = (
        lambda: ethtool.get_features(missing, SIX),
        lambda: ethtool.requested(missing, SIX),
        lambda: ethtool.set_features(missing, SIX),
    )
    for work in works:
        with pytest.raises(NotFound, match=missing):
            inside(place, work)


def test_name_too_long_is_not_cut_to_one_that_exists(place: str) -> None:
    exact = "fifteen-letters"
    ip("-n", place, "link", "set", DEVICE, "name", exact)
    assert inside(place, lambda: ethtool.get_features(exact, ["rx-gro"]))
    with pytest.raises(NotFound):
        inside(place, lambda: ethtool.get_features(f"{exact}!", ["rx-gro"]))


def test_no_descriptor_stays_open(place: str) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(3):
        inside(place, lambda: ethtool.set_features(DEVICE, SIX))
        inside(place, lambda: ethtool.get_features(DEVICE, SIX))
        with pytest.raises(NotFound):
            inside(place, lambda: ethtool.get_features("nosuch", SIX))
    assert count() == before


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"rx-gro": True}, "gro on"),
        (SIX, "gro on tx off txvlan off tx-vlan-stag-hw-insert off tso off"),
        (
            {"tx-tcp-segmentation": False, "tx-tcp6-segmentation": True},
            "tx-tcp-segmentation off tx-tcp6-segmentation on",
        ),
        ({"tx-tcp-segmentation": True, "tx-tcp6-segmentation": True}, "tso on"),
    ],
)
def test_command_is_what_a_person_types(place: str, features: dict[str, bool], words: str) -> None:
    assert ethtool.command("eth0", features) == f"ethtool -K eth0 {words}"
    typed = ethtool.command(DEVICE, features, netns=place)
    assert typed == f"ip netns exec {place} ethtool -K {DEVICE} {words}"
    run(*shlex.split(typed))
    assert inside(place, lambda: ethtool.get_features(DEVICE, features)) == features
