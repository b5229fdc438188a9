"""compare without measuring: what it is asked for, what it says, and what it writes."""

import json
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from cli import compare as command
from datapath import compare
from datapath.compare import Experiment, Report, Sample, workloads
from datapath.compare.report import ratios_of, results_of
from datapath.compare.workloads.ns_per_packet import udp_frame
from datapath.errors import EbpfnetError, InvalidInput, Unsupported

LOADS = {workload.name: workload for workload in workloads.ALL}
SLOW, FAST = [1000.0, 1010.0, 990.0], [500.0, 510.0, 490.0]


def report(**costs: Sequence[float]) -> Report:
    """What a run would find whose modes took so many nanoseconds a packet, by round."""
    samples = {
        (mode.replace("_", "-"), "ns_per_packet"): [Sample(value) for value in taken]
        for mode, taken in costs.items()
    }
    return Report(
        environment={"measured_on_cpu": 3, "knobs": {"STP": "off"}},
        experiment={"modes": tuple(costs), "rounds": 3},
        results=results_of(samples, LOADS, seed=0),
        ratios=ratios_of(samples, seed=0),
    )


def test_what_is_faster_is_said_to_take_less() -> None:
    assert report(bridge=SLOW, ebpf=FAST).summary() == (
        "eBPF forwards a packet in 500 ns, a bridge in 1000: "
        "2.00 times less (95 % interval 1.98 to 2.02)"
    )


def test_what_is_slower_is_said_to_take_more() -> None:
    assert report(bridge=FAST, ebpf=SLOW).summary() == (
        "eBPF forwards a packet in 1000 ns, a bridge in 500: "
        "2.00 times more (95 % interval 1.98 to 2.02)"
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
    found = Report({}, {}, results_of(samples, LOADS, 0), ratios_of(samples, 0))
    assert found.summary() == ""


def test_every_mode_is_set_against_bridge_and_veth_but_not_against_itself() -> None:
    found = report(veth=FAST, bridge=SLOW, ebpf=FAST)
    assert {(each.mode, each.to): each.ratio for each in found.ratios} == {
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """Experiments that the command line asked for; none is run, what it is told is invented."""
    experiments: list[Experiment] = []

    def run(experiment: Experiment, progress: Callable[[int, int, str], None]) -> Report:
        experiments.append(experiment)
        progress(0, 1, "veth")
        progress(1, 1, "")
        return report(veth=FAST, bridge=SLOW, ebpf=FAST)

    monkeypatch.setattr("datapath.compare.run", run)
    monkeypatch.setattr("cli.options.require_privileges", lambda: None)
    return experiments


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command.compare, arguments)


def test_without_arguments_everything_is_measured_by_the_three_modes(
    asked: list[Experiment],
) -> None:
    assert call().exit_code == 0
    assert asked == [Experiment()]
    assert asked[0].modes == ("veth", "bridge", "ebpf")
    assert asked[0].workloads == ("ns_per_packet", "tcp_stream", "tcp_rr")
    assert asked[0].rounds == 5


def test_options_arrive_in_the_experiment(asked: list[Experiment]) -> None:
    call(
        "tc",
        "xdp",
        "--workload",
        "tcp_rr, tcp_stream",
        "--rounds",
        "9",
        "--cpu",
        "1",
        "--seconds",
        "3",
    )
    (experiment,) = asked
    assert experiment.modes == ("tc", "xdp")
    assert experiment.workloads == ("tcp_rr", "tcp_stream")
    assert (experiment.rounds, experiment.cpu, experiment.effort.seconds) == (9, 1, 3)


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--seconds", "0"], ["--cpu", "-1"]])
def test_numbers_out_of_range_are_refused(wrong: list[str], asked: list[Experiment]) -> None:
    assert call(*wrong).exit_code == 2
    assert asked == []


def test_the_table_shows_medians_intervals_ratios_and_a_last_line(asked: list[Experiment]) -> None:
    done = call()
    heading, *rows, empty, last = done.stdout.splitlines()
    assert heading.split() == (
        ["workload", "mode", "median", "unit", "95", "%", "interval", "of", "bridge", "of", "veth"]
    )
    assert [row.split()[1] for row in rows] == ["veth", "bridge", "ebpf"]
    assert "490 to 510" in rows[2]
    assert rows[2].endswith("  0.50 (0.49 to 0.50)  1.00 (1.00 to 1.00)")
    assert empty == ""
    assert last == report(veth=FAST, bridge=SLOW, ebpf=FAST).summary()


def test_knobs_are_stated_beside_the_table_and_no_bar_is_drawn_into_a_pipe(
    asked: list[Experiment],
) -> None:
    done = call()
    assert "measured on CPU 3" in done.stderr
    assert "STP: off" in done.stderr
    assert "%" not in done.stderr


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_a_document_is_all_there_is_on_stdout(
    form: str, parse: Callable[[str], object], asked: list[Experiment]
) -> None:
    document = parse(call("-o", form).stdout)
    assert isinstance(document, dict)
    assert set(document) == {"environment", "experiment", "results", "ratios"}
    assert document["results"][0] == {
        "mode": "veth",
        "workload": "ns_per_packet",
        "detail": "",
        "unit": "ns",
        "median": 500.0,
        "low": 490.0,
        "high": 510.0,
        "samples": FAST,
        "sent": 0,
        "arrived": 0,
    }


def test_the_report_replaces_the_file_whole(asked: list[Experiment], tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to(file)
    assert call("--json", str(link)).exit_code == 0
    assert set(json.loads(file.read_text())) >= {"environment", "results"}
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "run.json"]


def test_the_report_can_go_to_what_is_no_regular_file(asked: list[Experiment]) -> None:
    assert call("--json", "/dev/null").exit_code == 0
    assert not Path("/dev/null").is_file()


def test_a_file_that_cannot_be_written_is_found_out_before_anything_is_measured(
    asked: list[Experiment], tmp_path: Path
) -> None:
    done = call("--json", str(tmp_path / "missing" / "run.json"))
    assert isinstance(done.exception, EbpfnetError)
    assert "cannot write" in str(done.exception)
    assert asked == []
