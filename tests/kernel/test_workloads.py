"""Workloads in real labs: what they send arrives, and what they add goes again.

Figures are not judged here, but what they are made of.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from datapath import modes, network
from datapath.compare import lab, workloads
from datapath.compare.hurry import hurried
from datapath.compare.lab import Lab
from datapath.compare.workloads import breakdown
from datapath.compare.workloads.base import Effort, Sample
from datapath.compare.workloads.injection import Destinations, Injector
from datapath.compare.workloads.population import populated
from datapath.errors import EbpfnetError, Unsupported
from datapath.kernel.bpf import features, libbpf, runs
from datapath.kernel.net import netns
from datapath.records import DropReason
from tests.support import hosts

LITTLE = Effort(packets=20_000)
ETH_P_ALL, SO_RCVBUFFORCE = 3, 33  # of linux/if_ether.h and asm/socket.h


@contextmanager
def built(mode: str) -> Iterator[Lab]:
    with ExitStack() as stack:
        before = os.sched_getaffinity(0)
        stack.callback(os.sched_setaffinity, 0, before)
        os.sched_setaffinity(0, {min(before)})
        journal = stack.enter_context(lab.open_journal())
        yield stack.enter_context(lab.built(journal, modes.get(mode)))


@pytest.fixture(scope="module")
def injector() -> Iterator[Injector]:
    with Injector() as ready:
        yield ready


def sampled(workload: str, there: Lab) -> Sample:
    chosen = workloads.get(workload)
    for tool in chosen.tools:
        if not shutil.which(tool.command):
            pytest.skip(f"needs {tool.command}")
    if reason := chosen.missing():
        pytest.skip(f"lacks {reason}")
    with chosen.prepared(LITTLE) as measure:
        return measure(there)


# tcp_rr and tcp_stream are measured in test_compare.py.
TOOLS = ("udp_rr", "udp_pps", "tcp_crr", "cpu_per_gbit", "tcp_stream:streams=8,cpus=2")


def test_tools_measure_through_a_program_of_ours() -> None:
    with built("ebpf") as there:
        for workload in TOOLS:
            sample = sampled(workload, there)
            assert sample.value > 0
            assert sample.details.keys() == workloads.get(workload).details.keys()
            assert sample.sent >= sample.arrived
            assert bool(sample.arrived) == (workload in ("udp_rr", "udp_pps", "tcp_crr"))


@pytest.mark.parametrize("mode", ["veth", "bridge", "routed", "ebpf", "xdp"])
def test_variants_of_frames_all_arrive(mode: str, injector: Injector) -> None:
    with built(mode) as there:
        for count, flows, size in ((1, 1, 64), (1, 1, 1518), (1, 1000, 512), (500, 1000, 64)):
            with populated(there, count) as destinations, injector.sunk(there):
                send = injector.source(there, size, flows, destinations)
                before = injector.arrived()
                injected = send(10_000)
                arrived = injector.arrived_since(before, injected.sent)
                assert injected.ns_per_frame > 0
                assert arrived >= 0.99 * injected.sent


def test_endpoints_are_in_the_maps_for_as_long_as_they_are_wanted(injector: Injector) -> None:
    with built("xdp") as there, network.Network(lab.NETWORK) as opened:

        def entries() -> list[int]:
            return [len(opened.map(name).items()) for name in ("endpoints", "endpoints_v4")]

        assert entries() == [2, 2]
        with populated(there, 100) as destinations, injector.sunk(there):
            assert entries() == [102, 102]
            injector.source(there, 64, 1, destinations)(20_000)
        assert entries() == [2, 2]
        spread = [opened.stats(number).rx_packets for number in range(3, 103)]
        assert min(spread) > 0
        assert DropReason.UNKNOWN_DESTINATION not in opened.drops()


def test_a_bridge_learns_each_destination_and_forgets_it() -> None:
    def learnt() -> int:
        listed = json.loads(hosts.run("bridge", "-j", "fdb", "show", "br", "br-compare-lab").stdout)
        return sum(entry["mac"].startswith("02:eb:c6:13") for entry in listed)

    with built("bridge") as there:
        with populated(there, 100):
            assert learnt() == 100
        assert learnt() == 0


def test_a_router_that_lacks_the_routes_forwards_nothing(injector: Injector) -> None:
    with built("routed") as there:
        with populated(there, 100) as wanted:
            pass
        with injector.sunk(there):
            before = injector.arrived()
            injector.source(there, 64, 1, wanted)(1_000)
            assert injector.arrived() == before


def test_flows_differ_in_their_source_port(injector: Injector) -> None:
    with built("veth") as there:
        end = there.receiver

        def listener() -> socket.socket:
            """What sees frames before the sink does."""
            every = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            every.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
            every.bind((end.ifname, 0))
            return every

        with netns.run_inside(end.path, listener) as every, injector.sunk(there):
            injector.source(there, 64, 100, Destinations(end.ipv4))(5_000)
            every.settimeout(0.2)
            frames = []
            with suppress(TimeoutError):
                while True:
                    frames.append(every.recv(100))
    ports = {frame[34:36] for frame in frames if frame[12:14] == b"\x08\x00"}
    assert ports == {struct.pack("!H", port) for port in range(1, 101)}


def test_the_parts_of_a_program_add_up() -> None:
    with built("ebpf") as there:
        sample = sampled("ns_per_packet", there)
    assert sample.details["instructions"] > 100
    assert sample.details["program"] > 0
    if features.has(features.TCX):
        assert sample.details.keys() == breakdown.DETAILS.keys()
        parts = [sample.details[part] for part in ("stack", "hook", "program", "redirect")]
        assert sum(parts) == pytest.approx(sample.value)


def test_a_baseline_has_no_parts_and_a_hook_for_one_program_has_fewer() -> None:
    with built("veth") as there:
        assert sampled("ns_per_packet", there).details == {}
    with built("xdp") as there:
        parts = sampled("ns_per_packet", there).details
    assert "program" in parts
    assert "stack" not in parts


def test_runs_are_timed_only_for_as_long_as_that_is_wanted(injector: Injector) -> None:
    def run() -> None:
        libbpf.test_run(injector.idle[0], bytes(64), repeat=1000)

    before = runs.timed(injector.idle[0])
    with runs.timing():
        run()
    timed = runs.timed(injector.idle[0])
    assert timed.count - before.count == 1000
    assert timed.per_run_since(before) > 0
    run()
    assert runs.timed(injector.idle[0]) == timed


def test_a_path_that_carries_nothing_is_an_error_and_the_sink_goes() -> None:
    with built("bridge") as there:
        hosts.run("ip", "link", "set", there.receiver.host_ifname, "nomaster")
        with pytest.raises(EbpfnetError, match="mode bridge lost frames: 0 of"):
            sampled("ns_per_packet", there)
        hosts.run("ip", "link", "set", there.receiver.host_ifname, "master", "br-compare-lab")
        there.prove()


def test_an_interface_that_takes_no_frames_is_named(injector: Injector) -> None:
    with built("veth") as there:
        bridge = ("ip", "-n", there.sender.label, "link")
        hosts.run(*bridge, "set", there.sender.ifname, "name", "other")
        hosts.run(*bridge, "add", there.sender.ifname, "type", "bridge")
        with pytest.raises(Unsupported, match="injected into the bridge of mode veth"):
            injector.source(there, 64, 1, Destinations(there.receiver.ipv4))


def test_a_hurried_tool_does_not_sleep() -> None:
    start = time.monotonic()
    hurried(lambda: subprocess.run(["perl", "-e", "sleep 5"], check=True))
    assert time.monotonic() - start < 5
