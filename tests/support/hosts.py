"""The tools that a person has: commands, pings, servers, and the topologies that notes teach.

Everything here is typed as one would type it, and knows nothing of the kit.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
# How many times as long as elsewhere things may take: an emulated machine is slow.
SLOWNESS = float(os.environ.get("EBPFNET_TEST_SLOWNESS", "1"))


def run(
    *argv: str,
    netns: str | None = None,
    check: bool = True,
    input: str | None = None,
    timeout: float = 30,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, in a named network namespace if one is given, and return what it printed.

    Raises CalledProcessError, with the command's own words attached, if `check` and it fails;
    TimeoutExpired after `timeout` seconds.
    """
    done = subprocess.run(
        _inside(netns, argv),
        capture_output=True,
        text=True,
        input=input,
        timeout=timeout * SLOWNESS,
        cwd=cwd,
    )
    if check:
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stdout + done.stderr)
            raise
    return done


def ip(*args: str) -> subprocess.CompletedProcess[str]:
    """Run `ip` with these arguments; as `run`, it raises CalledProcessError."""
    return run("ip", *args)


def ebpfnet(
    *args: str, check: bool = True, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the kit's command line from the checkout; as `run`, it raises CalledProcessError."""
    return run(sys.executable, "-m", "cli", *args, check=check, timeout=timeout, cwd=CHECKOUT)


def ping(netns: str, address: str, count: int = 1) -> bool:
    """Whether `address`, IPv4 or IPv6, answers every one of `count` echo requests within 1 s."""
    done = run(
        *("ping", "-n", "-c", str(count), "-i", "0.05", "-W", "1", address),
        netns=netns,
        check=False,
    )
    return f" {count} received" in done.stdout


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Ask again and again; whether it came true in time."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def listening(port: int, netns: str | None = None, protocol: str = "tcp") -> bool:
    """Whether somebody waits for "tcp" connections to or "udp" datagrams on a port."""
    return bool(run("ss", "-Hln", f"--{protocol}", f"sport = :{port}", netns=netns).stdout)


@contextmanager
def background(
    *argv: str, netns: str | None = None, port: int | None = None, protocol: str = "tcp"
) -> Iterator[subprocess.Popen[bytes]]:
    """Have a server run; with a port, the body starts once it listens there.

    Raises RuntimeError with what it printed if it ends, or does not listen, before that.
    """
    with tempfile.TemporaryFile() as output:
        # `ip netns exec` becomes the server: the process is the server itself.
        server = subprocess.Popen(
            _inside(netns, argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            ready = port is None or until(
                lambda: server.poll() is not None or listening(port, netns, protocol)
            )
            if not ready or server.poll() is not None:
                output.seek(0)
                printed = output.read().decode(errors="replace")
                raise RuntimeError(f"{' '.join(argv)} did not start: {printed}")
            yield server
        finally:
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def unique_prefix() -> str:
    """Six characters, as "ebt3f2", that a test puts before its names; they may have fifteen."""
    return f"ebt{secrets.randbelow(1 << 12):03x}"


@dataclass(frozen=True, slots=True)
class ByHand:
    """Two namespaces that were joined by hand; the tuples go by namespace, in the same order."""

    namespaces: tuple[str, str]
    ifnames: tuple[str, str]
    addresses: tuple[str, str]
    host_ifnames: tuple[str, ...] = ()
    bridge: str = ""


@contextmanager
def bridge_by_hand(prefix: str) -> Iterator[ByHand]:
    """Two namespaces on a bridge, 10.1.0.1/24 and 10.1.0.2/24."""
    made = ByHand(
        namespaces=(f"{prefix}ns1", f"{prefix}ns2"),
        ifnames=(f"{prefix}veth1", f"{prefix}veth2"),
        addresses=("10.1.0.1", "10.1.0.2"),
        host_ifnames=(f"{prefix}brveth1", f"{prefix}brveth2"),
        bridge=f"{prefix}br0",
    )
    with ExitStack() as undo:
        for netns in made.namespaces:
            _create(undo, "netns", netns)
        _create(undo, "link", made.bridge, "type", "bridge")
        _without_dad(made.bridge)
        ip("link", "set", made.bridge, "up")
        for netns, ifname, host_ifname, address in zip(
            made.namespaces, made.ifnames, made.host_ifnames, made.addresses, strict=True
        ):
            _create(undo, "link", host_ifname, "type", "veth", "peer", "name", ifname)
            ip("link", "set", ifname, "netns", netns)
            ip("link", "set", host_ifname, "master", made.bridge)
            _without_dad(host_ifname)
            ip("link", "set", host_ifname, "up")
            _configure(netns, ifname, address)
        yield made


@contextmanager
def pair_by_hand(prefix: str) -> Iterator[ByHand]:
    """Two namespaces with an end each of a veth pair, 10.1.1.2/24 and 10.1.1.3/24."""
    made = ByHand(
        namespaces=(f"{prefix}ns0", f"{prefix}ns1"),
        ifnames=(f"{prefix}veth0", f"{prefix}veth1"),
        addresses=("10.1.1.2", "10.1.1.3"),
    )
    with ExitStack() as undo:
        for netns in made.namespaces:
            _create(undo, "netns", netns)
        _create(undo, "link", made.ifnames[0], "type", "veth", "peer", "name", made.ifnames[1])
        for netns, ifname, address in zip(
            made.namespaces, made.ifnames, made.addresses, strict=True
        ):
            ip("link", "set", ifname, "netns", netns)
            _configure(netns, ifname, address)
        yield made


def _inside(netns: str | None, argv: tuple[str, ...]) -> list[str]:
    return [*(("ip", "netns", "exec", netns) if netns else ()), *argv]


def _create(undo: ExitStack, noun: str, name: str, *details: str) -> None:
    """`ip NOUN add NAME ...`, undone in the end unless the test has done so itself."""
    ip(noun, "add", name, *details)
    undo.callback(run, "ip", noun, "del", name, check=False)


def _without_dad(ifname: str, netns: str | None = None) -> None:
    """IPv6 addresses that are not tentative for a second or two: tests make many."""
    run("sysctl", "-qw", f"net.ipv6.conf.{ifname}.accept_dad=0", netns=netns)


def _configure(netns: str, ifname: str, address: str) -> None:
    _without_dad(ifname, netns)
    run("ip", "addr", "add", f"{address}/24", "dev", ifname, netns=netns)
    run("ip", "link", "set", ifname, "up", netns=netns)
