"""A port leaves its bridge and comes back: what `ip` and `bridge` show is what it was before."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from datapath.errors import NotFound
from datapath.kernel.net import bridge, netns
from datapath.kernel.net.bridge import BridgePort
from tests.support.hosts import ip, run, until

T = TypeVar("T")

# What cannot be equal, because it runs down by itself.
TIMERS = {"forward_delay_timer", "hold_timer", "message_age_timer"}
TIMERS |= {"hello_timer", "tcn_timer", "topology_change_timer", "gc_timer"}
PORT, OTHER = "port", "other"  # unique by the namespace they are in


class Place:
    """A namespace with the bridge br0 and its ports `port` and `other`, all up and without IPv6."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, command: str) -> str:
        return run(*command.split(), netns=self.name).stdout

    def do(self, work: Callable[[], T]) -> T:
        return netns.run_inside(Path("/run/netns") / self.name, work)

    def read(self, ifname: str = PORT) -> BridgePort:
        """The port's record, as it comes out of a journal."""
        port = self.do(lambda: bridge.read_port(ifname))
        assert port
        return BridgePort(**json.loads(json.dumps(asdict(port))))

    def leave(self, ifname: str = PORT) -> None:
        self.do(lambda: bridge.leave(ifname))

    def rejoin(self, port: BridgePort) -> None:
        self.do(lambda: bridge.rejoin(port))

    def snapshot(self) -> dict[str, object]:
        """All that a person can see of the bridge and its ports, but what traffic teaches."""
        # The kernel notices a while later that a bridge has ports again.
        assert until(lambda: self._json("ip -j link show br0")[0]["operstate"] == "UP")
        addresses = [
            entry
            for entry in self._json("bridge -d -j fdb")
            if entry["state"] or "extern_learn" in entry["flags"]
        ]
        groups = self._json("bridge -d -j mdb")[0]["mdb"]
        return {
            **_flat("ip link", self._json("ip -d -j link show")),
            **_flat("bridge link", self._json("bridge -d -j link")),
            # These come in the order of a hash table.
            **_flat("fdb", sorted(addresses, key=str)),
            **_flat("mdb", sorted((g for g in groups if g["state"] == "permanent"), key=str)),
        }

    def vlans(self) -> dict[str, object]:
        return {
            **_flat("vlan", self._json("bridge -d -j vlan")),
            **_flat("tunnel", self._json("bridge -j vlan tunnelshow")),
        }

    def _json(self, command: str) -> list[Any]:
        found: list[Any] = json.loads(self.run(command))
        return found


def _flat(path: str, value: Any) -> dict[str, object]:
    """Nested JSON as paths and values, without timers."""
    if isinstance(value, dict):
        items = [(f"{path}.{key}", item) for key, item in value.items() if key not in TIMERS]
    elif isinstance(value, list):
        items = [(f"{path}.{index}", item) for index, item in enumerate(value)]
    else:
        return {path: value}
    return {key: item for inner in items for key, item in _flat(*inner).items()}


@pytest.fixture
def place(name: str) -> Iterator[Place]:
    ip("netns", "add", name)
    try:
        place = Place(name)
        place.run("sysctl -q net.ipv6.conf.all.disable_ipv6=1")
        place.run("sysctl -q net.ipv6.conf.default.disable_ipv6=1")
        place.run("ip link add br0 type bridge")
        for port in (PORT, OTHER):
            place.run(f"ip link add {port} type veth peer name {port}-end")
            for link in (f"{port}-end", port):
                place.run(f"ip link set {link} up")
            place.run(f"ip link set {port} master br0")
        place.run("ip link set br0 up")
        yield place
    finally:
        ip("netns", "del", name)


@pytest.fixture
def place_with_vlans(place: Place) -> Place:
    command = ("ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1")
    done = run(*command, netns=place.name, check=False)
    if "not supported" in done.stderr:
        pytest.skip("this kernel's bridge has no VLAN filtering")
    done.check_returncode()
    return place


