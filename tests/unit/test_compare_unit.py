"""compare without measuring: what it is asked for, what it says, and what it writes."""

from collections.abc import Sequence
from ipaddress import IPv4Address

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from datapath import compare
from datapath.compare import Experiment, Report, Sample, workloads
from datapath.compare.report import ratios_of, results_of
from datapath.compare.verdicts import verdicts_of
from datapath.compare.workloads.injection import udp_frame
from datapath.errors import InvalidInput, Unsupported

LOADS = {workload.name: workload for workload in workloads.ALL}
SLOW, FAST = [1000.0, 1010.0, 990.0], [500.0, 510.0, 490.0]


def report(**costs: Sequence[float]) -> Report:
    """What a run would find whose modes took so many nanoseconds a packet, by round."""
    samples = {
        (mode.replace("_", "-"), "ns_per_packet"): [Sample(value) for value in taken]
        for mode, taken in costs.items()
    }
    results = results_of(samples, LOADS, seed=0)
    return Report(
        environment={"measured_on_cpu": 3, "knobs": {"STP": "off"}, "noise": {"causes": []}},
        experiment={"modes": list(costs), "rounds": 3, "seed": 4711},
        results=results,
        ratios=ratios_of(samples, seed=0),
        verdicts=verdicts_of(results, LOADS, seed=0),
        ended="3 rounds, as asked for",
    )


def test_what_is_faster_is_said_to_take_less() -> None:
    assert report(bridge=SLOW, ebpf=FAST).summary() == (
        "eBPF forwards a packet in 500 ns, a bridge in 1000: "
        "2.00 times less (95 % interval 1.95 to 2.05)"
    )


def test_what_is_slower_is_said_to_take_more() -> None:
    assert report(bridge=FAST, ebpf=SLOW).summary() == (
        "eBPF forwards a packet in 1000 ns, a bridge in 500: "
        "2.00 times more (95 % interval 1.95 to 2.05)"
    )


@pytest.mark.parametrize("ours", [[990.0, 1020.0, 985.0], [1010.0, 980.0, 1015.0]])
def test_noise_is_not_called_a_difference(ours: list[float]) -> None:
    assert "no difference shown (95 % interval of their ratio 0." in (
        report(bridge=SLOW, ebpf=ours).summary()
    )


def test_a_single_round_is_said_to_show_no_interval() -> None:
    assert report(bridge=[900.0], ebpf=[600.0]).summary() == (
        "eBPF forwards a packet in 600 ns, a bridge in 900: "
        "1.50 times less in a single round, which shows no interval"
    )


@pytest.mark.parametrize(
    ("costs", "subject"),
    [
        ({"ebpf": FAST}, "eBPF forwards"),
        ({"tc_peer": FAST}, "eBPF forwards"),
        ({"xdp": FAST}, "eBPF (xdp) forwards"),
        ({"xdp": SLOW, "ebpf": FAST}, "eBPF forwards a packet in 500"),
    ],
)
def test_the_last_line_speaks_of_the_default_mode_first(
    costs: dict[str, Sequence[float]], subject: str
) -> None:
    assert report(bridge=SLOW, **costs).summary().startswith(subject)


def test_nothing_is_said_of_what_was_not_measured() -> None:
    assert report(veth=FAST, ebpf=FAST).summary() == ""
    assert report(veth=FAST, bridge=SLOW).summary() == ""
    samples = {("bridge", "tcp_rr"): [Sample(9)], ("ebpf", "tcp_rr"): [Sample(8)]}
    results = results_of(samples, LOADS, 0)
    found = Report({}, {}, results, ratios_of(samples, 0), verdicts_of(results, LOADS, 0))
    assert found.summary() == ""


def test_every_mode_is_set_against_bridge_and_veth_but_not_against_itself() -> None:
    found = report(veth=FAST, bridge=SLOW, ebpf=FAST)
    assert {(each.mode, each.to): round(each.ratio, 3) for each in found.ratios} == {
        ("veth", "bridge"): 0.5,
        ("bridge", "veth"): 2.0,
        ("ebpf", "bridge"): 0.5,
        ("ebpf", "veth"): 1.0,
    }


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (Experiment(modes=("veth", "token-ring")), "veth, bridge, routed, ebpf"),
        (Experiment(workloads=("tcp_rrr",)), "ns_per_packet, tcp_stream, tcp_rr"),
        (Experiment(cpu=4096), "CPU 4096 is not this process's to run on; choose one of"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    experiment: Experiment, message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        compare.run(experiment)
    assert all(part.strip() in str(caught.value) for part in message.split(","))


@pytest.mark.parametrize(
    ("tool", "package"), [("iperf3", "iperf3"), ("sockperf", "sockperf"), ("ping", "iputils-ping")]
)
def test_a_missing_tool_is_named_with_its_package(
    tool: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == tool else f"/bin/{name}")
    with pytest.raises(Unsupported, match=f"{tool} is not installed; apt-get install {package}"):
        compare.run(Experiment(modes=("veth",)))


def test_the_injected_frame_is_a_minimal_udp_datagram() -> None:
    addresses = IPv4Address("198.18.0.2"), IPv4Address("198.18.0.3")
    ends = "02:eb:c6:12:00:02", "02:eb:c6:12:00:03"
    frame = udp_frame(*ends, *addresses, bytes(18))
    source, destination = map(str, addresses)
    expected = (
        Ether(src=ends[0], dst=ends[1])
        / IP(src=source, dst=destination, id=0)
        / UDP(sport=1, dport=2, chksum=0)
        / bytes(18)
    )
    assert frame == bytes(expected)
    assert len(frame) == 60
