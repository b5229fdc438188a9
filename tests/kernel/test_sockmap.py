"""Mode sockmap: TCP sockets of a network are joined, and their owners notice nothing but speed."""

import ctypes
import hashlib
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import hosts
from tests.support.kit import PINS, made_network, read_map

CLONE_NEWNET = 0x40000000  # linux/sched.h
PORT = 5201
PATIENCE = 20.0  # seconds
MIB = 1 << 20
WINDOW = MIB  # bpf/socket.c
BPFTOOL_DUMP = ("bpftool", "-j", "map", "dump", "pinned")
PACKETS = 2  # flow.state
TCP_CLOSE = 7  # net/tcp_states.h
LARGEST_LAG = 64 * MIB  # of a reader, by a wide margin; TCP alone lets it lag by less
Pair = tuple[socket.socket, socket.socket]

ADDRESSES = pytest.mark.parametrize(
    ("listen", "connect"),
    [("10.1.1.3", "10.1.1.3"), ("::", "10.1.1.3"), ("::", "fd00::a01:103")],
    ids=["ipv4", "ipv4-to-ipv6-socket", "ipv6"],
)


@dataclass(frozen=True, slots=True)
class Joined:
    """A network in this mode; its namespaces have 10.1.1.2 and on."""

    name: str
    namespaces: Sequence[str]


def is_up(netns: str) -> bool:
    """Whether the kernel says so of both ends of an endpoint's veth."""
    ends = (("link", "show", f"h-{netns}"), ("-n", netns, "link", "show", "eth0"))
    return all(" state UP " in hosts.ip(*end).stdout for end in ends)


@pytest.fixture(scope="module")
def joined() -> Iterator[Joined]:
    """One for all tests that leave it as it is."""
    name = hosts.unique_prefix()
    with made_network(name, "--mode", "sockmap") as namespaces:
        # The kernel takes up to a second to say so, and each test compares before and after.
        assert hosts.until(lambda: all(map(is_up, namespaces)))
        yield Joined(name, namespaces)


def inside(netns: str, work: Callable[[], Any]) -> Any:
    """What `work` returns, run in a namespace: sockets stay in the one that they are made in."""

    def enter() -> Any:
        with Path("/run/netns", netns).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result()


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextmanager
def listener(netns: str, address: str = "10.1.1.3", port: int = PORT) -> Iterator[socket.socket]:
    ipv6 = ":" in address
    family = socket.AF_INET6 if ipv6 else socket.AF_INET

    def listen() -> socket.socket:
        return socket.create_server((address, port), family=family, dualstack_ipv6=ipv6)

    with inside(netns, listen) as made:
        made.settimeout(PATIENCE)
        yield made


@contextmanager
def connected(
    one: str,
    other: str,
    *,
    listen: str = "10.1.1.3",
    connect: str = "10.1.1.3",
    port: int = PORT,
    source_port: int = 0,
) -> Iterator[Pair]:
    """A connection from a namespace to another: the client's end and the server's."""

    def dial() -> socket.socket:
        return socket.create_connection((connect, port), PATIENCE, ("", source_port))

    with (
        listener(other, listen, port) as server,
        inside(one, dial) as near,
        server.accept()[0] as far,
    ):
        far.settimeout(PATIENCE)
        yield near, far


def let_block(end: socket.socket) -> None:
    """Wait in send() and recv() themselves; Python's own timeouts poll."""
    end.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(PATIENCE), 0))


def whole(end: socket.socket) -> bytes:
    """All that is still to come, to the end of the stream."""
    return b"".join(iter(lambda: end.recv(65536), b""))


def dump(network: str, name: str) -> list[dict[str, Any]]:
    """Entries of a map by bpftool: {"key": ..., "value": ...}, fields by name."""
    pin = str(PINS / network / "maps" / name)
    return [row["formatted"] for row in json.loads(hosts.run(*BPFTOOL_DUMP, pin).stdout)]


def flow_of(network: str, sender: socket.socket) -> dict[str, Any]:
    """The flow of what a socket sends, and with it how much it has sent."""
    local, remote = sender.getsockname()[1], sender.getpeername()[1]
    (found,) = (
        row["value"]
        for row in dump(network, "flows")
        if (row["key"]["local_port"], row["key"]["remote_port"]) == (local, remote)
    )
    sent = {row["key"]: row["value"]["sent"] for row in dump(network, "progress")}
    return found | {"sent": sent[found["sender"]]}


def nothing_is_open(network: str) -> bool:
    """Whether no entry is left of any connection."""
    return not dump(network, "flows") and not dump(network, "progress")


def is_joined(network: str, pair: Pair) -> bool:
    """Whether one byte each way goes past the packets."""
    for sender, reader in (pair, pair[::-1]):
        sender.sendall(b"x")
        assert reader.recv(1) == b"x"
    return all(flow_of(network, end)["redirected"] > 0 for end in pair)


