import os
import shutil
from pathlib import Path

import pytest

from tests.support import hosts, lane
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
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    return f"needs {', '.join(absent)}" if absent else ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`: two more than there are CPUs, for tests wait a third of their time."""
    return len(os.sched_getaffinity(0)) + 2


def pytest_configure(config: pytest.Config) -> None:
    """Each process that runs tests has a lane: pytest itself, or its workers (pytest -n)."""
    os.environ[SESSION_VARIABLE] = str(os.getpid())
    spreads = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not spreads and not missing():
        lane.enter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if item.path.is_relative_to(HERE):
            kind = item.path.relative_to(HERE).parts[0]
            if kind in KINDS:
                item.add_marker(kind)
            if kind in ON_THE_MACHINE and reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def name() -> str:
    """A prefix for the names of namespaces and links."""
    return hosts.unique_prefix()
