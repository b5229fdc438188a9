from collections.abc import Iterator

import pytest

from tests.support import inventory
from tests.support.crash import Launcher

MOST_LINES = 60  # of a difference; a thousand namespaces make tens of thousands


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[inventory.Inventory]:
    """Fails a test after which the machine is not what it was; yields what it was."""
    before = inventory.take()
    yield before
    if lines := inventory.left_behind(before):
        more = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
        pytest.fail("\n".join(["left behind:", *lines[:MOST_LINES], *more]), pytrace=False)


@pytest.fixture(scope="module")
def kit() -> Iterator[Launcher]:
    """Runs the kit's command lines, which start quickly there and can be hit at any moment."""
    with Launcher() as launcher:
        yield launcher
