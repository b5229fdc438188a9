"""compare on the machine itself: what it reports, and that it leaves nothing behind.

That nothing is left is for the fixture `leaves_nothing_behind` to judge, after every test here.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from datapath.compare import Effort, Experiment, Report, files, run, workloads
from datapath.compare.lab import Lab
from datapath.compare.workloads.base import Plain, Sample
from datapath.errors import Busy, Conflict, EbpfnetError
from datapath.kernel.bpf import features
from datapath.kernel.net import firewall, sysctl
from datapath.labs import catalogue, lifecycle, needs
from tests.support import hosts
from tests.support.crash import Launcher

# Enough to pass through everything, too few to say anything about speed.
LITTLE = Effort(packets=20_000)
BRIDGE_NF = "net/bridge/bridge-nf-call-iptables"
RESULT_KEYS = {"mode", "workload", "detail", "unit", "median", "low", "high", "samples"}
RESULT_KEYS |= {"sent", "arrived", "lossy"}


def measured(*modes: str, workload: str = "ns_per_packet", rounds: int = 1) -> Report:
    return run(Experiment(modes, (workload,), rounds, effort=LITTLE))


def declared(folder: Path, *lines: str) -> str:
    """An experiment file of ns_per_packet with little effort."""
    path = folder / "experiment.yaml"
    effort = "effort: {packets: 20000}"
    path.write_text("\n".join(["workloads: ns_per_packet", effort, *lines]))
    return str(path)


def add_workload(
    monkeypatch: pytest.MonkeyPatch, name: str, sample: Callable[[Lab, Effort], Sample]
) -> None:
    """One more beside the kit's, of that sample."""
    made = Plain(name, "", "ns", "lower", tools=(), sample=sample)
    monkeypatch.setattr(workloads, "ALL", (*workloads.ALL, made))


@pytest.fixture
def bridge_nf() -> Iterator[None]:
    """bridge-nf-call-iptables on, as it is on many hosts."""
    before = sysctl.read(BRIDGE_NF)
    if before is None:
        pytest.skip("this kernel has no bridge netfilter")
    sysctl.write(BRIDGE_NF, "1")
    try:
        yield
    finally:
        sysctl.write(BRIDGE_NF, before)


