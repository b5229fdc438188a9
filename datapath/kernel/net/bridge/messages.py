"""Netlink messages about bridges for which pyroute2 has no call."""

from __future__ import annotations

from typing import Any, Final

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST

AF_BRIDGE: Final = 7
DUMP: Final = NLM_F_REQUEST | NLM_F_DUMP
SET: Final = NLM_F_REQUEST | NLM_F_ACK


def request(netlink: Any, message: Any, kind: int, flags: int) -> list[Any]:
    """Send a message, and return the answers."""
    message["family"] = AF_BRIDGE
    message["header"]["type"], message["header"]["flags"] = kind, flags
    answers: list[Any] = netlink.nlm_request_batch([message])
    return answers
