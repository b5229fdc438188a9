"""The tunnel in user space: it loses what cannot be passed on, as a wire does, and goes on."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from subprocess import Popen
from typing import NamedTuple

import pytest

from datapath.labs.tunnel import PORT
from tests.support import hosts

FAR = "10.8.8.2"


class Tunnel(NamedTuple):
    """Two namespaces with an interface to each other, and a tunnel's process each."""

    namespaces: tuple[str, str]
    ifname: str
    process: Popen[bytes]
    other: Popen[bytes]


@pytest.fixture
def tunnel(name: str) -> Iterator[Tunnel]:
    """10.8.8.1 and 10.8.8.2 by tun0, over a veth pair."""
    with ExitStack() as stack:
        made = stack.enter_context(hosts.pair_by_hand(name))
        processes = []
        for number, netns in enumerate(made.namespaces, 1):
            hosts.ip("-n", netns, "tuntap", "add", "tun0", "mode", "tun")
            hosts.ip("-n", netns, "addr", "add", f"10.8.8.{number}/24", "dev", "tun0")
            hosts.ip("-n", netns, "link", "set", "tun0", "up")
            words = ("-m", "datapath.labs.tunnel", "tun0", "tun")
            peer = f"10.8.8.0/24={made.addresses[-number]}"
            started = hosts.background(
                *(sys.executable, *words, peer), netns=netns, port=PORT, protocol="udp"
            )
            processes.append(stack.enter_context(started))
        # Of a carrier that has just come, the kernel tells queueing within a second.
        assert hosts.until(lambda: hosts.ping(made.namespaces[0], FAR))
        yield Tunnel(made.namespaces, made.ifnames[0], *processes)


@pytest.mark.parametrize(("at", "ifname"), [(0, ""), (1, "tun0")], ids=["way", "device"])
def test_it_outlives_an_interface_that_is_down(tunnel: Tunnel, at: int, ifname: str) -> None:
    set_link = ("-n", tunnel.namespaces[at], "link", "set", ifname or tunnel.ifname)
    hosts.ip(*set_link, "down")
    assert not hosts.ping(tunnel.namespaces[0], FAR)
    hosts.ip(*set_link, "up")
    assert hosts.until(lambda: hosts.ping(tunnel.namespaces[0], FAR))


def test_it_outlives_an_empty_datagram(tunnel: Tunnel) -> None:
    send = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('10.1.1.3', {PORT}))"
    hosts.run(sys.executable, "-c", send, netns=tunnel.namespaces[0])
    assert hosts.ping(tunnel.namespaces[0], FAR)


def test_it_ends_with_its_device(tunnel: Tunnel) -> None:
    hosts.ip("-n", tunnel.namespaces[0], "link", "del", "tun0")
    assert tunnel.process.wait(5) != 0
    assert tunnel.other.poll() is None
