import fcntl
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.hosts import unique_prefix
from tests.support.inventory import SESSION_VARIABLE

HERE = Path(__file__).parent
# Kinds of tests, each in a folder of its name, and those that work on the machine itself.
KINDS = {"kernel", "packet", "vm"}
ON_THE_MACHINE = {"kernel", "packet"}
TOOLS = ("ip", "tc", "bridge", "ping", "ss", "bpftool", "ethtool", "nft", "sysctl")


def missing() -> str:
    """What tests on the machine itself need and do not have, in words; empty if nothing."""
    if os.geteuid() != 0:
        return "needs root"
    if " /sys/fs/bpf bpf " not in Path("/proc/self/mounts").read_text():
        return "needs bpffs: mount -t bpf bpf /sys/fs/bpf"
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"needs {', '.join(absent)}" if absent else ""


def pytest_configure() -> None:
    os.environ.setdefault(SESSION_VARIABLE, str(os.getpid()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if item.path.is_relative_to(HERE):
            kind = item.path.relative_to(HERE).parts[0]
            if kind in KINDS:
                item.add_marker(kind)
            if kind in ON_THE_MACHINE and reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let sessions take turns on the machine: what another does is not this one's to answer for.

    First of all wrappers, so that the time of waiting does not count as the test's.
    """
    if not any(item.get_closest_marker(kind) for kind in ON_THE_MACHINE):
        return (yield)
    turn = os.open("/run", os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return (yield)
    finally:
        fcntl.flock(turn, fcntl.LOCK_UN)  # a child that was forked shares the descriptor
        os.close(turn)


@pytest.fixture
def name() -> Iterator[str]:
    """A prefix for the names of namespaces and links, six characters of the fifteen."""
    with unique_prefix() as prefix:
        yield prefix
