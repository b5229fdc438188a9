"""The changes that the kit makes to a machine: each knows its command line and its undoing.

Steps are written to journals by class name and fields, so both are a format: add, do not rename.
"""

from __future__ import annotations

from typing import Any

from datapath.journal import Step

__all__ = ["Step", "decode"]


def decode(kind: str, fields: dict[str, Any]) -> Step:
    """A step as a journal holds it."""
    from datapath.steps import (
        devices,
        firewall,
        interfaces,
        kinds,
        labs,
        nodes,
        programs,
        queues,
        sockets,
    )

    for module in (programs, interfaces, devices, kinds, firewall, queues, sockets, labs):
        if step := getattr(module, kind, None):
            return step(**fields)  # type: ignore[no-any-return]
    return getattr(nodes, kind)(**fields)  # type: ignore[no-any-return]