def set_much(place: Place) -> None:
    for command in (
        f"bridge link set dev {PORT} cost 33 priority 7 hairpin on guard on root_block on",
        f"bridge link set dev {PORT} fastleave on learning off flood off mcast_flood off",
        f"bridge link set dev {PORT} bcast_flood off mcast_to_unicast on neigh_suppress on",
        f"bridge link set dev {PORT} vlan_tunnel on isolated on locked on mcast_router 2",
        f"ip link set {PORT} type bridge_slave group_fwd_mask 8 proxy_arp on proxy_arp_wifi on",
        f"ip link set {PORT} type bridge_slave backup_port {OTHER}",
        f"bridge fdb add 02:00:00:00:00:05 dev {PORT} master static",
        f"bridge fdb add 02:00:00:00:00:06 dev {PORT} master permanent",
        f"bridge fdb add 02:00:00:00:00:07 dev {PORT} master static sticky",
        f"bridge fdb add 02:00:00:00:00:08 dev {PORT} master extern_learn",
        f"bridge fdb add 02:00:00:00:00:09 dev {PORT} self",
        f"bridge mdb add dev br0 port {PORT} grp 239.1.1.1 permanent",
        f"bridge mdb add dev br0 port {PORT} grp ff05::1:3 src fd00::1 permanent",
    ):
        place.run(command)


def test_port_with_much_set_comes_back_as_it_was(place: Place) -> None:
    fresh = place.snapshot()
    set_much(place)
    place.run(f"bridge link set dev {PORT} state blocking")
    before = place.snapshot()
    port = place.read()
    place.leave()
    assert place.do(lambda: bridge.read_port(PORT)) is None
    place.rejoin(port)
    assert place.snapshot() == before != fresh
    assert place.read() == port


def test_port_with_defaults_only_comes_back_as_it_was(place: Place) -> None:
    before = place.snapshot()
    port = place.read()
    assert port.ifname == PORT
    assert port.bridge == "br0"
    assert (port.backup, port.addresses, port.groups) == ("", [], [])
    place.leave()
    place.rejoin(port)
    assert place.snapshot() == before


def test_vlans_come_back_as_they_were(place_with_vlans: Place) -> None:
    place = place_with_vlans
    set_much(place)
    for command in (
        f"bridge vlan add dev {PORT} vid 10 pvid untagged",
        f"bridge vlan add dev {PORT} vid 20-29",
        f"bridge vlan add dev {PORT} vid 30 untagged",
        f"bridge vlan set dev {PORT} vid 24-25 state blocking",
        f"bridge vlan add dev {PORT} vid 40-42",
        f"bridge vlan add dev {PORT} vid 40-42 tunnel_info id 4000-4002",
        f"bridge fdb add 02:00:00:00:00:15 dev {PORT} master static vlan 20",
        f"bridge fdb add 02:00:00:00:00:16 dev {PORT} master permanent vlan 30",
        f"bridge mdb add dev br0 port {PORT} grp 239.1.1.2 permanent vid 20",
        # The kernel's own VLAN 1 goes; the addresses that were given to it stay.
        f"bridge vlan del dev {PORT} vid 1",
        # Added for no VLAN, an address is given to every VLAN; all but one are taken back.
        f"bridge fdb add 02:00:00:00:00:17 dev {PORT} master static",
        f"bridge fdb del 02:00:00:00:00:17 dev {PORT} master vlan 10",
    ):
        place.run(command)
    before, vlans = place.snapshot(), place.vlans()
    port = place.read()
    place.leave()
    place.rejoin(port)
    assert place.vlans() == vlans
    assert place.snapshot() == before
    place.run(f"bridge vlan add dev {PORT} vid 50-52")
    place.run(f"bridge vlan set dev {PORT} vid 20-29 state learning")
    place.run(f"bridge vlan del dev {PORT} vid 41")
    place.rejoin(port)
    assert place.vlans() == vlans


def test_vlans_of_an_untouched_port_come_back_as_they_were(place_with_vlans: Place) -> None:
    before, vlans = place_with_vlans.snapshot(), place_with_vlans.vlans()
    port = place_with_vlans.read()
    assert [(entry["first"], entry["last"]) for entry in port.vlans] == [(1, 1)]
    place_with_vlans.leave()
    place_with_vlans.rejoin(port)
    assert (place_with_vlans.snapshot(), place_with_vlans.vlans()) == (before, vlans)


