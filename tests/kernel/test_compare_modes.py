"""Each way of joining a lab carries traffic, is what it says, and goes without a trace.

That nothing is left is for the fixture `leaves_nothing_behind` to judge, after every test here.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datapath import modes
from datapath.compare import lab, processes
from datapath.compare.lab import Lab
from datapath.errors import CompileError, EbpfnetError, InvalidInput, VerifierError
from datapath.kernel.net import firewall
from tests.support import hosts
from tests.support.crash import Launcher
from tests.support.kit import PINS, made_network, status

EXAMPLE = f"mine={hosts.CHECKOUT / 'bpf/example.c'}:forward"
BRIDGE_NF = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
PORT = 5201

# Those that no network of `ebpfnet attach` proves elsewhere.
HERE = (
    *("bridge-nf", "bridge-nf:rules=100,conntrack", "bridge-nf:rules=100,conntrack,legacy"),
    *("routed:rules=100", "macvlan", "ipvlan:l2", "ipvlan:l3", "xdp:generic", "netkit", EXAMPLE),
)


@contextmanager
def joined(name: str) -> Iterator[Lab]:
    """A lab of a mode, which answers a ping. Skips what this kernel has not."""
    mode = modes.get(name)
    if missing := mode.missing():
        pytest.skip(f"this kernel lacks {missing}")
    with lab.open_journal() as journal, lab.built(journal, mode) as built:
        yield built


@pytest.fixture(scope="module", autouse=True)
def what_the_kernel_keeps() -> None:
    """Sysctls of connection tracking, a module; table filter of iptables-legacy: from first use."""
    hosts.run("modprobe", "nf_conntrack", check=False)
    hosts.run("iptables-legacy", "-t", "filter", "-S")


@pytest.mark.parametrize("name", HERE, ids=lambda name: name.partition("=/")[0])
def test_a_lab_of_it_moves_data_both_ways(name: str) -> None:
    if not shutil.which("iperf3"):
        pytest.skip("needs iperf3")
    with joined(name) as built:
        receiver, amount = str(built.receiver.ipv4), 4 << 20
        listen = ["iperf3", "--server", "--bind", receiver, "--port", str(PORT)]
        with processes.server(built.receiver.path, listen, PORT):
            client = ["iperf3", "--client", receiver, "--port", str(PORT), "--json"]
            said = built.run(built.sender, *client, "--bytes", str(amount), "--bidir", timeout=20)
        moved = json.loads(said)["end"]
        assert moved["sum_received"]["bytes"] > 0
        assert moved["sum_received_bidir_reverse"]["bytes"] > 0


def test_what_is_listed_is_there_or_said_why_not() -> None:
    known = {each.name: each for each in modes.available()}
    assert tuple(known) == modes.LISTED
    assert all(each.summary and each.available == (not each.reason) for each in known.values())
    assert known["veth"].available
    for kind in ("macvlan", "ipvlan"):
        made = hosts.run("ip", "link", "add", "link", "lo", "type", kind, check=False)
        # lo can carry neither: what is not in the kernel is refused in other words.
        unknown = "Unknown device type" in made.stderr or "not supported" in made.stderr
        assert known.get(kind, known.get(f"{kind}:l2")).available != unknown  # type: ignore[union-attr]


def legacy_counters(chain: str) -> dict[str, int]:
    """Packets by target, as iptables-legacy counts them."""
    said = hosts.run("iptables-legacy", "-nvxL", chain).stdout
    return {target: int(count) for count, target in re.findall(r"^ +(\d+) +\d+ +(\S+)", said, re.M)}


@pytest.mark.parametrize("mode", ["bridge-nf", "routed"])
def test_every_packet_walks_the_legacy_rules_and_matches_none(mode: str) -> None:
    with joined(f"{mode}:rules=9,conntrack,legacy"):
        assert "filter" in firewall.legacy_tables()
        (jump,) = (name for name in legacy_counters("FORWARD") if name.startswith("ebpfnet-"))
        assert legacy_counters("FORWARD")[jump] >= 2  # the echo request and its reply
        counted = legacy_counters(jump)
        assert counted["CONNMARK"] >= 1
        assert counted["DROP"] == 0
        assert hosts.run("iptables-legacy", "-S", jump).stdout.count("-j DROP") == 9


@pytest.mark.parametrize("mode", ["bridge-nf", "routed"])
def test_every_packet_walks_the_nft_rules_to_their_end(mode: str) -> None:
    with joined(f"{mode}:rules=9") as built:
        assert mode == "routed" or BRIDGE_NF.read_text().strip() == "1"
        tables = json.loads(hosts.run("nft", "-j", "list", "tables").stdout)["nftables"]
        (table,) = (each["table"]["name"] for each in tables if "table" in each)
        listed = hosts.run("nft", "list", "chain", "ip", table, "walked").stdout
        assert listed.count("drop") == 9
        # Whatever comes to the last rule comes to one behind it.
        hosts.run("nft", "add", "rule", "ip", table, "walked", "ip", "protocol", "icmp", "drop")
        with pytest.raises(EbpfnetError, match="ping failed"):
            built.run(
                *(built.sender, "ping", "-c", "1", "-W", "0.2", str(built.receiver.ipv4)), timeout=5
            )


def tracked() -> int:
    """Connections of the lab's addresses that the host keeps track of."""
    return Path("/proc/net/nf_conntrack").read_text().count(f"src={lab.SUBNET[2]} ")


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_tracked_connections_are_forgotten(backend: str) -> None:
    with joined(f"routed:conntrack,{backend}"):
        if not Path("/proc/net/nf_conntrack").exists():
            pytest.skip("this kernel does not list tracked connections in /proc")
        assert tracked() > 0
    assert tracked() == 0


