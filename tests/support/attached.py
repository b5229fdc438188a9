"""A network of the kit's own making, and reading its maps by the command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import hosts

PINS = Path("/sys/fs/bpf/ebpfnet")


@contextmanager
def attached(name: str, *options: str, endpoints: int = 2) -> Iterator[list[str]]:
    """A network called `name` of namespaces that attach makes; yields their names.

    Their addresses are 10.1.1.2 and on, with ids from 1.
    """
    namespaces = [f"{name}n{number}" for number in range(endpoints)]
    try:
        hosts.ebpfnet("attach", *namespaces, "--network", name, *options)
        yield namespaces
    finally:
        hosts.ebpfnet("detach", "--network", name, check=False)


def drop_one(netns: str) -> None:
    """Ask for an address that no endpoint has."""
    hosts.run(*("ping", "-n", "-c", "1", "-W", "0.1", "10.1.1.9"), netns=netns, check=False)


@contextmanager
def resident(netns: str) -> Iterator[int]:
    """A process that is in a namespace and does nothing there; yields its PID."""
    wanted = Path("/run/netns", netns).stat().st_ino
    with hosts.background("sleep", "60", netns=netns) as process:
        inside = Path(f"/proc/{process.pid}/ns/net")
        assert hosts.until(lambda: inside.stat().st_ino == wanted)
        yield process.pid


def read_map(network: str, *args: str) -> Any:
    """What `ebpfnet map ARGS` prints as JSON."""
    return json.loads(hosts.ebpfnet("map", *args, "--network", network, "-o", "json").stdout)
