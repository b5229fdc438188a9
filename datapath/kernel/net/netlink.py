"""Requests to the kernel by rtnetlink, several in one go, at the price of the system call.

pyroute2 makes the messages and reads the answers. Its sockets start an event loop for each request
(0.2 ms, in a new thread 0.6): a thousand endpoints, ten requests each, spent more time on that than
the kernel on their interfaces.

Functions act in the network namespace of the calling thread.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pyroute2.netlink import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from datapath.errors import AlreadyExists, KernelError

CREATE: Final = NLM_F_CREATE | NLM_F_EXCL
DUMP: Final = NLM_F_DUMP

_SOL_NETLINK = 270
_EXT_ACK, _GET_STRICT_CHK = 11, 12  # socket options: errors in words, dumps filtered by the kernel
_BUFFER = 1 << 16  # bytes; the kernel fills 32 kB at most
_AT_ONCE = 64  # requests sent before answers are read: what the socket's queue holds


def request(
    kind: type[Any],
    command: int,
    nlm_flags: int = 0,
    *,
    attributes: Mapping[str, Any] | None = None,
    **fields: int,
) -> Any:
    """A message of pyroute2's class `kind`: RTM_... command, header fields and attributes."""
    message = kind()
    message["header"]["type"] = command
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | nlm_flags
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list((attributes or {}).items())
    message.encode()
    return message


def nested(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as the value of one."""
    return {"attrs": list(attributes.items())}


def exchange(operation: str, requests: Sequence[Any]) -> list[Any]:
    """Make requests, in order; everything that the kernel answers with.

    Each is judged by itself: those behind a refused one are carried out all the same. Then raises
    KernelError about `operation`, for the first that was refused.
    """
    answers: list[Any] = []
    refused: list[Exception] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        for option in (_EXT_ACK, _GET_STRICT_CHK):
            channel.setsockopt(_SOL_NETLINK, option, 1)
        for start in range(0, len(requests), _AT_ONCE):
            together = requests[start : start + _AT_ONCE]
            channel.send(b"".join(each.data for each in together))
            waiting = len(together)
            while waiting:
                for answer in MarshalRtnl().parse(channel.recv(_BUFFER)):
                    if answer["header"]["type"] not in (NLMSG_ERROR, NLMSG_DONE):
                        answers.append(answer)
                        continue
                    waiting -= 1
                    if error := answer["header"]["error"]:
                        refused.append(error)
    if refused:
        raise KernelError(operation, refused[0].args[0], detail=str(refused[0]))
    return answers


@contextmanager
def new_interface(what: str) -> Iterator[None]:
    """While one is made: a KernelError that a name is taken is an AlreadyExists about `what`."""
    try:
        yield
    except KernelError as error:
        if error.errno == errno.EEXIST:
            raise AlreadyExists(
                f"interface {what} exists already", remedy="see `ip link`"
            ) from error
        raise
