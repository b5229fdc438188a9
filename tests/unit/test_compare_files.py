"""Experiments and reports as files: what is read back, and what bad files are told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cli.comparison import View
from datapath.compare import Experiment, Report, Sample, files, html, workloads
from datapath.compare.environment import differences
from datapath.compare.report import Gap, ratios_of, results_of, samples_of
from datapath.compare.verdicts import verdicts_of
from datapath.compare.workloads.base import Effort
from datapath.errors import InvalidInput
from datapath.labs import catalogue
from tests.support import reports

LOADS = {"tcp_rr": workloads.get("tcp_rr")}
SAMPLES = {
    (mode, "tcp_rr"): [
        Sample(cost + number, sent=100, arrived=99, details={"p99": number - 1.0})
        for number in range(3)
    ]
    for mode, cost in (("veth", 13.0), ("bridge", 15.0))
}


def report() -> Report:
    results = results_of(SAMPLES, LOADS, 0)
    return Report(
        environment={"kernel": "6.18", "knobs": {"STP": "off"}, "measured_on_cpu": 1},
        experiment={
            "modes": ["veth", "bridge"],
            "workloads": ["tcp_rr"],
            "rounds": None,
            "precision": 2.5,
            "max_time": 60.0,
            "cpu": 0,
            "seed": 4711,
            "effort": {"packets": 1000, "seconds": 2},
            "check": False,
        },
        results=results,
        ratios=ratios_of(SAMPLES, 0),
        verdicts=verdicts_of(results, LOADS, 0),
        gaps=(Gap("macvlan", "tcp_rr", "nothing arrives"),),
        ended="3 rounds, as asked for",
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.json"
    files.save(path, report())
    return path


def experiment(tmp_path: Path, text: str) -> Experiment:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return files.load_experiment(path)


def test_a_report_is_read_back_as_it_was(saved: Path) -> None:
    read, experiment = files.load_to_repeat(saved)
    assert read == files.load_report(saved) == report()
    assert experiment == Experiment(
        modes=("veth", "bridge"),
        workloads=("tcp_rr",),
        precision=2.5,
        max_time=60,
        cpu=0,
        seed=4711,
        effort=Effort(packets=1000, seconds=2),
    )


def test_samples_are_got_back_from_results_with_all_that_was_lost() -> None:
    back = samples_of(report().results)
    assert results_of(back, LOADS, 0) == report().results
    assert {cell: [s.value for s in taken] for cell, taken in back.items()} == {
        cell: [s.value for s in taken] for cell, taken in SAMPLES.items()
    }


def test_a_run_of_another_kit_can_be_looked_at_but_not_repeated(saved: Path) -> None:
    saved.write_text(saved.read_text().replace('"bridge"', '"token-ring"'))
    assert files.load_report(saved).result("token-ring", "tcp_rr")
    with pytest.raises(
        InvalidInput, match=r"run\.json:\d+: experiment\.modes\[1\]: there is no mode 'token-ring'"
    ):
        files.load_to_repeat(saved)


def test_the_example_is_an_experiment_that_can_be_run(tmp_path: Path) -> None:
    example = files.load_experiment(files.EXAMPLE)
    assert example.modes == ("veth", "bridge", "routed", "ebpf", "tc:clsact")
    assert example.workloads == ("ns_per_packet", "ns_per_packet:size=1500", "tcp_rr")
    assert (example.precision, example.max_time, example.rounds) == (5, 120, None)
    uncommented = files.EXAMPLE.read_text().replace("\n# rounds:", "\nrounds:")
    uncommented = uncommented.replace("\n# cpu:", "\ncpu:").replace("\n# seed:", "\nseed:")
    whole = experiment(tmp_path, uncommented)
    assert (whole.rounds, whole.cpu, whole.seed) == (10, 0, 1)


def test_what_an_experiment_leaves_out_is_as_by_default(tmp_path: Path) -> None:
    assert experiment(tmp_path, "rounds: 3") == Experiment(rounds=3)
    assert experiment(tmp_path, "rounds: null\nmodes: ebpf") == Experiment(modes=("ebpf",))


def test_a_users_own_mode_lies_where_the_experiment_does(tmp_path: Path) -> None:
    (tmp_path / "prog.c").touch()
    found = experiment(tmp_path, "modes: [veth, mine=prog.c:handle]")
    assert found.modes == ("veth", f"mine={tmp_path}/prog.c:handle")
    assert list(found.labelled()) == ["veth", "mine"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: nothing is written here"),
        ("- veth", ":1: a list where a mapping"),
        ("modes: [veth\nrounds: 3", ":2: not YAML"),
        ("modes:\n  - veth\n  - token-ring", ":3: modes[1]: there is no mode 'token-ring'; choose"),
        ("rounds: 3\nworkloads: [tcp_rrr]", ":2: workloads[0]: there is no workload 'tcp_rrr'"),
        ("modes: [veth, veth]", ":1: modes: mode veth is given twice"),
        ("modes: []", ":1: modes: nothing is written here"),
        ("modes: [[veth]]", ":1: modes[0]: a list where a single value belongs"),
        ("modes: [mine=no.c:handle]", "modes[0]: mine="),
        ("modes: {veth: 1}", ":1: modes: a mapping where a list belongs"),
        ("check: true", ":1: a check sets one mode against itself, and 3 are given"),
        ("check: maybe", ":1: check: 'maybe' is neither true nor false"),
        ("\nround: 3", ":2: round: there is no such field; known here: modes, workloads, rounds"),
        ("rounds: 3\nrounds: 4", ":2: rounds: it stands there twice"),
        ("rounds: 0", ":1: rounds: 0 is out of range; write one of 1 to 1000"),
        ("rounds: 1e9", ":1: rounds: '1e9' is not a whole number"),
        ("rounds: -3", ":1: rounds: -3 is out of range"),
        ("rounds: three", ":1: rounds: 'three' is not a whole number"),
        ("precision: tight", ":1: precision: 'tight' is not a number"),
        ("precision: .nan", ":1: precision: '.nan' is not a number"),
        ("precision: nan", ":1: precision: nan is out of range"),
        ("precision: inf", ":1: precision: inf is out of range"),
        ("precision: 0", ":1: precision: 0 is out of range"),
        ("max_time: -1", ":1: max_time: -1 is out of range"),
        ("cpu: first", ":1: cpu: 'first' is not a whole number"),
        ("seed: 99999999999", ":1: seed: 99999999999 is out of range"),
        ("effort: 3", ":1: effort: a single value where a mapping"),
        ("effort:\n  seconds: 0", ":2: effort.seconds: 0 is out of range"),
        ("effort:\n  minutes: 1", ":2: effort.minutes: there is no such field"),
        ("a: &a [x]\nmodes: *a", "anchors and aliases"),
        ("modes: !!python/name:os.system", "tag tag:yaml.org,2002:python/name:os.system"),
        ('modes: ["ve\\eth"]', ":1: modes[0]: '\\x1b' is a control character"),
        ("[" * 50 + "]" * 50, ":1: nested too deeply"),
    ],
)
def test_a_bad_experiment_is_refused_with_file_line_and_field(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput) as caught:
        experiment(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/experiment.yaml")
    assert message in str(caught.value)


HOSTILE_LAB = """\
title: A trap
nodes:
  a: {interfaces: {eth0: 10.0.0.1/24}, PROGRAMS: [touch /tmp/owned]}
  b: {interfaces: {eth0: 10.0.0.2/24}}