def test_a_run_reports_every_mode_and_round_as_json(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    experiment = declared(tmp_path, "rounds: 2")
    hosts.ebpfnet("compare", experiment, "--json", str(file))
    document = json.loads(file.read_text())
    results = [each for each in document["results"] if not each["detail"]]
    assert [each["mode"] for each in results] == ["veth", "bridge", "ebpf"]
    for each in results:
        assert set(each) == RESULT_KEYS
        assert (each["workload"], each["unit"], len(each["samples"])) == ("ns_per_packet", "ns", 2)
        assert 0 < each["low"] <= each["median"] <= each["high"]
    assert {(each["mode"], each["to"]) for each in document["ratios"]} == (
        {("veth", "bridge"), ("bridge", "veth"), ("ebpf", "bridge"), ("ebpf", "veth")}
    )
    assert document["experiment"]["rounds"] == 2

    assert document["experiment"]["seed"] >= 0
    assert len(document["verdicts"]) == 3
    assert document["ended"] == "2 rounds, as asked for"

    environment = document["environment"]
    source = (hosts.CHECKOUT / "bpf" / "endpoint.c").read_bytes()
    assert environment["sources"]["endpoint.c"] == hashlib.sha256(source).hexdigest()
    assert 0 <= environment["noise"]["other_cpus_busy"] <= 100
    assert environment["kernel"] == os.uname().release
    assert environment["legacy_tables"] == firewall.legacy_tables()
    assert environment["versions"]["ebpfnet"]
    assert environment["versions"]["bcc"]
    assert set(environment["offloads"]["veth"]) == {"sender", "receiver"}
    assert set(environment["offloads"]["bridge"]) == (
        {"sender", "receiver", "sender host", "receiver host"}
    )
    ends = [end for mode in environment["offloads"].values() for end in mode.values()]
    assert all(end["rx-gro"] for end in ends)
    assert environment["modes"]["bridge"]["hook"] is None
    assert environment["modes"]["ebpf"]["name"] == "tc-peer"
    assert environment["modes"]["ebpf"]["hook"] in ("tcx", "clsact")


@pytest.mark.parametrize(
    ("workload", "unit", "modes"),
    [
        ("ns_per_packet", "ns", ("veth", "bridge", "routed", "tc", "ebpf", "xdp")),
        ("tcp_stream", "Gbit/s", ("veth", "xdp")),
        ("tcp_rr", "us", ("ebpf",)),
    ],
)
def test_workloads_cross_modes(workload: str, unit: str, modes: tuple[str, ...]) -> None:
    for tool in workloads.get(workload).tools:
        if not shutil.which(tool.command):
            pytest.skip(f"needs {tool.command}")
    report = measured(*modes, workload=workload)
    results = [result for result in report.results if not result.detail]
    assert [result.mode for result in results] == list(modes)
    assert all(result.unit == unit and result.median > 0 for result in results)


@pytest.mark.usefixtures("bridge_nf")
def test_knobs_are_set_while_measuring_and_put_back_when_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def sample(lab: Lab, effort: Effort) -> Sample:
        seen.append(sysctl.read(BRIDGE_NF))
        if len(seen) == 2:
            raise EbpfnetError("the second one fails")
        return Sample(1.0)

    add_workload(monkeypatch, "fails", sample)
    with pytest.raises(EbpfnetError, match="the second one fails"):
        measured("veth", "bridge", "ebpf", workload="fails")
    assert seen == ["0", "0"]
    assert sysctl.read(BRIDGE_NF) == "1"


@pytest.mark.usefixtures("bridge_nf")
def test_knobs_are_stated_with_what_they_were() -> None:
    knobs = measured("veth").environment["knobs"]
    assert knobs["net.bridge.bridge-nf-call-iptables"] == "0 (was 1)"


def test_the_process_runs_where_it_did_before() -> None:
    before = os.sched_getaffinity(0)
    assert measured("veth").environment["measured_on_cpu"] == min(before)
    assert os.sched_getaffinity(0) == before


def test_a_second_run_at_the_same_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(lab: Lab, effort: Effort) -> Sample:
        with pytest.raises(Busy, match="another comparison is under way"):
            measured("veth")
        return Sample(1.0)

    add_workload(monkeypatch, "meanwhile", sample)
    assert measured("veth", workload="meanwhile").results[0].samples == (1.0,)


def test_a_lab_is_measured_as_declared_and_switched_and_its_report_says_all(
    tmp_path: Path,
) -> None:
    lab = catalogue.declared("docker")
    experiment = Experiment(workloads=("ns_per_packet",), rounds=2, effort=LITTLE)
    report = run(experiment.in_lab(lab, ()))
    found = {each.mode: each for each in report.results if not each.detail}
    assert found.keys() == {"declared", "tc-peer"}
    assert all(each.sent == each.arrived > 0 for each in found.values())
    assert report.environment["modes"]["declared"]["hook"] is None
    assert report.environment["modes"]["tc-peer"]["hook"] in ("tcx", "clsact")
    assert set(report.environment["offloads"]["declared"]) == (
        {"sender", "receiver", "sender host", "receiver host"}
    )
    file = tmp_path / "run.json"
    files.save(file, report)
    again = files.load_to_repeat(file)[1]
    assert again.labelled().keys() == found.keys()
    assert asdict(again) == asdict(
        replace(experiment.in_lab(lab, ()), cpu=again.cpu, seed=again.seed)
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--lab veth-pair declared tc", "do not hang from one bridge or router"),
        ("--lab bridge veth", "mode veth is none that a lab can be switched to"),
        ("--lab veth-pair tc", "in lab veth-pair, ns0 and ns1 do not hang"),
        ("--lab bridge --between ns1 zz", "lab bridge has no node zz; it has ns1, ns2"),
        ("--lab vlan --between a1 b1", "a1 does not reach b1 over IPv4"),
        ("--between ns1 ns2", "give --lab"),
        (
            "--lab bridge --workload ns_per_packet:endpoints=9 --rounds 1",
            "lab bridge has the endpoints that it declares, and no more",
        ),
    ],
)
def test_what_cannot_be_measured_in_a_lab_is_refused(arguments: str, says: str) -> None:
    done = hosts.ebpfnet("compare", *arguments.split(), check=False)
    assert done.returncode > 0
    assert done.stdout == ""
    assert says in done.stderr


