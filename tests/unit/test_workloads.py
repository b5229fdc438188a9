"""Workloads without measuring: their variants, what they read from tools, what they refuse."""

import struct
from contextlib import nullcontext
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from datapath.compare import workloads
from datapath.compare.lab import Lab
from datapath.compare.processes import Tool
from datapath.compare.workloads import connections, injection, round_trip, sockperf, udp_pps
from datapath.compare.workloads.base import Effort, Workload, require_arrivals
from datapath.compare.workloads.ns_per_packet import NsPerPacket
from datapath.compare.workloads.tcp_stream import TcpStream
from datapath.errors import EbpfnetError, InvalidInput

LAB = cast(Lab, SimpleNamespace(mode=SimpleNamespace(name="veth")))
PING_PONG = """\
sockperf: [Total Run] RunTime=1.000 sec; Warm up time=400 msec; SentMessages=83401; {total}
sockperf: [Valid Duration] RunTime=0.550 sec; SentMessages=46441; ReceivedMessages={received}
sockperf: [2;35m====> avg-rtt=11.834 (std-dev=23.517)[0m
sockperf: ---> <MAX> observation = 4929.216
sockperf: ---> percentile 99.990 =   44.035
sockperf: ---> percentile 99.900 =   31.466
sockperf: ---> percentile 99.000 =   12.478
sockperf: ---> percentile 50.000 =   11.697
"""


def test_the_workloads_of_a_run_without_options_are_among_all() -> None:
    assert [each.name for each in workloads.DEFAULT] == ["ns_per_packet", "tcp_stream", "tcp_rr"]
    names = [each.name for each in workloads.ALL]
    assert names[:3] == [each.name for each in workloads.DEFAULT]
    assert len(set(names)) == len(names)


def test_options_make_a_variant() -> None:
    chosen = workloads.get("ns_per_packet:size=1500,flows=1000,endpoints=10000")
    assert isinstance(chosen, NsPerPacket)
    assert (chosen.size, chosen.flows, chosen.endpoints) == (1500, 1000, 10000)
    stream = workloads.get("tcp_stream:streams=8,cpus=2")
    assert isinstance(stream, TcpStream)
    assert (stream.streams, stream.cpus) == (8, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ns_per_packet:size=63", "size is a number from 64 to 1518"),
        ("ns_per_packet:size=1519", "size is a number from 64 to 1518"),
        ("ns_per_packet:flows=0", "flows is a number from 1"),
        ("ns_per_packet:endpoints=16383", "endpoints is a number from 1 to 16382"),
        ("ns_per_packet:colour=red", "no option 'colour'; choose from size=N, flows=N"),
        ("tcp_stream:cpus=3", "cpus is a number from 1 to 2"),
        ("tcp_rr:streams=2", "tcp_rr has no option 'streams'"),
        ("token_ring", "there is no workload 'token_ring'; choose from ns_per_packet"),
    ],
)
def test_what_cannot_be_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        workloads.get(name)


def test_what_is_listed_can_be_chosen_and_has_a_reason_where_it_cannot_be_run() -> None:
    listed = workloads.available()
    assert {each.name for each in workloads.ALL} <= {each.name for each in listed}
    for each in listed:
        assert workloads.get(each.name).name == each.name.partition(":")[0]
        assert each.available == (each.reason == "")


def test_a_missing_tool_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tool, "installed", property(lambda tool: tool.command != "sockperf"))
    by_name = {each.name: each for each in workloads.available()}
    assert by_name["tcp_stream"].available
    assert by_name["tcp_rr"].reason == "sockperf is not installed; apt-get install sockperf"
    assert not by_name["tcp_rr"].available


def test_two_cpus_need_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert workloads.get("tcp_stream:cpus=2").missing() == "a second CPU"
    assert workloads.get("tcp_stream").missing() == ""