links: [a:eth0 -- b:eth0]
"""


@pytest.mark.parametrize("programs", ["commands", "processes"])
def test_a_lab_from_a_report_starts_no_programs(programs: str, tmp_path: Path) -> None:
    lines = HOSTILE_LAB.replace("PROGRAMS", programs).splitlines()
    text = json.dumps({"lab": "trap", "declaration": lines, "workloads": ["tcp_rr"]}, indent=1)
    with pytest.raises(InvalidInput, match=r"declaration: it starts programs, as root"):
        experiment(tmp_path, text)


def test_an_experiment_in_a_lab_names_it_by_name_or_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(catalogue.declared("bridge").text)
    for name in ("bridge", "./mine.yaml"):
        found = experiment(tmp_path, f"lab: {name}\nbetween: [ns2, ns1]\nmodes: [declared, xdp]")
        assert (found.modes, found.between) == (("declared", "xdp"), ("ns2", "ns1"))
        assert found.lab == ("bridge" if name == "bridge" else "mine")
        assert "\n".join(found.declaration) + "\n" == catalogue.declared("bridge").text
    assert experiment(tmp_path, "lab: bridge").modes == ("declared", "tc-peer")
    assert experiment(tmp_path, "lab: veth-pair").modes == ("declared",)
    with pytest.raises(InvalidInput, match="modes: mode veth is none that a lab can be switched"):
        experiment(tmp_path, "lab: bridge\nmodes: [veth]")


def change(document: Any, path: str, value: Any) -> None:
    """Put a value at a dotted path; None takes it away."""
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        document = document[part]
    if value is None:
        del document[last]
    else:
        document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", None, "this is no report of ebpfnet"),
        ("schema", 99, "schema: 99 is not the form that this version reads (1)"),
        ("schema", "one", "schema: 'one' is not a whole number"),
        ("results", None, "field results is missing"),
        ("results", {"a": 1}, "results: a mapping where a list belongs"),
        ("environment.knobs", [1], "environment.knobs: a list where a mapping"),
        (
            "environment.knobs.STP",
            "\x1b[2J",
            "environment.knobs.STP: '\\x1b' is a control character",
        ),
        ("environment.modes", {"veth": 1}, "environment.modes.veth: a single value where"),
        ("environment.modes", {"veth": {"path": [1]}}, "environment.modes.veth.path[0]: a single"),
        ("environment.noise", {"causes": {}}, "environment.noise.causes: a mapping where a list"),
        ("environment", [1], "environment: a list where a mapping"),
        ("experiment", "x", "experiment: a single value where a mapping"),
        ("surprise", 1, "surprise: there is no such field"),
        ("results.0.mode", None, "results[0]: field mode is missing"),
        ("results.0.mode", "\x1b[2J", "results[0].mode: '\\x1b' is a control character"),
        ("results.0.mode", "x" * 501, "results[0].mode: this is no name"),
        ("results.0.mode", ["veth"], "results[0].mode: a list where a single value belongs"),
        ("results.0.median", "fast", "results[0].median: 'fast' is not a number"),
        ("results.0.median", -1, "results[0].median: -1 is out of range"),
        ("results.0.low", 0, "results[0].low: 0 is out of range"),
        ("results.0.samples.1", float("nan"), "results[0].samples[1]: NaN is out of range"),
        ("results.0.samples.1", float("inf"), "results[0].samples[1]: Infinity is out of range"),
        ("results.0.samples.1", 1e300, "results[0].samples[1]: 1e+300 is out of range"),
        ("results.0.samples", [], "results[0]: 0 samples"),
        ("results.1.samples", [1.0], "results[1]: 1 samples where there are 3 rounds"),
        ("results.2.mode", "veth", "results[2]: it stands there twice"),
        ("results.0.sent", -1, "results[0].sent: -1 is out of range"),
        ("ratios.0.ratio", "", "ratios[0].ratio: nothing is written here"),
        ("verdicts.0.verdict", "best", "verdicts[0].verdict: 'best' is not known; write one of"),
        ("gaps.0.reason", {}, "gaps[0].reason: a mapping where a single value belongs"),
    ],
)
def test_a_bad_report_is_refused_with_file_line_and_field(
    path: str, value: Any, message: str, saved: Path
) -> None:
    document = json.loads(saved.read_text())
    change(document, path, value)
    saved.write_text(json.dumps(document, indent=2))
    with pytest.raises(InvalidInput) as caught:
        files.load_report(saved)
    assert str(caught.value).startswith(f"{saved}:")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1,\n "results": [', ":2: not JSON"),
        ("", ":1: not JSON"),
        ("[" * 100_000, ": not a report"),
        (f'{{"schema": {"9" * 5000}}}', ": not a report"),
        ("[]", ":1: a list where a mapping"),
        ('"\\ud800"', ":1: "),
    ],
)
def test_what_is_no_report_at_all_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        files.load_report(path)
    assert f"{path}{message}" in str(caught.value)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read .*missing\.json: No such file"):
        files.load_report(tmp_path / "missing.json")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="binary: not text"):
        files.load_experiment(binary)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(value=PLAIN, place=st.integers(0, 200))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_a_report_holds_it_is_read_or_refused(value: Any, place: int, saved: Path) -> None:
    document = json.loads(json.dumps(report().document()))
    places = list(paths(document))
    change(document, places[place % len(places)], value)
    saved.write_text(json.dumps(document))
    said = refusal(files.load_to_repeat, saved)
    assert not said or said.startswith(str(saved))


@example(value=float("nan"), place=1)
@given(value=PLAIN | st.just(""), place=st.integers(0, 10_000))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_read_can_be_shown(value: Any, place: int, saved: Path) -> None:
    document = json.loads(json.dumps(reports.report(reports.ROWS[:1]).document()))
    document["environment"]["knobs"] = {"MTU": "1500"}  # without dots, which part a place
    document["environment"]["noise"] = {"stolen": 0.0, "causes": ["another CPU was busy"]}
    places = [each for each in paths(document) if each.startswith(("environment", "experiment"))]
    change(document, places[place % len(places)], value)
    saved.write_text(json.dumps(document))
    try:
        read = files.load_report(saved)
    except InvalidInput:
        return
    assert "<html" in html.render(read)
    assert differences(read.environment, read.environment) == ()
    View("table", details=True).report(read)


@given(
    text=st.text(max_size=200) | st.from_regex(r"(modes|rounds|effort): .{0,30}", fullmatch=True)
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_an_experiment_says_it_is_read_or_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, errors="replace")
    said = refusal(files.load_experiment, path)
    assert not said or said.startswith(str(path))


def refusal(load: Callable[[Path], object], path: Path) -> str:
    """What a file is refused with, "" where it is read."""
    try:
        load(path)
    except InvalidInput as error:
        return str(error)
    return ""


def paths(value: Any, path: str = "") -> list[str]:
    """Every place in a document, dotted."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [path] if path else []
    for key, each in inner:
        found += paths(each, f"{path}.{key}" if path else str(key))
    return found
