from collections.abc import Iterator

import pytest

from tests.support import inventory

MOST_LINES = 60  # of a difference; a thousand namespaces make tens of thousands


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[inventory.Inventory]:
    """Fails a test after which the machine is not what it was; yields what it was."""
    before = inventory.take()
    yield before
    if lines := inventory.left_behind(before):
        more = [f"... and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
        pytest.fail("\n".join(["left behind:", *lines[:MOST_LINES], *more]), pytrace=False)
