"""What the notes on virtual networks have people type, word for word, and what the kit says of it.

ip, brctl, arp, ethtool, iptables and tcpdump are the judges. The names are the notes' own: a lane
has them for itself.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from cli import main
from tests.support import hosts, inventory
from tests.support.hosts import settle
from tests.support.kit import capturing

NAMESPACES = ("ns0", "ns1", "ns2")
LINKS = ("veth0", "veth1", "veth2", "veth-ns1", "br-veth1", "br-veth2", "br0", "br-xxx")
NETWORK = Path("/sys/fs/bpf/ebpfnet/default")

PAIR = """
# 添加网络命名空间
ip netns a ns0
ip netns a ns1

# 创建一对 veth-pair veth0 veth1
ip l a veth0 type veth peer name veth1

# 将veth0和veth1分别加入两个命名空间
ip l s veth0 netns ns0
ip l s veth1 netns ns1

# 将veth0和veth1分别配上ip
ip netns exec ns0 ip a a 10.1.1.2/24 dev veth0
ip netns exec ns0 ip l s veth0 up

ip netns exec ns1 ip a a 10.1.1.3/24 dev veth1
ip netns exec ns1 ip l s veth1 up
"""

BRIDGE = """
brctl show

# 添加网络命名空间
ip netns a ns1
ip netns a ns2

# 创建bridge br0并启动
ip l a br0 type bridge
ip l s br0 up

# 创建两对 veth-pair
ip l a veth1 type veth peer name br-veth1
ip l a veth2 type veth peer name br-veth2

# 分别将两对 veth-pair 加入两个ns和br0
ip l s veth1 netns ns1
ip l s br-veth1 master br0
ip l s br-veth1 up

ip l s veth2 netns ns2
ip l s br-veth2 master br0
ip l s br-veth2 up

# 给两个ns中的veth配置ip并启用
ip netns exec ns1 ip a a 10.1.0.1/24 dev veth1
ip netns exec ns1 ip l s veth1 up

ip netns exec ns2 ip a a 10.1.0.2/24 dev veth2
ip netns exec ns2 ip l s veth2 up
"""

# What the notes have commented out, and their other names.
BRCTL = """
ip netns a ns0
ip netns a ns1
ip l a veth0 type veth peer name br-veth1
ip l a veth-ns1 type veth peer name br-veth2
ip l s veth0 netns ns0
ip l s veth-ns1 netns ns1

brctl addbr br0
brctl addif br0 br-veth1
brctl addif br0 br-veth2
ifconfig br-veth1 up
ifconfig br-veth2 up
ifconfig br0 up