@pytest.mark.parametrize("workload", workloads.ALL, ids=lambda each: each.name)
def test_units_of_all_details_are_declared(workload: Workload) -> None:
    assert workload.unit
    assert workload.better in ("lower", "higher")
    assert all(workload.details.values())


def ping_pong(monkeypatch: pytest.MonkeyPatch, output: str) -> Any:
    """What tcp_rr makes of what sockperf says."""
    monkeypatch.setattr(sockperf, "server", lambda lab, protocol: nullcontext())
    monkeypatch.setattr(sockperf, "client", lambda *_: output)
    return round_trip.TCP_RR.sample(LAB, Effort())


def test_a_round_trip_is_the_median_with_mean_and_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = ping_pong(monkeypatch, PING_PONG.format(total="", received=46441))
    assert sample.value == 11.697
    assert sample.details == {"mean": 11.834, "p99": 12.478, "p99.9": 31.466}
    assert (sample.sent, sample.arrived) == (46441, 46441)
    assert sample.details.keys() == round_trip.TCP_RR.details.keys()


def test_few_lost_messages_are_counted_and_many_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ping_pong(monkeypatch, PING_PONG.format(total="", received=46000)).arrived == 46000
    with pytest.raises(EbpfnetError, match="mode veth lost messages: 30000 of 46441 arrived"):
        ping_pong(monkeypatch, PING_PONG.format(total="", received=30000))


def test_output_without_figures_is_an_error_that_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EbpfnetError, match="nothing of value about mode veth") as caught:
        ping_pong(monkeypatch, "sockperf: No valid observations found.")
    assert "No valid observations" in caught.value.detail


@pytest.mark.parametrize(("arrived", "fails"), [(1000, False), (900, False), (899, True)])
def test_a_tenth_may_be_lost(arrived: int, fails: bool) -> None:
    if not fails:
        require_arrivals(LAB, "frames", 1000, arrived)
        return
    with pytest.raises(EbpfnetError, match=f"lost frames: {arrived} of 1000 arrived"):
        require_arrivals(LAB, "frames", 1000, arrived)


def test_the_kernels_counters_are_read_by_protocol_and_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "Ip: Forwarding InDelivers\nIp: 2 70\nTcp: InSegs RtoMin\nTcp: 20 -1\n"
    text += "Icmp: InMsgs\nIcmp: 5\n"
    monkeypatch.setattr("datapath.kernel.net.netns.run_inside", lambda path, work: text)
    receiver = SimpleNamespace(path=Path("/run/netns/receiver"))
    assert udp_pps._arrived(cast(Lab, SimpleNamespace(receiver=receiver))) == 45


def test_the_header_sum_completes_to_the_checksum_of_any_destination() -> None:
    """What the sending program computes for each frame, against scapy's own."""
    ends = "02:eb:c6:12:00:02", "02:eb:c6:12:00:03"
    frame = injection.udp_frame(*ends, IPv4Address("198.18.0.2"), IPv4Address(1), bytes(18))
    destination = IPv4Address("198.19.39.17")
    total = injection._header_sum(frame[14:34]) + sum(struct.unpack("=2H", destination.packed))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    expected = bytes(Ether() / IP(src="198.18.0.2", dst=str(destination), id=0) / UDP() / bytes(18))
    assert struct.pack("=H", checksum) == expected[24:26]


def test_connections_are_timed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Socket:
        def connect(self, address: tuple[str, int]) -> None:
            calls.append(f"connect {address[1]}")

        def send(self, data: bytes) -> None:
            calls.append("send")

        def recv(self, size: int) -> bytes:
            calls.append("recv")
            return b"x" if calls[-2] == "send" else b""

        def close(self) -> None:
            calls.append("close")

    clock = iter((0, 70, 200, 400))
    monkeypatch.setattr("socket.socket", Socket)
    monkeypatch.setattr("time.perf_counter_ns", lambda: next(clock))
    assert connections.connect(("10.1.1.2", 7), 300e-9) == [70, 130, 200]
    assert calls == ["connect 7", "send", "recv", "recv", "close"] * 3
