"""Frames that nobody thought of: the programs agree with the reference on these too."""

from __future__ import annotations

import os
import struct
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.packet.bench import SHORTEST, Bench
from tests.packet.compare import compare, expected
from tests.packet.reference import (
    ETHERTYPE_IPV6,
    EXTENSIONS,
    FRAGMENT,
    HOSTS,
    ICMPV6,
    NEIGHBOUR_SOLICITATION,
    A,
    Host,
    judge,
)
from tests.packet.rows import ROWS

ADDRESSES = tuple(ip_address(each).packed for host in HOSTS for each in host.ipv6)
VLAN_TAGS = (b"\x81\0\0\7", b"\x88\xa8\0\7\x81\0\0\7", b"\x81\0\0\7" * 3)
# What matters somewhere in a frame; random bytes would hardly ever hit upon it.
VALUES = (
    *(host.raw_mac for host in HOSTS),
    *ADDRESSES,
    *(ip_address(each).packed for host in HOSTS for each in host.ipv4),
    *(struct.pack("!H", each) for each in (0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8)),
    *(bytes((each,)) for each in (*EXTENSIONS, ICMPV6, 133, 134, 135, 136, 137, 255)),
    *(bytes(count) for count in (1, 4, 6, 16)),
    b"\xff" * 6,
    *VLAN_TAGS,
)
values = st.sampled_from(VALUES) | st.binary(min_size=1, max_size=8)
places = st.integers(0, 120)


def flip(frame: bytes, bit: int) -> bytes:
    position, shift = divmod(bit % (8 * len(frame)), 8)
    return frame[:position] + bytes((frame[position] ^ 1 << shift,)) + frame[position + 1 :]


def overwrite(frame: bytes, place: int, value: bytes) -> bytes:
    return frame[:place] + value + frame[place + len(value) :]


def insert(frame: bytes, place: int, value: bytes) -> bytes:
    return frame[:place] + value + frame[place:]


def remove(frame: bytes, place: int, count: int) -> bytes:
    return frame[:place] + frame[place + count :]


def often(*choices: bytes | int, rarely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of the choices three times out of four, else something else."""
    usual = st.sampled_from(choices)
    return st.one_of(usual, usual, usual, rarely)


mutations = st.one_of(
    st.tuples(st.just(flip), st.integers(0, 8 * 120)),
    st.tuples(st.just(overwrite), places, values),
    st.tuples(st.just(insert), places, values),
    st.tuples(st.just(remove), places, often(4, 8, 400, rarely=st.integers(1, 40))),
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, Host]:
    """A row's frame after a few changes, and its sender."""
    row = draw(st.sampled_from(ROWS))
    frame = row.frame
    for change, *arguments in draw(st.lists(mutations, min_size=1, max_size=3)):
        frame = change(frame, *arguments).ljust(SHORTEST, b"\0")
    return frame, row.sender


@st.composite
def chained(draw: st.DrawFn) -> tuple[bytes, Host]:
    """A's IPv6 with extension headers, true to their lengths, that often end in ICMPv6."""
    chain = draw(
        st.lists(
            st.tuples(
                st.sampled_from(EXTENSIONS),
                often(0, rarely=st.integers(1, 31)),  # units after the first
                often(0, 1, rarely=st.integers(2, 0xFFFF)),  # fragments: offset and flags
            ),
            max_size=5,
        )
    )
    upper = draw(often(ICMPV6, rarely=st.integers(0, 255)))
    following = [*(kind for kind, _, _ in chain), upper]
    headers = b"".join(
        struct.pack("!BBH4x", after, units, fragment) + bytes(8 * units * (kind != FRAGMENT))
        for (kind, units, fragment), after in zip(chain, following[1:], strict=True)
    )
    message = (
        bytes((draw(often(NEIGHBOUR_SOLICITATION, rarely=st.integers(132, 138))),))
        + bytes((draw(often(0, rarely=st.integers(1, 255))),))
        + bytes(6)
        + draw(often(*ADDRESSES, rarely=st.binary(min_size=16, max_size=16)))
        + draw(often(b"\1\1" + A.raw_mac, b"", rarely=st.binary(max_size=16)))
    )
    frame = (
        draw(often(*(host.raw_mac for host in HOSTS), rarely=st.just(b"\x33\x33\0\0\0\1")))
        + A.raw_mac
        + draw(st.sampled_from((b"", b"", *VLAN_TAGS[:2])))
        + struct.pack("!HIHB", ETHERTYPE_IPV6, 6 << 28, len(headers + message), following[0])
        + bytes((draw(often(255, rarely=st.integers(0, 254))),))
        + draw(often(*(ip_address(each).packed for each in A.ipv6), rarely=st.just(bytes(16))))
        + draw(often(*ADDRESSES, rarely=st.just(bytes(16))))
        + headers
        + message
    )
    return frame[: draw(often(len(frame), rarely=st.integers(SHORTEST, len(frame))))], A


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations")


@settings(max_examples=400, deadline=None, derandomize="CI" in os.environ)
@given(sent=mutated() | chained(), behind=st.binary(min_size=64, max_size=64))
def test_program_agrees_with_the_reference(
    bench: Bench, folder: Path, sent: tuple[bytes, Host], behind: bytes
) -> None:
    frame, sender = sent
    wanted = expected(bench.program.spec.type, frame, sender, judge(frame, sender))
    compare(frame, wanted, bench.run_before(behind, frame, sender), folder)