ip netns exec ns0 ifconfig veth0 10.1.2.1/24
ip netns exec ns0 ifconfig veth0 up
ip netns exec ns1 ifconfig veth-ns1 10.1.2.2/24
ip netns exec ns1 ifconfig veth-ns1 up
"""


class Joined(NamedTuple):
    """Two namespaces on a bridge: what is typed, and by namespace what is in it."""

    commands: str
    ifnames: dict[str, str]
    addresses: dict[str, str]


BRIDGES = {
    "ip": Joined(BRIDGE, {"ns1": "veth1", "ns2": "veth2"}, {"ns1": "10.1.0.1", "ns2": "10.1.0.2"}),
    "brctl": Joined(
        BRCTL, {"ns0": "veth0", "ns1": "veth-ns1"}, {"ns0": "10.1.2.1", "ns1": "10.1.2.2"}
    ),
}


@pytest.fixture(autouse=True)
def cleared() -> Iterator[None]:
    """Whatever a test has typed goes, at whichever line it ended."""
    yield
    if NETWORK.exists():
        hosts.ebpfnet("detach")
    for noun, names in (("netns", NAMESPACES), ("link", LINKS)):
        for name in names:
            hosts.run("ip", noun, "del", name, check=False)


def type_in(commands: str) -> str:
    """Paste lines into a shell; what they print. Raises CalledProcessError where one fails."""
    return hosts.run("bash", "-ec", commands).stdout


def reaches(netns: str, address: str) -> bool:
    """Whether it answers; a link that came up only now may take the kernel a second."""
    return hosts.until(lambda: hosts.ping(netns, address))


def ebpfnet(*args: str) -> Result:
    """As hosts.ebpfnet, in this process: many questions are asked here."""
    return CliRunner().invoke(main.cli, args, catch_exceptions=False)


def shown(view: str, node: str, moving: str = "") -> list[dict[str, Any]]:
    """What `ebpfnet show` says: the same as a table and as JSON, apart from a column that moves."""
    rows = json.loads(ebpfnet("show", view, node, "-o", "json").stdout)
    titles, *lines = [
        re.split(" {2,}", line.strip()) for line in ebpfnet("show", view, node).stdout.splitlines()
    ] or [[]]
    names = [title.lower() for title in titles if title != moving]
    assert [
        [cell for title, cell in zip(titles, line, strict=True) if title != moving]
        for line in lines
    ] == [["-" if row[name] == "" else str(row[name]) for name in names] for row in rows]
    return list(rows)


def diagnosed(one: str, other: str) -> list[dict[str, str]]:
    """Causes that `ebpfnet diagnose` finds; none where it calls the pair healthy."""
    done = ebpfnet("diagnose", one, other, "-o", "json")
    found = json.loads(done.stdout)
    assert found["healthy"] == (done.exit_code == 0) == (found["causes"] == [])
    return list(found["causes"])


def mend(one: str, other: str, cause: str, where: str, remedy: str) -> None:
    """Exactly this is found; its remedy is typed."""
    (found,) = diagnosed(one, other)
    assert (found["cause"], found["where"], found["remedy"]) == (cause, where, remedy)
    type_in(remedy)


def arp(netns: str) -> set[tuple[str, str, str]]:
    """Address, MAC and interface as `arp -n` lists them; no MAC where it is incomplete."""
    lines = type_in(f"ip netns exec {netns} arp -n").splitlines()[1:]
    return {
        (words[0], words[2] if words[1] == "ether" else "", words[-1])
        for words in map(str.split, lines)
    }


def neighbours(netns: str) -> set[tuple[str, str, str]]:
    """The same as the kit shows it."""
    return {
        (row["address"], row["mac"], row["ifname"])
        for row in shown("neigh", netns, moving="state")
        if ":" not in row["address"]
    }


def counters(netns: str, ifname: str) -> dict[str, int]:
    """What `ethtool -S` lists, and how many packets `ip` says there were."""
    lines = type_in(f"ip netns exec {netns} ethtool -S {ifname}").splitlines()[1:]
    (link,) = json.loads(hosts.ip("-n", netns, "-j", "-s", "link", "show", ifname).stdout)
    told = (line.partition(":") for line in lines)
    driver = {name.strip(): int(value) for name, _, value in told}
    packets = {f"{way}_packets": link["stats64"][way]["packets"] for way in ("rx", "tx")}
    return driver | packets


def counted(netns: str, ifname: str) -> set[str]:
    """The peers that `show stats` names beside an interface's counters, which are ethtool's."""
    before = counters(netns, ifname)
    peer = before.pop("peer_ifindex")
    rows = [row for row in shown("stats", netns, moving="value") if row["ifname"] == ifname]
    after = counters(netns, ifname)
    assert after.pop("peer_ifindex") == peer
    told = {row["counter"]: row["value"] for row in rows}
    assert told.keys() - before.keys() == {"rx_dropped", "tx_dropped"}
    assert all(before[name] <= told[name] <= after[name] for name in before)
    return {row["peer"] for row in rows}


def addresses(netns: str) -> set[tuple[str, str]]:
    """Interface and address, as `ip a` lists them."""
    listed = json.loads(type_in(f"ip netns exec {netns} ip -j a"))
    return {
        (link["ifname"], f"{each['local']}/{each['prefixlen']}")
        for link in listed
        for each in link["addr_info"]
    }


def showmacs(bridge: str) -> set[tuple[str, str, bool]]:
    """Port, MAC and whether it is local, as `brctl showmacs` lists them."""
    ports = {
        int((port / "port_no").read_text(), 0): port.name
        for port in Path(f"/sys/class/net/{bridge}/brif").iterdir()
    }
    lines = type_in(f"brctl showmacs {bridge}").splitlines()[1:]
    return {
        (ports[int(number)], mac, local == "yes") for number, mac, local, _ in map(str.split, lines)
    }


def test_a_pair_is_what_ip_arp_and_ethtool_say_it_is() -> None:
    made, moved, rest = PAIR.partition("# 将veth0和veth1分别加入两个命名空间")
    type_in(made)
    peers = {row["ifname"]: row["peer"] for row in shown("links", "host")}
    assert (peers["veth0"], peers["veth1"]) == ("veth1 here", "veth0 here")
    type_in(moved + rest)
    assert reaches("ns0", "10.1.1.3")

    for netns, ifname, peer in (("ns0", "veth0", "veth1 in ns1"), ("ns1", "veth1", "veth0 in ns0")):
        row = next(row for row in shown("links", netns) if row["ifname"] == ifname)
        (told,) = json.loads(type_in(f"ip netns exec {netns} ip -j l show {ifname}"))
        assert (row["ifindex"], row["mac"], row["mtu"]) == (
            *(told["ifindex"], told["address"], told["mtu"]),
        )
        assert (row["kind"], row["state"], row["carrier"]) == ("veth", "up", True)
        assert row["peer"] == peer
    assert counted("ns1", "veth1") == {"veth0 in ns0"}
    rows = shown("addr", "ns0", moving="state")
    assert {(row["ifname"], row["address"]) for row in rows} == addresses("ns0")
    (route,) = [row for row in shown("routes", "ns0") if row["family"] == 4]
    (told,) = json.loads(type_in("ip netns exec ns0 ip -j r"))
    assert (route["destination"], route["ifname"], route["source"], route["protocol"]) == (
        *(told["dst"], told["dev"], told["prefsrc"], told["protocol"]),
    )
    for view in ("fdb", "nat"):
        assert shown(view, "ns0") == []

    assert neighbours("ns0") == arp("ns0") != set()
    # Whoever is asked learns of the asker, and the other end asks again by itself later.
    type_in("ip netns exec ns1 arp -d 10.1.1.2\nip netns exec ns0 arp -d 10.1.1.3")
    assert neighbours("ns0") == arp("ns0") == set()
    assert reaches("ns0", "10.1.1.3")
    type_in("ip netns exec ns0 arp -s 10.1.1.9 02:00:00:00:00:09")
    type_in("ip netns exec ns1 arp -d 10.1.1.2")
    assert ebpfnet("neigh", "flush", "ns0").stdout == "1 forgotten in ns0\n"
    assert neighbours("ns0") == arp("ns0") == {("10.1.1.9", "02:00:00:00:00:09", "veth0")}


def test_a_bridge_is_what_brctl_and_iptables_say_it_is() -> None:
    type_in(BRIDGE)
    assert reaches("ns1", "10.1.0.2")
    rows = {row["ifname"]: row for row in shown("links", "host")}
    ports = {name for name, row in rows.items() if row["bridge"] == "br0"}
    assert ports == set(re.findall(r"br-veth\d", type_in("brctl show"))) == {"br-veth1", "br-veth2"}
    assert rows["br0"]["kind"] == "bridge"
    assert [rows[port]["peer"] for port in sorted(ports)] == ["veth1 in ns1", "veth2 in ns2"]
    told = {
        (row["port"], row["mac"], row["state"] == "local")
        for row in shown("fdb", "host", moving="age (s)")
        if row["bridge"] == "br0"
    }
    assert told == showmacs("br0")
    assert len(told) == 4

    for setting in ("on", "off"):
        assert ebpfnet("link", "set", "ns1", "veth1", "--promisc", setting).exit_code == 0
        (link,) = json.loads(type_in("ip netns exec ns1 ip -j link show veth1"))
        row = next(row for row in shown("links", "ns1") if row["ifname"] == "veth1")
        assert row["promiscuous"] == ("PROMISC" in link["flags"]) == (setting == "on")

    type_in("ip netns exec ns1 iptables -t nat -A POSTROUTING -s 10.1.0.0/24 -j MASQUERADE")
    assert hosts.ping("ns1", "10.1.0.2")
    (rule,) = shown("nat", "ns1")
    assert (rule["chain"], rule["packets"]) == ("POSTROUTING", 1)
    assert "10.1.0.0/24" in rule["rule"]
    assert "masquerade" in rule["rule"].lower()


def test_what_is_forgotten_in_a_pair_is_named() -> None:
    begun, _, rest = PAIR.partition("ip l s veth1 netns ns1")
    type_in(begun)
    found = {(row["cause"], row["where"]) for row in diagnosed("ns0", "ns1")}
    assert ("no-interface", "ns1") in found
    type_in("ip l s veth1 netns ns1" + rest.removesuffix("ip netns exec ns1 ip l s veth1 up\n"))

    refused = hosts.ebpfnet("capture", "ns1", "veth1", check=False).stderr
    assert refused.endswith("veth1: That device is not up; ip -n ns1 link set veth1 up\n")
    mend("ns0", "ns1", "link-down", "veth1 in ns1", "ip -n ns1 link set veth1 up")
    assert diagnosed("ns0", "ns1") == diagnosed("ns1", "ns0") == []

    # 从veth0 ping veth1, the notes say here, and have ns1 ask for itself.
    mend("ns1", "ns1", "lo-down", "lo in ns1", "ip -n ns1 link set lo up")
    assert reaches("ns1", "10.1.1.3")


def test_what_is_forgotten_at_a_bridge_is_named() -> None:
    begun, _, rest = BRIDGE.partition("ip l s br-veth1 master br0")
    type_in(begun + rest)
    mend("ns1", "ns2", "not-joined", "ns1 and ns2", "ip link set br-veth1 master br0")
    assert reaches("ns1", "10.1.0.2")
    type_in("ifconfig br0 down")
    mend("ns1", "ns2", "link-down", "br0 in host", "ip link set br0 up")
    assert reaches("ns1", "10.1.0.2")
    type_in("ifconfig br0 down\nbrctl delbr br0")
    (found,) = diagnosed("ns1", "ns2")
    assert (found["cause"], found["remedy"]) == ("not-joined", "ebpfnet attach ns1 ns2")
    hosts.ebpfnet(*found["remedy"].split()[1:])
    assert reaches("ns1", "10.1.0.2")


@pytest.mark.parametrize("made", BRIDGES.values(), ids=BRIDGES)
def test_attach_takes_them_off_the_bridge_and_detach_puts_them_back(made: Joined) -> None:
    type_in(made.commands)
    one, other = made.ifnames
    far, ifname = made.addresses[other], made.ifnames[other]
    assert reaches(one, far)
    assert diagnosed(one, other) == []
    assert counted(other, ifname) == {"br-veth2 in host"}
    settle(one, other, here=["br0", "br-veth1", "br-veth2"])
    before, was = inventory.take(), type_in("brctl show br0")

    rows = json.loads(hosts.ebpfnet("attach", one, other, "-o", "json").stdout)
    assert {row["netns"]: row["ifname"] for row in rows} == made.ifnames
    assert {row["netns"]: row["ipv4"] for row in rows} == made.addresses
    assert [row["host_ifname"] for row in rows] == ["br-veth1", "br-veth2"]
    assert {row["interface"] for row in rows} == {"adopted"}
    assert "veth" not in type_in("brctl show br0")
    assert diagnosed(one, other) == []
    with capturing("host", "br-veth2", "icmp", "-c", "3") as process:
        assert hosts.ping(one, far)
        lines = process.communicate(timeout=30)[0].splitlines()
    labels = [f"{other}:{ifname}", f"{other}:{ifname}", "host:br-veth2"]
    assert [line.split()[1] for line in lines] == labels

    hosts.ebpfnet("detach")
    assert type_in("brctl show br0") == was
    assert inventory.left_behind(before) == []
    assert hosts.ping(one, far)


def test_a_bridge_that_is_deleted_while_ebpf_does_its_work_is_not_missed() -> None:
    """Its ports would be free now without attach as well, and so they are after detach."""
    type_in(BRIDGE)
    hosts.ebpfnet("attach", "ns1", "ns2")
    type_in("ifconfig br0 down\nbrctl delbr br0")
    assert reaches("ns1", "10.1.0.2")
    said = hosts.ebpfnet("detach").stderr
    for port in ("br-veth1", "br-veth2"):
        assert f"{port} stays a port of no bridge: br0, which it was in, has gone\n" in said
    assert not NETWORK.exists()
    assert {row["bridge"] for row in shown("links", "host")} == {""}


def test_a_capture_has_what_tcpdump_has(tmp_path: Path) -> None:
    type_in(BRIDGE)
    assert reaches("ns1", "10.1.0.2")
    file = tmp_path / "veth1.pcapng"
    count = ("-c", "4", "icmp")
    tcpdump = ("timeout", "30", "ip", "netns", "exec", "ns1", "tcpdump", "-i", "veth1", *count)
    with (
        subprocess.Popen(
            tcpdump, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as told,
        capturing("ns1", "veth1", "-w", str(file), *count) as shows,
    ):
        assert told.stderr
        assert any(line.startswith("listening on veth1") for line in told.stderr)
        assert hosts.ping("ns1", "10.1.0.2", count=2)
        seen = [line.split(maxsplit=1)[1] for line in told.communicate()[0].splitlines()]
        shows.communicate(timeout=30)
    read = hosts.run("tcpdump", "-r", str(file)).stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in read] == seen
    assert ["echo request" in line for line in seen] == [True, False] * 2