def pieces(seed: int, total: int) -> Iterator[bytes]:
    """The same bytes for the same seed, in pieces of all sizes."""
    chance = random.Random(seed)
    block = chance.randbytes(MIB)
    while total > 0:
        size = min(total, chance.choice([1, 14, 100, 1448, 4096, 65536, 300_000, MIB]))
        start = chance.randrange(MIB - size + 1)
        yield block[start : start + size]
        total -= size


def send(end: socket.socket, seed: int, total: int) -> str:
    """Digest of what was sent."""
    digest = hashlib.sha256()
    for piece in pieces(seed, total):
        digest.update(piece)
        end.sendall(piece)
    return digest.hexdigest()


def receive(
    end: socket.socket, seed: int, total: int, resume: threading.Event | None = None
) -> str:
    """Digest of as many bytes; with `resume`, nothing is read until that is set."""
    chance = random.Random(seed)
    digest = hashlib.sha256()
    if resume:
        assert resume.wait(PATIENCE)
    while total > 0:
        data = end.recv(min(total, chance.choice([1, 1000, 65536, 4 * MIB])))
        assert data, f"{total} bytes are missing"
        digest.update(data)
        total -= len(data)
    return digest.hexdigest()


@contextmanager
def in_threads() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor() as pool:
        yield pool.submit


@ADDRESSES
def test_streams_in_both_directions_arrive_exact(joined: Joined, listen: str, connect: str) -> None:
    """Of senders and readers that poll, as Python's do with a timeout."""
    amount = 32 * MIB
    one, other = joined.namespaces
    with connected(one, other, listen=listen, connect=connect) as ends, in_threads() as run:
        assert is_joined(joined.name, ends)
        sent = [run(send, end, seed, amount) for seed, end in enumerate(ends)]
        read = [run(receive, end, seed, amount) for seed, end in enumerate(ends[::-1])]
        assert [each.result() for each in sent] == [each.result() for each in read]
        for end in ends:
            flow = flow_of(joined.name, end)
            assert MIB < flow["redirected"] <= flow["sent"]
            assert flow["sent"] == amount + 1
    assert hosts.until(lambda: nothing_is_open(joined.name))


def test_a_reader_that_waits_holds_up_its_sender_and_loses_nothing(joined: Joined) -> None:
    amount = 2 * LARGEST_LAG
    with connected(*joined.namespaces) as (near, far), in_threads() as run:
        let_block(near)
        let_block(far)
        assert is_joined(joined.name, (near, far))
        resume = threading.Event()
        sent = run(send, near, 1, amount)
        read = run(receive, far, 1, amount, resume)
        try:
            # It has filled the window, gone over to packets, and waits for these to be read.
            def stands_still() -> bool:
                before = flow_of(joined.name, near)
                time.sleep(0.2)
                return WINDOW < before["sent"] == flow_of(joined.name, near)["sent"]

            assert hosts.until(stands_still)
            held = flow_of(joined.name, near)
            assert WINDOW < held["redirected"] < held["sent"] < LARGEST_LAG
            assert held["state"] == PACKETS
        finally:
            resume.set()
        assert sent.result() == read.result()
        assert flow_of(joined.name, near)["sent"] == amount + 1
        # Now that all has been read, the rest goes straight again.
        assert is_joined(joined.name, (near, far))
        assert flow_of(joined.name, near)["redirected"] > held["redirected"]


def test_short_connections_lose_no_last_byte(joined: Joined) -> None:
    one, other = joined.namespaces
    sizes = range(1, 20_001, 100)

    def answer(server: socket.socket) -> None:
        for _ in sizes:
            with server.accept()[0] as far:
                far.sendall(whole(far) * 3)

    def ask() -> None:
        for size in sizes:
            question = random.Random(size).randbytes(size)
            with socket.create_connection(("10.1.1.3", PORT), PATIENCE) as near:
                near.sendall(question)
                near.shutdown(socket.SHUT_WR)
                assert whole(near) == question * 3

    with listener(other) as server, in_threads() as run:
        answered = run(answer, server)
        inside(one, ask)
        answered.result()
    assert hosts.until(lambda: nothing_is_open(joined.name))


def test_what_is_unread_when_tcp_has_closed_is_still_read(joined: Joined) -> None:
    with connected(*joined.namespaces) as (near, far):
        assert is_joined(joined.name, (near, far))
        near.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""
        far.sendall(b"last" * 10_000)
        far.close()
        state = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        assert state == TCP_CLOSE
        assert near.recv(10, socket.MSG_PEEK) == b"lastlastla"
        assert whole(near) == b"last" * 10_000


def test_a_client_that_sends_early_goes_by_packets(joined: Joined) -> None:
    """Its first bytes come with the handshake (TCP fast open): the rest must not overtake them."""
    one, other = joined.namespaces
    for netns in (one, other):
        hosts.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=3", netns=netns)
    with listener(other) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        redirected = []
        for _ in range(2):  # the first gets the cookie that the second needs
            with inside(one, socket.socket) as near:
                let_block(near)
                near.sendto(b"early", socket.MSG_FASTOPEN, ("10.1.1.3", PORT))
                near.sendall(b"later")
                near.shutdown(socket.SHUT_WR)
                with server.accept()[0] as far:
                    assert whole(far) == b"earlylater"
                    far.sendall(b"x")
                    assert near.recv(1) == b"x"
                    redirected.append(
                        sum(r["value"]["redirected"] for r in dump(joined.name, "flows"))
                    )
        assert redirected == [0, 0]