def test_a_lab_without_a_bridge_is_checked_as_declared() -> None:
    arguments = ("--check", "--workload", "ns_per_packet", "--rounds", "1", "-o", "json")
    done = hosts.ebpfnet("compare", "--lab", "veth-pair", *arguments, check=False)
    assert "a single round has no interval" in done.stderr
    modes = {each["mode"] for each in json.loads(done.stdout)["results"]}
    assert modes == {"declared", "declared again"}


def test_what_a_lab_lacks_is_said_in_the_labs_words() -> None:
    lacking = [lab for lab in catalogue.presets() if needs.missing(lab)]
    if not lacking:
        pytest.skip("this kernel can make every lab")
    done = hosts.ebpfnet("compare", "--lab", lacking[0].name, "declared", check=False)
    assert f"ebpfnet: lab {lacking[0].name} cannot be built here: " in done.stderr


def test_a_lab_that_is_up_is_left_alone() -> None:
    lifecycle.up(catalogue.declared("bridge"))
    try:
        done = hosts.ebpfnet("compare", "--lab", "bridge", check=False)
        assert "lab bridge is up, and is to be built anew" in done.stderr
        assert [lab.name for lab in catalogue.running()] == ["bridge"]
    finally:
        lifecycle.down("bridge")


@pytest.mark.parametrize("moment", ["apply MakeCable", "bpf_link_create", "revert MakeNamespace"])
def test_a_run_in_a_lab_that_is_killed_is_undone_by_gc(moment: str, kit: Launcher) -> None:
    arguments = ("compare", "--lab", "docker", "--workload", "ns_per_packet", "--rounds", "1")
    assert kit.run(*arguments, at=moment).killed
    hosts.ebpfnet("gc")


def compare(mode: str) -> tuple[str, ...]:
    return ("compare", mode, "--workload", "ns_per_packet", "--rounds", "1")


@pytest.mark.parametrize(
    ("mode", "moment"),
    [
        ("veth", "apply MakePair"),
        ("bridge", "apply SetSysctl"),
        ("bridge", "apply SetOffloads"),
        ("ebpf", "apply AttachProgram"),
        ("routed", "revert SetOffloads"),
        ("bridge", "revert SetSysctl"),
    ],
)
def test_what_a_killed_run_leaves_is_undone_by_gc(mode: str, moment: str, kit: Launcher) -> None:
    assert kit.run(*compare(mode), at=moment).killed
    hosts.ebpfnet("gc")


def test_what_a_killed_run_leaves_is_undone_by_the_next_one(kit: Launcher) -> None:
    assert kit.run(*compare("ebpf"), at="apply AttachProgram").killed
    measured("veth")


@pytest.mark.parametrize("moment", ["apply MakeBridge", "revert MakeBridge"])
def test_ctrl_c_undoes_everything(moment: str, kit: Launcher) -> None:
    done = kit.run(*compare("bridge"), at=moment, signal=signal.SIGINT)
    assert done.code == 130
    assert done.stderr.splitlines()[-1] == "ebpfnet: interrupted; what was begun is undone"
    assert done.stdout == ""


def test_interrupted_it_shows_and_keeps_whole_rounds_and_goes_on_from_them(
    tmp_path: Path,
) -> None:
    file, partial = tmp_path / "run.json", tmp_path / "run.json.partial"
    experiment = declared(tmp_path, "modes: [veth, bridge]", "rounds: 1000")
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "compare", experiment, "--json", str(file)],
        cwd=hosts.CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert hosts.until(partial.exists, 30)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [line.split()[1] for line in stdout.splitlines()[1:3]] == ["veth", "bridge"]
    assert f"go on by: ebpfnet compare --resume {file}\n" in stderr
    assert stderr.splitlines()[-1] == "ebpfnet: interrupted; what was begun is undone"

    kept = json.loads(partial.read_text())
    rounds = len(kept["results"][0]["samples"])
    kept["experiment"]["rounds"] = rounds + 1
    partial.write_text(json.dumps(kept))
    hosts.ebpfnet("compare", "--resume", str(file))
    assert not partial.exists()
    for before, after in zip(kept["results"], json.loads(file.read_text())["results"], strict=True):
        assert after["samples"][:rounds] == before["samples"]
        assert len(after["samples"]) == rounds + 1
        assert after["sent"] > before["sent"]


