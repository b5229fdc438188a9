"""The tools that a person has: commands, pings, servers, and the topologies that notes teach.

Everything here is typed as one would type it, and knows nothing of the kit.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
# How many times as long as elsewhere things may take: an emulated machine is slow.
SLOWNESS = float(os.environ.get("EBPFNET_TEST_SLOWNESS", "1"))
JUMBO = 9000  # bytes: the MTU of large frames


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


@contextmanager
def no_ping_lost(netns: str, address: str) -> Iterator[None]:
    """Have `ping` send as fast as it is answered, ten thousands a second: each must be answered.

    Up to the last one that was: what is on its way when ping is told to stop is not lost.
    """
    with tempfile.TemporaryFile("w+") as said:
        pinging = subprocess.Popen(
            ["ip", "netns", "exec", netns, "ping", "-n", "-A", address], stdout=said
        )
        try:
            assert until(lambda: os.fstat(said.fileno()).st_size > 0)
            yield
        finally:
            pinging.send_signal(signal.SIGINT)
            pinging.wait(10)
        said.seek(0)
        numbers = map(int, re.findall(r"icmp_seq=(\d+) ttl=", said.read()))
    position, answered = 0, set()
    for number in numbers:  # of 16 bits, beginning anew every few seconds
        position += (number - position + 0x8000) % 0x10000 - 0x8000
        answered.add(position)
    missing = sorted(set(range(1, max(answered) + 1)) - answered)
    assert missing == [], f"{len(missing)} of {max(answered)} lost, the first {missing[:5]}"


def until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Ask again and again; whether it came true in time."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def addresses(netns: str, ifname: str = "eth0") -> set[str]:
    """Those of an interface, with prefix lengths."""
    (link,) = json.loads(run("ip", "-n", netns, "-j", "addr", "show", ifname).stdout)
    return {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]}


def settle(*namespaces: str, here: Sequence[str] = ()) -> None:
    """Wait until interfaces have link-local addresses that nobody else turned out to have.

    All in the namespaces, and those called `here` in this one.
    """

    def settled() -> bool:
        links = [
            link
            for netns in namespaces
            for link in json.loads(ip("-n", netns, "-j", "addr").stdout)
            if link["ifname"] != "lo"
        ]
        links += [json.loads(ip("-j", "addr", "show", ifname).stdout)[0] for ifname in here]
        return all(
            any(each["scope"] == "link" and "tentative" not in each for each in link["addr_info"])
            for link in links
        )

    assert until(settled)


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


@contextmanager
def resident(netns: str) -> Iterator[int]:
    """A process that is in a namespace and does nothing there; yields its PID."""
    wanted = Path("/run/netns", netns).stat().st_ino
    with background("sleep", "60", netns=netns) as process:
        inside = Path(f"/proc/{process.pid}/ns/net")
        assert until(lambda: inside.stat().st_ino == wanted)
        yield process.pid


@contextmanager
def container() -> Iterator[int]:
    """A process in a network namespace of its own, which has no name; its PID."""
    with background("unshare", "--net", "sleep", "60") as process:
        own = Path(f"/proc/{process.pid}/ns/net")
        host = Path("/proc/self/ns/net").readlink()
        assert until(lambda: own.readlink() != host)
        yield process.pid


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


@contextmanager
def jumbo_by_hand(prefix: str) -> Iterator[ByHand]:
    """Two namespaces with veths for large frames, 10.1.0.1/24 and 10.1.0.2/24, not joined.

    The other addresses are fd00:77::1 and fd00:77::2.
    """
    made = ByHand(
        namespaces=(f"{prefix}ns1", f"{prefix}ns2"),
        ifnames=("eth0", "eth0"),
        addresses=("10.1.0.1", "10.1.0.2"),
        host_ifnames=(f"{prefix}h1", f"{prefix}h2"),
    )
    with ExitStack() as undo:
        for number, (netns, host_ifname) in enumerate(
            zip(made.namespaces, made.host_ifnames, strict=True), 1
        ):
            _create(undo, "netns", netns)
            veth = ("type", "veth", "peer", "name", "eth0", "mtu", str(JUMBO), "netns", netns)
            _create(undo, "link", host_ifname, "mtu", str(JUMBO), *veth)
            # Or the host itself would speak to the namespace, of its IPv6 address.
            ip("link", "set", host_ifname, "addrgenmode", "none", "up")
            for address in (f"10.1.0.{number}/24", f"fd00:77::{number}/64"):
                options = ("nodad",) if ":" in address else ()
                ip("-n", netns, "addr", "add", address, "dev", "eth0", *options)
            ip("-n", netns, "link", "set", "eth0", "up")
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
