"""The port: somebody listens on it, at the address that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from datapath.diagnose.causes import Cause, see
from datapath.diagnose.walk import Walk
from datapath.names import inside

# States in /proc/net: TCP_LISTEN, and what an unconnected UDP socket is in (net/tcp_states.h).
_OPEN: Final = {"tcp": "0A", "udp": "07"}


def check(way: Walk, protocol: str, port: int) -> Iterator[Cause]:
    """nobody-listens, listens-elsewhere."""
    bound = way.receiver.run(lambda: list(_bound(protocol, port)))
    where = f"port {port}/{protocol} in {way.receiver.name}"
    shown = inside(way.receiver.netns, "ss", "-lnp", f"--{protocol}", f"sport = :{port}")
    if not bound:
        yield Cause(
            "nobody-listens", where, f"nobody listens on {where}: start the server", see(shown)
        )
    elif not any(address.is_unspecified or address == way.target for address in bound):
        at = ", ".join(map(str, bound))
        yield Cause(
            "listens-elsewhere",
            where,
            f"the server on {where} listens at {at} alone, not at {way.target}",
            f"have it listen at {way.target} or 0.0.0.0; see: {shown}",
        )


def _bound(protocol: str, port: int) -> Iterator[IPv4Address | IPv6Address]:
    """Addresses that sockets of the calling thread's namespace are open at."""
    for suffix in ("", "6"):
        try:
            lines = Path(f"/proc/thread-self/net/{protocol}{suffix}").read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for _, local, _, state, *_ in map(str.split, lines):
            address, number = local.split(":")
            if int(number, 16) == port and state == _OPEN[protocol]:
                yield _decoded(address)


def _decoded(text: str) -> IPv4Address | IPv6Address:
    """/proc prints addresses as 32-bit words of this machine's byte order."""
    words = [int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
