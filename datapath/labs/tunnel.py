"""A tunnel in user space: packets of a tun or tap device go over UDP, and back.

python3 -m datapath.labs.tunnel DEVICE tun|tap PREFIX=PEER...

What leaves by the device is read here, and sent to the peer whose prefix holds its destination (of
a tap's frames, which are not looked into, to every peer). Each packet crosses from the kernel to
this process and back at both ends: what Flannel's UDP backend paid for, and VXLAN was made for.
"""

from __future__ import annotations

import select
import socket
import sys
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from typing import Final, cast

from datapath.kernel.net import tuntap

PORT: Final = 8285  # Flannel's
_MAX_PACKET: Final = 65535


def main(device: str, mode: tuntap.Mode, peers: dict[IPv4Network, str]) -> None:
    """Carry packets until killed. Raises OSError where the device is not there, or goes."""
    with (
        tuntap.other_end(device, mode) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        far.bind(("", PORT))
        poll = select.poll()
        poll.register(near, select.POLLIN)
        poll.register(far, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                # What cannot be passed on is lost, as on a wire: for now an interface may be down.
                if descriptor == far.fileno():
                    packet = far.recv(_MAX_PACKET)
                    with suppress(OSError):
                        near.write(packet)
                    continue
                packet = near.read(_MAX_PACKET)
                for peer in _receivers(packet, mode, peers):
                    with suppress(OSError):
                        far.sendto(packet, (peer, PORT))


def _receivers(packet: bytes, mode: str, peers: dict[IPv4Network, str]) -> list[str]:
    if mode == "tap":
        return list(peers.values())
    if packet[0] >> 4 != 4:
        return []  # IPv6 asks for routers on every interface
    destination = IPv4Address(packet[16:20])
    return [peer for prefix, peer in peers.items() if destination in prefix]


if __name__ == "__main__":
    pairs = (text.partition("=") for text in sys.argv[3:])
    mode = cast(tuntap.Mode, sys.argv[2])
    main(sys.argv[1], mode, {IPv4Network(prefix): peer for prefix, _, peer in pairs})
