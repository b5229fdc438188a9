"""Every frame there is for tests, of IPv4 and of IPv6."""

import pytest

from tests.packet import frames, frames_ipv6

ROWS = (*frames.ROWS, *frames_ipv6.ROWS)
EVERY_ROW = pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
