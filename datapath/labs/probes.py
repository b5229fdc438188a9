"""Echo requests and TCP connections out of namespaces, many at once, and how long answers take.

Sockets are made inside a namespace by a thread and used from outside: that is what makes hundreds
of sources cheap. An echo request is ICMP type 8 (RFC 792) or ICMPv6 type 128 (RFC 4443), in network
byte order.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datapath.kernel.net import netns
from datapath.labs.model import Address, Target

_ECHO: Final = struct.Struct("!BBHHHI")  # type, code, checksum, identifier, sequence, token
_REQUEST: Final = {4: 8, 6: 128}
_REPLY: Final = {4: 0, 6: 129}
_FAMILY: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOL: Final = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
# Everything but replies is kept from the socket: ICMP_FILTER and ICMPV6_FILTER, bits by type.
_ICMP_FILTER: Final = (255, 1, struct.pack("=I", 0xFFFFFFFE))
_ALL: Final = 0xFFFFFFFF
_ICMPV6_FILTER: Final = (
    socket.IPPROTO_ICMPV6,
    1,
    struct.pack(
        "=8I", *(_ALL - (1 << 129 % 32) if word == 129 // 32 else _ALL for word in range(8))
    ),
)

_AT_ONCE: Final = 64  # echoes in flight from one source: its socket's buffer holds some 200
_REPEAT: Final = 0.2  # seconds until a question without an answer is asked again
_SAMPLES: Final = 3  # of a round trip; the first may wait for a neighbour to be found
_CONNECTIONS: Final = 16  # at once


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a source reaches a target; `patience` is how long a first answer may take, in s."""

    source: str
    target: Target
    patience: float


def ask(sources: Mapping[str, Path], questions: Sequence[Question]) -> list[float | None]:
    """The least round trip for each question in seconds, None where nothing answered.

    `sources` are paths of namespaces. Raises KernelError, OSError.
    """
    echoes = [each for each in questions if each.target.port is None]
    connections = [each for each in questions if each.target.port is not None]
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        connected = pool.map(lambda each: _connect(sources[each.source], each), connections)
        answers: dict[Question, float | None] = dict(
            zip(echoes, _echo(sources, echoes), strict=True)
        )
        answers |= zip(connections, connected, strict=True)
    return [answers[question] for question in questions]


def _connect(path: Path, question: Question) -> float | None:
    def attempt() -> float | None:
        deadline = time.monotonic() + question.patience
        where = str(question.target.address), question.target.port
        while (left := deadline - time.monotonic()) > 0:
            started = time.monotonic()
            with suppress(OSError):
                socket.create_connection(where, timeout=left).close()
                return time.monotonic() - started
            time.sleep(min(_REPEAT, left))  # refused: the server may be starting
        return None

    return netns.run_inside(path, attempt)


@dataclass(frozen=True, slots=True)
class _Sockets:
    """The raw sockets of one source, by IP version."""

    by_version: Mapping[int, socket.socket]

    @classmethod
    def inside(cls, path: Path, undo: ExitStack) -> _Sockets:
        def make() -> dict[int, socket.socket]:
            made = {}
            for version, only_replies in ((4, _ICMP_FILTER), (6, _ICMPV6_FILTER)):
                with suppress(OSError):  # a namespace without IPv6
                    channel = socket.socket(_FAMILY[version], socket.SOCK_RAW, _PROTOCOL[version])
                    made[version] = undo.enter_context(channel)
                    channel.setsockopt(*only_replies)
                    channel.setblocking(False)
            return made

        return cls(netns.run_inside(path, make))

    def send(self, address: Address, token: int) -> None:
        """Ask; an error on the way out is no answer."""
        with suppress(KeyError, OSError):
            channel = self.by_version[address.version]
            channel.sendto(_request(address.version, token), (str(address), 0))


def _request(version: int, token: int) -> bytes:
    """An echo request; the kernel itself fills in the checksum of ICMPv6."""
    fields = (_REQUEST[version], 0, 0, 0, 0, token)
    if version == 6:
        return _ECHO.pack(*fields)
    total = sum(struct.unpack("!6H", _ECHO.pack(*fields)))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return _ECHO.pack(*fields[:2], checksum, *fields[3:])


def _replies(version: int, channel: socket.socket) -> Iterable[tuple[str, int]]:
    """Who has answered since, and with which token."""
    with suppress(BlockingIOError):
        while True:
            packet, sender = channel.recvfrom(256)
            start = (packet[0] & 15) * 4 if version == 4 else 0  # IPv4 comes with its header
            if len(packet) >= start + _ECHO.size:
                kind, _, _, _, _, token = _ECHO.unpack_from(packet, start)
                if kind == _REPLY[version]:
                    yield sender[0].partition("%")[0], token


def _echo(sources: Mapping[str, Path], questions: Sequence[Question]) -> list[float | None]:
    """Find out who answers, all at once; then measure those, one after the other."""
    with ExitStack() as undo:
        sockets = {
            name: _Sockets.inside(sources[name], undo)
            for name in dict.fromkeys(question.source for question in questions)
        }
        answered = _find(sockets, questions)
        return [
            min(_measure(sockets[question.source], question.target.address), default=None)
            if number in answered
            else None
            for number, question in enumerate(questions)
        ]


def _find(sockets: Mapping[str, _Sockets], questions: Sequence[Question]) -> set[int]:
    """The questions, by position, that are answered in time."""
    started = time.monotonic()
    pending = dict(enumerate(questions))
    asked: dict[int, float] = {}
    first_asked: dict[int, float] = {}
    answered: set[int] = set()
    watched = {
        channel.fileno(): (version, channel)
        for each in sockets.values()
        for version, channel in each.by_version.items()
    }
    poll = select.poll()
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    while pending:
        now = time.monotonic() - started
        in_flight: Counter[str] = Counter()
        for token, question in list(pending.items()):
            if now - first_asked.get(token, now) >= question.patience:
                del pending[token]
            elif now - asked.get(token, -_REPEAT) < _REPEAT:
                in_flight[question.source] += 1
            elif in_flight[question.source] < _AT_ONCE:
                in_flight[question.source] += 1
                asked[token] = now
                first_asked.setdefault(token, now)
                sockets[question.source].send(question.target.address, token)
        for descriptor, _ in poll.poll(10):  # ms
            for sender, token in _replies(*watched[descriptor]):
                if token in pending and sender == str(pending[token].target.address):
                    answered.add(token)
                    del pending[token]
    return answered


def _measure(sockets: _Sockets, address: Address) -> Iterable[float]:
    """Round trips in seconds, by one question at a time."""
    channel = sockets.by_version[address.version]
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    for token in range(1 << 31, (1 << 31) + _SAMPLES):  # apart from those that found it
        started = time.perf_counter()
        sockets.send(address, token)
        while poll.poll(1000 * _REPEAT):
            took = time.perf_counter() - started
            if (str(address), token) in _replies(address.version, channel):
                yield took
                break
