"""The checks: each looks at one direction of the way, and yields what is wrong there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from datapath.diagnose.causes import Cause
from datapath.diagnose.checks import (
    addressing,
    bridging,
    datapaths,
    filtering,
    forwarding,
    interfaces,
    neighbours,
    tunnels,
    vlans,
)
from datapath.diagnose.walk import Walk
from datapath.diagnose.world import World

Check = Callable[[World, Walk], Iterator[Cause]]

ALL: Final[tuple[Check, ...]] = (
    interfaces.check,
    addressing.check,
    neighbours.check,
    bridging.check,
    vlans.check,
    tunnels.check,
    forwarding.check,
    filtering.check,
)
# These compare whole networks with the kernel, and are asked only where something is wrong.
LAST: Final[tuple[Check, ...]] = (datapaths.check,)
