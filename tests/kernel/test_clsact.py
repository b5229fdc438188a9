"""The kit's filter in clsact, as `tc` sees it, and the filters of others that stay as they are."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from datapath.errors import AlreadyExists, KernelError, NotFound
from datapath.kernel.bpf import libbpf, links
from datapath.kernel.net import tc
from tests.support.hosts import ip, ping, run

PASS, DROP = 0, 2  # TC_ACT_OK, TC_ACT_SHOT
OTHERS_PRIORITY = 300
EVERY_PACKET = ("bpf", "bytecode", "1,6 0 0 4294967295")


@contextmanager
def program(verdict: int) -> Iterator[int]:
    """A loaded program that gives every packet this verdict: r0 = verdict; exit."""
    code = b"\xb7\x00\x00\x00" + verdict.to_bytes(4, "little") + b"\x95" + bytes(7)
    fd = libbpf.program_load("ebt_verdict", libbpf.PROG_SCHED_CLS, code)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def passing() -> Iterator[int]:
    with program(PASS) as fd:
        yield fd


@pytest.fixture
def dropping() -> Iterator[int]:
    with program(DROP) as fd:
        yield fd


@pytest.fixture
def device(name: str) -> Iterator[str]:
    """A veth here, 10.1.2.1/24, whose other end is 10.1.2.2/24 in the namespace `name`."""
    ip("netns", "add", name)
    device, peer = f"{name}a", f"{name}b"
    try:
        ip("link", "add", device, "type", "veth", "peer", "name", peer, "netns", name)
        ip("addr", "add", "10.1.2.1/24", "dev", device)
        ip("-n", name, "addr", "add", "10.1.2.2/24", "dev", peer)
        ip("link", "set", device, "up")
        ip("-n", name, "link", "set", peer, "up")
        yield device
    finally:
        run("ip", "link", "del", device, check=False)
        ip("netns", "del", name)


def filters(device: str, direction: str = "ingress") -> list[dict[str, Any]]:
    """Filters as tc shows them, without the lines that only name a priority."""
    shown = json.loads(run("tc", "-j", "filter", "show", "dev", device, direction).stdout)
    return [each for each in shown if "options" in each]


def qdiscs(device: str) -> list[str]:
    return [
        each["kind"] for each in json.loads(run("tc", "-j", "qdisc", "show", "dev", device).stdout)
    ]


def add_others_filter(device: str, *, direction: str = "ingress", priority: int) -> dict[str, Any]:
    run("tc", "filter", "add", "dev", device, direction, "pref", str(priority), *EVERY_PACKET)
    return next(each for each in filters(device, direction) if each["pref"] == priority)


def test_clsact_is_made_once_and_removed(device: str) -> None:
    assert not tc.has_clsact(device)
    assert tc.ensure_clsact(device)
    assert tc.has_clsact(device)
    assert "clsact" in qdiscs(device)
    assert not tc.ensure_clsact(device)
    tc.remove_clsact_if_unused(device)
    assert not tc.has_clsact(device)
    assert "clsact" not in qdiscs(device)
    tc.remove_clsact_if_unused(device)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_clsact_with_somebody_elses_filter_stays(device: str, direction: str) -> None:
    run("tc", "qdisc", "add", "dev", device, "clsact")
    theirs = add_others_filter(device, direction=direction, priority=OTHERS_PRIORITY)
    assert not tc.ensure_clsact(device)
    tc.remove_clsact_if_unused(device)
    assert filters(device, direction) == [theirs]


def test_ingress_qdisc_serves_as_well_and_stays(device: str, passing: int) -> None:
    run("tc", "qdisc", "add", "dev", device, "ingress")
    assert tc.has_clsact(device)
    assert not tc.ensure_clsact(device)
    tc.add_ingress_filter(device, passing, "endpoint")
    assert tc.ingress_filter(device)
    tc.remove_ingress_filter(device)
    tc.remove_clsact_if_unused(device)
    assert "ingress" in qdiscs(device)


def test_filter_is_what_tc_shows(device: str, passing: int) -> None:
    tc.ensure_clsact(device)
    tc.add_ingress_filter(device, passing, "endpoint")
    (shown,) = filters(device)
    assert shown["protocol"] == "all"
    assert shown["pref"] == tc.PRIORITY
    assert shown["kind"] == "bpf"
    assert int(shown["options"]["handle"], 16) == tc.HANDLE
    assert shown["options"]["direct-action"]
    assert shown["options"]["bpf_name"] == "ebpfnet:endpoint"
    loaded = links.program_info(passing)
    assert (shown["options"]["prog"]["id"], shown["options"]["prog"]["tag"]) == (
        loaded.id,
        loaded.tag,
    )
    assert tc.ingress_filter(device) == tc.FilterInfo(loaded.id, "endpoint", loaded.tag)
    assert filters(device, "egress") == []


def test_filter_decides(device: str, name: str, passing: int, dropping: int) -> None:
    assert ping(name, "10.1.2.1")
    tc.ensure_clsact(device)
    tc.add_ingress_filter(device, dropping, "endpoint")
    assert not ping(name, "10.1.2.1")
    tc.replace_ingress_filter(device, passing, "endpoint")
    assert ping(name, "10.1.2.1")


def test_adding_the_same_program_again_does_nothing(device: str, passing: int) -> None:
    tc.ensure_clsact(device)
    tc.add_ingress_filter(device, passing, "endpoint")
    before = filters(device)
    tc.add_ingress_filter(device, passing, "endpoint")
    assert filters(device) == before


def test_adding_the_same_code_loaded_anew_is_refused(device: str, passing: int) -> None:
    # Its maps may be another network's: the tag alone does not make it the same program.
    tc.ensure_clsact(device)
    tc.add_ingress_filter(device, passing, "endpoint")
    before = filters(device)
    with program(PASS) as again:
        assert links.program_info(again).tag == links.program_info(passing).tag
        with pytest.raises(AlreadyExists, match=device):
            tc.add_ingress_filter(device, again, "endpoint")
    assert filters(device) == before


def test_somebody_elses_filter_elsewhere_is_left_alone(
    device: str, passing: int, dropping: int
) -> None:
    run("tc", "qdisc", "add", "dev", device, "clsact")
    theirs = add_others_filter(device, priority=OTHERS_PRIORITY)
    tc.ensure_clsact(device)
    tc.add_ingress_filter(device, passing, "endpoint")
    assert theirs in filters(device)
    tc.replace_ingress_filter(device, dropping, "endpoint")
    assert theirs in filters(device)
    assert len(filters(device)) == 2
    tc.remove_ingress_filter(device)
    assert filters(device) == [theirs]


@pytest.mark.parametrize("handle", [tc.HANDLE, tc.HANDLE + 6])
def test_somebody_elses_filter_at_our_place_is_named_and_left(
    device: str, passing: int, handle: int
) -> None:
    run("tc", "qdisc", "add", "dev", device, "clsact")
    place = ("ingress", "pref", str(tc.PRIORITY), "handle", str(handle))
    run("tc", "filter", "add", "dev", device, *place, *EVERY_PACKET)
    theirs = filters(device)
    for change in (tc.add_ingress_filter, tc.replace_ingress_filter):
        with pytest.raises(AlreadyExists, match=rf"`tc filter del dev {device} .*{tc.PRIORITY}`"):
            change(device, passing, "endpoint")
    assert tc.ingress_filter(device) is None
    tc.remove_ingress_filter(device)
    assert filters(device) == theirs


def test_no_packet_passes_between_two_programs(
    device: str, name: str, passing: int, dropping: int
) -> None:
    # A packet that met no filter of ours would meet the one behind it, which drops it.
    pin = Path("/sys/fs/bpf") / f"{name}drop"
    libbpf.object_pin(dropping, pin)
    try:
        tc.ensure_clsact(device)
        behind = ("bpf", "direct-action", "pinned", str(pin))
        run("tc", "filter", "add", "dev", device, "ingress", "pref", "300", *behind)
        with program(PASS) as other:
            tc.add_ingress_filter(device, passing, "endpoint")
            answers: list[str] = []
            many = ("ping", "-q", "-i", "0.002", "-c", "500", "10.1.2.1")
            pinging = Thread(target=lambda: answers.append(run(*many, netns=name).stdout))
            pinging.start()
            while pinging.is_alive():
                for fd in (other, passing):
                    tc.replace_ingress_filter(device, fd, "endpoint")
        assert " 500 received" in answers[0]
        tc.remove_ingress_filter(device)
        assert not ping(name, "10.1.2.1"), "the filter behind drops what ours does not see"
    finally:
        pin.unlink()


def test_removing_is_harmless_where_there_is_nothing(device: str) -> None:
    tc.remove_ingress_filter(device)
    tc.ensure_clsact(device)
    tc.remove_ingress_filter(device)
    assert tc.ingress_filter(device) is None


def test_adding_without_the_qdisc_is_an_error(device: str, passing: int) -> None:
    with pytest.raises(KernelError, match=f"adding filter endpoint to {device}"):
        tc.add_ingress_filter(device, passing, "endpoint")


def test_interface_that_is_gone(name: str, passing: int) -> None:
    works: tuple[Callable[[str], object], ...] = (
        tc.has_clsact,
        tc.ensure_clsact,
        tc.remove_clsact_if_unused,
        tc.remove_ingress_filter,
        tc.ingress_filter,
        lambda device: tc.add_ingress_filter(device, passing, "endpoint"),
        lambda device: tc.replace_ingress_filter(device, passing, "endpoint"),
    )
    for work in works:
        with pytest.raises(NotFound, match=f"{name}x"):
            work(f"{name}x")