def test_a_users_own_mode_is_measured_beside_the_rest() -> None:
    own = f"mine={hosts.CHECKOUT / 'bpf' / 'example.c'}:forward"
    report = measured("veth", own)
    assert {result.mode for result in report.results} == {"veth", "mine"}
    assert report.environment["modes"]["mine"]["hook"] in ("tcx", "clsact")
    assert str(hosts.CHECKOUT / "bpf" / "example.c") in report.environment["sources"]


def test_what_there_is_here_is_listed_and_what_is_not_has_a_reason() -> None:
    listed = json.loads(hosts.ebpfnet("compare", "--list", "-o", "json").stdout)
    assert set(listed) == {"modes", "workloads"}
    for each in (*listed["modes"], *listed["workloads"]):
        assert set(each) == {"name", "available", "reason"}
        assert each["available"] is (each["reason"] == "")
    available = {each["name"] for each in listed["modes"] if each["available"]}
    assert {"veth", "bridge"} <= available


def test_a_lab_that_loses_an_interface_fails_in_one_line_and_is_undone(
    kit: Launcher,
) -> None:
    remove = ["ip", "link", "del", "br-compare-lab"]
    done = kit.run(*compare("bridge"), at="apply SetOffloads", command=remove)
    assert done.code == 1
    assert done.stderr.splitlines()[-1].startswith("ebpfnet: mode bridge does not join the lab")


def test_a_network_with_the_name_of_the_lab_is_left_alone(name: str) -> None:
    network = ("--network", "compare-lab")
    hosts.ebpfnet("attach", f"{name}a", f"{name}b", *network)
    try:
        with pytest.raises(Conflict, match="ebpfnet detach --network compare-lab"):
            measured("veth")
        assert hosts.ping(f"{name}a", "10.1.1.3")
    finally:
        hosts.ebpfnet("detach", *network)


def test_a_kernel_without_tcx_is_measured_by_clsact(monkeypatch: pytest.MonkeyPatch) -> None:
    has = features.has
    monkeypatch.setattr(features, "has", lambda what: what is not features.TCX and has(what))
    report = measured("veth", "ebpf")
    assert {result.mode for result in report.results} == {"veth", "ebpf"}
    assert report.environment["modes"]["ebpf"]["hook"] == "clsact"


@pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
def test_servers_die_with_a_run_that_is_killed() -> None:
    argv = ("compare", "veth", "--workload", "tcp_stream", "--seconds", "60")
    with subprocess.Popen(
        [sys.executable, "-m", "cli", *argv],
        cwd=hosts.CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            receiver = f"cmp{process.pid}-2"
            assert hosts.until(lambda: Path("/run/netns", receiver).exists(), 20)
            assert hosts.until(lambda: hosts.listening(5201, netns=receiver), 20)
        finally:
            process.kill()
    assert hosts.until(lambda: not hosts.listening(5201, netns=receiver))
    hosts.ebpfnet("gc")


def test_bad_input_is_refused_in_one_line_before_anything_is_done() -> None:
    for argv, message in (
        (["token-ring"], "there is no mode 'token-ring'; choose one of tc-peer"),
        (["--workload", "x"], "there is no workload 'x'; choose from ns_per_packet"),
        (["--cpu", "4096"], "CPU 4096 is not this process's to run on"),
        (["--json", "/nowhere/run.json"], "cannot write /nowhere/run.json"),
    ):
        done = hosts.ebpfnet("compare", *argv, check=False)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"ebpfnet: {message}")
        assert done.stderr.count("\n") == 1