def test_rejoining_a_member_brings_it_to_the_record(place: Place) -> None:
    set_much(place)
    before = place.snapshot()
    port = place.read()
    place.rejoin(port)
    assert place.snapshot() == before
    place.run(f"bridge link set dev {PORT} cost 44 hairpin off locked off isolated off")
    place.run(f"ip link set {PORT} type bridge_slave nobackup_port")
    place.run(f"bridge fdb del 02:00:00:00:00:05 dev {PORT} master")
    place.run(f"bridge mdb del dev br0 port {PORT} grp 239.1.1.1")
    assert place.snapshot() != before
    place.rejoin(port)
    assert place.snapshot() == before


def test_ports_keep_their_numbers(place: Place) -> None:
    before = place.snapshot()
    ports = [place.read(ifname) for ifname in (OTHER, PORT)]
    for port in ports:
        place.leave(port.ifname)
    for port in sorted(ports, key=lambda port: port.number):
        place.rejoin(port)
    assert place.snapshot() == before


def test_backup_port_that_is_out_itself_comes_back_with_a_second_rejoin(place: Place) -> None:
    place.run(f"ip link set {PORT} type bridge_slave backup_port {OTHER}")
    port, other = place.read(PORT), place.read(OTHER)
    assert port.backup == OTHER
    for ifname in (PORT, OTHER):
        place.leave(ifname)
    for each in (port, other):
        place.rejoin(each)
    assert place.read().backup == ""
    place.rejoin(port)
    assert place.read() == port


def test_address_that_another_port_learned_meanwhile_comes_back(place: Place) -> None:
    place.run(f"bridge fdb add 02:00:00:00:00:05 dev {PORT} master static")
    port = place.read()
    place.leave()
    place.run(f"bridge fdb add 02:00:00:00:00:05 dev {OTHER} master dynamic")
    place.rejoin(port)
    assert place.read() == port


def test_group_that_was_joined_meanwhile_is_no_error(place: Place) -> None:
    place.run(f"bridge mdb add dev br0 port {PORT} grp 239.1.1.1 permanent")
    port = place.read()
    place.run(f"bridge mdb del dev br0 port {PORT} grp 239.1.1.1")
    place.run(f"bridge mdb add dev br0 port {PORT} grp 239.1.1.1 temp")
    assert place.read() != port
    place.rejoin(port)
    assert "239.1.1.1" in place.run("bridge mdb show")


def test_what_this_kernel_does_not_know_is_left_out(place: Place) -> None:
    port = place.read()
    place.leave()
    place.rejoin(replace(port, attributes={**port.attributes, "IFLA_BRPORT_OF_TOMORROW": 1}))
    assert place.read() == port


def test_bridge_that_is_gone_is_named_with_the_remedy(place: Place) -> None:
    set_much(place)
    port = place.read()
    place.leave()
    place.run("ip link del br0")
    with pytest.raises(NotFound, match=r"bridge br0.*`ip link add br0 type bridge`"):
        place.rejoin(port)
    place.run("ip link add br0 type bridge")
    place.run("ip link set br0 up")
    place.run(f"ip link set {OTHER} master br0")
    place.rejoin(port)
    assert replace(place.read(), number=port.number) == port


def test_interface_of_the_bridges_name_is_no_bridge(place: Place) -> None:
    port = place.read()
    place.leave()
    place.run("ip link del br0")
    place.run("ip link add br0 type veth peer name br0-end")
    with pytest.raises(NotFound, match="bridge br0"):
        place.rejoin(port)


def test_interface_in_no_bridge(place: Place) -> None:
    assert place.do(lambda: bridge.read_port(f"{PORT}-end")) is None
    before = place.snapshot()
    place.leave(f"{PORT}-end")
    assert place.snapshot() == before


def test_interface_that_is_gone(place: Place) -> None:
    port = place.read()
    place.run(f"ip link del {PORT}")
    for work in (
        lambda: bridge.read_port(PORT),
        lambda: bridge.leave(PORT),
        lambda: bridge.rejoin(port),
    ):
        with pytest.raises(NotFound, match=PORT):
            place.do(work)


def test_command_does_what_leave_does(place: Place) -> None:
    set_much(place)
    port = place.read()
    place.leave()
    left = place.snapshot()
    place.rejoin(port)
    for command in bridge.commands(port):
        place.run(command)
    assert place.snapshot() == left
