"""Offload features of interfaces, by the kernel's names ("rx-gro", "tx-checksum-ip-generic").

A feature is requested (what a person asked for) and active (what the kernel makes of it): an XDP
program at a veth's peer, for one, turns segmentation off until it leaves, whatever was requested. So
what is to be put back later is what was requested. Functions act in the network namespace of the
calling thread.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from pyroute2.ethtool.ioctl import IoctlEthtool, NoSuchDevice, NotSupportedError
