"""What a person types of the kit's commands, and reads from what they print."""

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import bpf_objects, hosts

PINS = Path("/sys/fs/bpf/ebpfnet")
LOOPBACK, BPF_TCX_INGRESS = 1, 46
EVERY_MODE = pytest.mark.parametrize("mode", ["tc", "tc-peer", "xdp"])

Row = dict[str, Any]  # of `ebpfnet endpoint list`


@contextmanager
def attached(network: str, *args: str, timeout: float = 60) -> Iterator[dict[str, Row]]:
    """`ebpfnet attach`, undone in the end; yields the rows it printed, by namespace."""
    try:
        done = hosts.ebpfnet("attach", *args, "--network", network, "-o", "json", timeout=timeout)
        yield {row["netns"]: row for row in json.loads(done.stdout)}
    finally:
        hosts.ebpfnet("detach", "--network", network, check=False, timeout=timeout)


@contextmanager
def made_network(name: str, *options: str, endpoints: int = 2) -> Iterator[list[str]]:
    """A network called `name` of namespaces that attach makes; yields their names.

    Their addresses are 10.1.1.2 and on, with ids from 1.
    """
    with attached(name, *(f"{name}n{number}" for number in range(endpoints)), *options) as rows:
        yield list(rows)


@contextmanager
def joined(name: str, way: Sequence[str]) -> Iterator[tuple[Row, Row]]:
    """Two namespaces made and attached; the rows of both. Skips what the kernel says it has not."""
    query = (LOOPBACK, BPF_TCX_INGRESS, 0, None, None, ctypes.byref(ctypes.c_uint32()))
    if "tcx" in way and bpf_objects.libbpf().bpf_prog_query(*query) != 0:
        pytest.skip("this kernel has no tcx")
    with made_network(name, *way) as (one, other):
        rows = endpoints(name)
        yield rows[one], rows[other]


def endpoints(network: str) -> dict[str, Row]:
    """The rows of `ebpfnet endpoint list`, by namespace."""
    done = hosts.ebpfnet("endpoint", "list", "--network", network, "-o", "json")
    return {row["netns"]: row for row in json.loads(done.stdout)}


def status(network: str) -> dict[str, Any]:
    """What `ebpfnet status` says of a network."""
    networks = json.loads(hosts.ebpfnet("status", "-o", "json").stdout)
    (found,) = (each for each in networks if each["network"] == network)
    return dict(found)


def read_map(network: str, *args: str) -> Any:
    """What `ebpfnet map ARGS` prints as JSON."""
    return json.loads(hosts.ebpfnet("map", *args, "--network", network, "-o", "json").stdout)


def entries(network: str, name: str) -> dict[str, Any]:
    """A map's values by key."""
    return {row["key"]: row["value"] for row in read_map(network, "dump", name)}


def drops(network: str) -> dict[str, int]:
    """Dropped frames by reason, those that occurred."""
    return {reason: value["packets"] for reason, value in entries(network, "drops").items()}


def drop_one(netns: str) -> None:
    """Ask for an address that no endpoint has."""
    hosts.run(*("ping", "-n", "-c", "1", "-W", "0.1", "10.1.1.9"), netns=netns, check=False)


def program_at(row: Row, way: Sequence[str]) -> int:
    """The id of the one program at an endpoint's host end, as tools find it."""
    if "clsact" in way:
        said = hosts.run("tc", "filter", "show", "dev", row["host_ifname"], "ingress").stdout
        ids = re.findall(r" direct-action .*\bid (\d+)", said)
    elif "tcx" in way:
        ids = dict(bpf_objects.attached(row["ifindex"]))["tcx ingress"]["programs"].split()
    else:
        ids = re.findall(r"prog/xdp id (\d+)", hosts.ip("link", "show", row["host_ifname"]).stdout)
    (found,) = ids
    return int(found)


@contextmanager
def capturing(*args: str) -> Iterator[subprocess.Popen[str]]:
    """`ebpfnet capture`, once it watches; ended by the test, or here."""
    command = [sys.executable, "-m", "cli", "capture", *args]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=hosts.CHECKOUT
    ) as process:
        try:
            assert process.stderr
            while not (line := process.stderr.readline()).startswith("capturing at"):
                assert line.startswith("note: "), line
            yield process
        finally:
            process.kill()
