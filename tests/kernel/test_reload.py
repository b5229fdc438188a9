"""`ebpfnet reload`: another program in the old one's place, under traffic."""

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from tests.support import bpf_objects, hosts
from tests.support.hosts import no_ping_lost
from tests.support.kit import PINS, drops, endpoints, joined, program_at
from tests.support.wire import send, silence


def pinned_maps(network: str) -> dict[str, str]:
    """The kernel's ids of a network's maps."""
    folder = f"{PINS}/{network}/maps/"
    return {path: pin["id"] for path, pin in bpf_objects.pins() if path.startswith(folder)}


@pytest.mark.parametrize("way", [("--hook", "tcx"), ("--hook", "clsact"), ("--mode", "xdp")])
def test_a_reload_changes_the_program_and_nothing_else(name: str, way: tuple[str, ...]) -> None:
    with joined(name, way) as (one, other):
        silence(one, other)
        assert hosts.ping(one["netns"], other["ipv4"], count=3)
        nowhere = IP(src=one["ipv4"], dst="10.1.1.99") / ICMP()
        send(one, Ether(src=one["mac"], dst=other["mac"]) / nowhere)
        rows, dropped, maps = endpoints(name), drops(name), pinned_maps(name)
        assert dropped["unknown-destination"] == 1
        before = {program_at(row, way) for row in (one, other)}

        hosts.ebpfnet("reload", "--network", name)
        after = {program_at(row, way) for row in (one, other)}
        assert len(after) == 1
        assert after != before
        assert not before & bpf_objects.numbers("prog")
        assert (endpoints(name), drops(name), pinned_maps(name)) == (rows, dropped, maps)

        with no_ping_lost(one["netns"], other["ipv4"]):
            hosts.ebpfnet("reload", "--network", name)
        assert {program_at(row, way) for row in (one, other)} != after
        assert drops(name) == dropped
        # An endpoint that comes later gets the new program.
        hosts.ebpfnet("attach", f"{name}c", "--network", name)
        late = endpoints(name)[f"{name}c"]
        assert program_at(late, way) == program_at(one, way)
        assert hosts.ping(f"{name}c", other["ipv4"], count=3)


def test_a_reload_of_nothing_says_so(name: str) -> None:
    done = hosts.ebpfnet("reload", "--network", name, check=False)
    assert done.returncode == 1
    assert f"there is no network {name}" in done.stderr