USERS_TABLE = """table ip {name} {{
  chain forward {{
    type filter hook forward priority 5; policy accept;
    ip daddr 203.0.113.7 accept
  }}
}}
"""


@contextmanager
def rules_of_the_user(name: str) -> Iterator[None]:
    """A table and a chain such as people have, with one rule each."""
    chain = f"{name}-chain"
    hosts.run("nft", "-f", "-", input=USERS_TABLE.format(name=name))
    hosts.run("iptables-legacy", "-N", chain)
    hosts.run("iptables-legacy", "-A", "FORWARD", "-j", chain)
    before = hosts.run("nft", "list", "table", "ip", name).stdout
    saved = ruleset_of_legacy()
    try:
        yield
        assert hosts.run("nft", "list", "table", "ip", name).stdout == before
        assert ruleset_of_legacy() == saved
    finally:
        hosts.run("nft", "delete", "table", "ip", name)
        hosts.run("iptables-legacy", "-D", "FORWARD", "-j", chain)
        hosts.run("iptables-legacy", "-X", chain)


def ruleset_of_legacy() -> list[str]:
    return hosts.run("iptables-legacy", "-S").stdout.splitlines()


@pytest.mark.parametrize(
    ("mode", "moment"),
    [
        ("bridge-nf:rules=9", "apply AddRules"),
        ("bridge-nf:rules=9,conntrack", "apply MakeBridge"),
        ("routed:rules=9,legacy,conntrack", "apply AddRoutes"),
        ("bridge-nf:rules=9,legacy", "revert AddRules"),
        ("macvlan", "apply StackInterface"),
        (EXAMPLE, "apply AttachProgram"),
    ],
    ids=lambda text: text.partition("=/")[0],
)
def test_what_a_killed_run_leaves_is_undone_by_gc(
    mode: str, moment: str, name: str, kit: Launcher
) -> None:
    if missing := modes.get(mode).missing():
        pytest.skip(f"this kernel lacks {missing}")
    argv = ("compare", mode, "--workload", "tcp_rr", "--rounds", "1")
    with rules_of_the_user(name):
        assert kit.run(*argv, at=moment).killed
        hosts.ebpfnet("gc")


def test_rules_that_a_person_took_away_meanwhile_are_no_error() -> None:
    with joined("routed:rules=3"):
        hosts.run("nft", "flush", "ruleset")
    with joined("routed:rules=3,legacy"):
        hosts.run("iptables-legacy", "-F")


PROGRAM = """#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>
#include "verdicts.h"
#include "{maps}"

int forward(struct __sk_buff *skb)
{{
	u32 ifindex = skb->ifindex;
	struct endpoint *from = endpoints.lookup(&ifindex);

	return from->id ? {verdict} : TC_ACT_SHOT;
}}
"""


@pytest.mark.parametrize(
    ("maps", "verdict", "error", "message"),
    [
        ("maps.h", "NO_VERDICT", CompileError, r"/prog.c:11:\d+: error: use of undeclared .*NO_VE"),
        (
            "maps.h",
            "TC_ACT_OK",
            VerifierError,
            "refused program forward.*'map_value_or_null'; comp",
        ),
        ("map.h", "TC_ACT_OK", InvalidInput, "cannot read .*map.h: No such file"),
    ],
)
def test_errors_of_a_users_program_name_the_place(
    tmp_path: Path, maps: str, verdict: str, error: type[EbpfnetError], message: str
) -> None:
    file = tmp_path / "prog.c"
    file.write_text(PROGRAM.format(maps=maps, verdict=verdict))
    with pytest.raises(error, match=message), joined(f"mine={file}:forward"):
        pass


def test_a_users_program_needs_the_networks_maps(tmp_path: Path) -> None:
    file = tmp_path / "prog.c"
    file.write_text("#include <uapi/linux/bpf.h>\nint f(struct __sk_buff *skb) { return 0; }\n")
    with (
        pytest.raises(InvalidInput, match=r'does not declare map \w+; .*"maps.h"'),
        joined(f"mine={file}:f"),
    ):
        pass


def test_a_netkit_network_is_attached_mended_and_detached(name: str) -> None:
    if missing := modes.get("netkit").missing():
        pytest.skip(f"this kernel lacks {missing}")
    with made_network(name, "--mode", "netkit") as (one, other):
        assert hosts.ping(one, "10.1.1.3", count=3)
        assert hosts.ping(other, "fd00::10.1.1.2")
        network = status(name)
        assert (network["mode"], network["hook"]) == ("netkit", "netkit")
        assert {each["state"] for each in network["endpoints"]} == {"attached"}
        hosts.ebpfnet("map", "check", "--network", name)
        hosts.ebpfnet("reload", "--network", name)
        (PINS / name / "links/1").unlink()
        hosts.ebpfnet("attach", one, "--network", name)
        hosts.ebpfnet("map", "check", "--network", name)
        assert hosts.ping(one, "10.1.1.3")