def test_sockets_of_others_are_left_alone(joined: Joined) -> None:
    one, other = joined.namespaces
    # Not endpoints of one another: the host with itself by an endpoint's address, an endpoint with
    # itself, and by an address that the network does not know of.
    with (
        with_address("10.1.1.2"),
        socket.create_server(("10.1.1.2", PORT)) as server,
        socket.create_connection(("10.1.1.2", PORT)),
        server.accept()[0],
        connected(one, one, listen="10.1.1.2", connect="10.1.1.2"),
        with_address("10.1.1.77", "-n", other),
        connected(other, other, listen="10.1.1.77", connect="10.1.1.77"),
    ):
        assert dump(joined.name, "sockets") == []


@contextmanager
def with_address(address: str, *where: str) -> Iterator[None]:
    """One more on lo, of the host or of another namespace."""
    hosts.ip(*where, "addr", "add", f"{address}/32", "dev", "lo")
    try:
        yield
    finally:
        hosts.ip(*where, "addr", "del", f"{address}/32", "dev", "lo")


def check(network: str) -> list[tuple[str, str]]:
    """Map and key of what `map check` finds wrong."""
    done = hosts.ebpfnet("map", "check", "--network", network, "-o", "json", check=False)
    return [(row["map"], row["key"]) for row in json.loads(done.stdout)]


def test_reload_keeps_streams_exact_and_puts_back_what_check_misses(name: str) -> None:
    amount = 100 * MIB
    pins = PINS / name
    with made_network(name, "--mode", "sockmap") as namespaces:
        with connected(*namespaces) as (near, far), in_threads() as run:
            sent, read = run(send, near, 2, amount), run(receive, far, 2, amount)
            hosts.ebpfnet("reload", "--network", name)
            assert sent.result() == read.result()
        message, sockets = f"{pins}/progs/socket_message", f"{pins}/maps/sockets"
        hosts.run("bpftool", "prog", "detach", "pinned", message, "msg_verdict", "pinned", sockets)
        (pins / "sockets/socket_read").unlink()
        assert check(name) == [("sockets", "socket_read"), ("sockets", "socket_message")]
        hosts.ebpfnet("reload", "--network", name)
        assert check(name) == []
        with connected(*namespaces) as ends:
            assert is_joined(name, ends)


def test_networks_with_the_same_addresses_do_not_mix(name: str, joined: Joined) -> None:
    with made_network(name, "--mode", "sockmap") as namespaces, ExitStack() as stack:
        ends = {}
        for network in (joined, Joined(name, namespaces)):
            # From the same port too: addresses and ports alone do not tell them apart.
            pair = connected(*network.namespaces, source_port=40_000)
            ends[network.name] = stack.enter_context(pair)
        for network, (near, far) in ends.items():
            assert is_joined(network, (near, far))
            near.sendall(network.encode())
        for network, (_, far) in ends.items():
            assert far.recv(100) == network.encode()
            assert len(dump(network, "flows")) == 2
        # One of them ends; the other one's entries for the same connection stay.
        for end in ends[joined.name]:
            end.close()
        assert hosts.until(lambda: nothing_is_open(joined.name))
        assert is_joined(name, ends[name])


def test_an_endpoint_that_leaves_takes_its_flows_along(name: str) -> None:
    with (
        made_network(name, "--mode", "sockmap", endpoints=3) as (one, other, third),
        connected(one, other),
        connected(third, other, port=PORT + 1) as staying,
    ):
        assert len(dump(name, "flows")) == 4
        hosts.ebpfnet("detach", one, "--network", name)
        left = {(row["value"]["from"], row["value"]["to"]) for row in dump(name, "flows")}
        assert left == {(2, 3), (3, 2)}
        assert is_joined(name, staying)
        # People read the same.
        port = staying[0].getsockname()[1]
        key = f"10.1.1.4:{port}>10.1.1.3:{PORT + 1}"
        row = read_map(name, "lookup", "flows", key)
        assert (row["key"], row["value"]["state"]) == (key, "joined")


def test_detach_leaves_connections_to_packets_and_loses_nothing(name: str) -> None:
    with hosts.bridge_by_hand(name) as made:
        hosts.ebpfnet("attach", *made.namespaces, "--network", name, "--mode", "sockmap")
        address = made.addresses[1]
        with connected(*made.namespaces, listen=address, connect=address) as (near, far):
            assert is_joined(name, (near, far))
            near.sendall(b"before ")
            hosts.ebpfnet("detach", "--network", name)
            near.sendall(b"after")
            near.shutdown(socket.SHUT_WR)
            assert whole(far) == b"before after"
            with in_threads() as run:
                sent, read = run(send, far, 3, 8 * MIB), run(receive, near, 3, 8 * MIB)
                assert sent.result() == read.result()
