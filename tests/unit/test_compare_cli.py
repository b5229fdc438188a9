"""The command compare: what it asks for, what it says, and what it writes. Nothing is measured."""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cli import compare as command
from cli import progress
from cli.comparison import View
from datapath import modes
from datapath.compare import Experiment, Report, Sample, Watcher, files, plot, workloads
from datapath.compare.report import Gap, ratios_of, results_of
from datapath.compare.verdicts import verdicts_of
from datapath.errors import EbpfnetError, InvalidInput

LOADS = {workload.name: workload for workload in workloads.DEFAULT}
SLOW, FAST = [1000.0, 1010.0, 990.0], [500.0, 510.0, 490.0]
ALL_FAST = {"veth": FAST, "bridge": SLOW, "ebpf": FAST}


def report(costs: dict[str, Sequence[float]], lost: int = 0) -> Report:
    samples = {
        (mode, "ns_per_packet"): [Sample(v, 1000, 1000 - lost) for v in taken]
        for mode, taken in costs.items()
    }
    results = results_of(samples, LOADS, seed=0)
    return Report(
        environment={"measured_on_cpu": 3, "knobs": {"STP": "off"}, "noise": {"causes": []}},
        experiment={"modes": list(costs), "workloads": ["ns_per_packet"], "rounds": 3, "seed": 9},
        results=results,
        ratios=ratios_of(samples, seed=0),
        verdicts=verdicts_of(results, LOADS, seed=0),
        ended="3 rounds, as asked for",
    )


class Kit:
    """Stands in for measuring: notes what it is asked for, and answers with what it is to find."""

    def __init__(self) -> None:
        self.asked: list[Experiment] = []
        self.begun: list[Report | None] = []
        self.finds = report(ALL_FAST)
        self.fails: BaseException | None = None  # after two rounds

    def run(self, experiment: Experiment, watcher: Watcher, begun: Report | None = None) -> Report:
        self.asked.append(experiment)
        self.begun.append(begun)
        watcher.doing("ns_per_packet by veth, round 1", 0)
        watcher.round(replace(self.finds, ended=""))
        if self.fails:
            raise self.fails
        return self.finds


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Kit:
    made = Kit()
    monkeypatch.setattr("datapath.compare.run", made.run)
    monkeypatch.setattr("cli.options.require_privileges", lambda: None)
    monkeypatch.setenv("COLUMNS", "80")
    return made


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command.compare, arguments)


def test_without_arguments_everything_is_as_by_default(kit: Kit) -> None:
    assert call().exit_code == 0
    assert kit.asked == [Experiment()]
    assert kit.asked[0].modes == ("veth", "bridge", "ebpf")
    assert kit.asked[0].workloads == ("ns_per_packet", "tcp_stream", "tcp_rr")
    assert (kit.asked[0].rounds, kit.asked[0].precision) == (None, 5)


def test_options_arrive_in_the_experiment(kit: Kit) -> None:
    call(
        *("tc:clsact", "xdp", "--workload", "tcp_rr, tcp_stream", "--rounds", "9", "--cpu", "1"),
        *("--seconds", "3", "--precision", "2.5", "--max-time", "90", "--seed", "7"),
    )
    (asked,) = kit.asked
    assert asked.modes == ("tc:clsact", "xdp")
    assert asked.workloads == ("tcp_rr", "tcp_stream")
    assert (asked.rounds, asked.cpu, asked.effort.seconds) == (9, 1, 3)
    assert (asked.precision, asked.max_time, asked.seed) == (2.5, 90, 7)


def test_a_users_own_mode_comes_beside_the_others(kit: Kit, tmp_path: Path) -> None:
    call("--mode", f"mine={tmp_path}/prog.c:handle")
    assert kit.asked[0].modes == ("veth", "bridge", "ebpf", f"mine={tmp_path}/prog.c:handle")
    call("veth", "--mode", "mine=prog.c:handle")
    assert kit.asked[1].modes == ("veth", f"mine={Path.cwd()}/prog.c:handle")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tcp_rr", ["tcp_rr"]),
        ("tcp_rr,tcp_stream", ["tcp_rr", "tcp_stream"]),
        ("tcp_rr,x", ["tcp_rr", "x"]),
        (
            "ns_per_packet:size=64,flows=9,tcp_rr,ns_per_packet:size=1500",
            ["ns_per_packet:size=64,flows=9", "tcp_rr", "ns_per_packet:size=1500"],
        ),
    ],
)
def test_commas_part_workloads_and_their_options(text: str, names: list[str], kit: Kit) -> None:
    call("--workload", text, "--workload", "tcp_stream")
    assert kit.asked[0].workloads == (*names, "tcp_stream")


@pytest.mark.parametrize(
    "wrong",
    [
        *(["--rounds", "0"], ["--seconds", "0"], ["--cpu", "-1"], ["--precision", "0"]),
        *(["--max-time", "0"], ["--seed", "-1"], ["--check", "--list"], ["--from"]),
        *(["--repeat", "a.json", "veth"], ["--resume", "a.json", "--rounds", "3"]),
        *(["a.yaml", "veth"], ["--from", "a", "b", "c"], ["--resume", "a.json", "veth"]),
    ],
)
def test_what_contradicts_itself_is_refused(wrong: list[str], kit: Kit) -> None:
    assert call(*wrong).exit_code == 2
    assert kit.asked == []


def test_a_file_is_an_experiment_and_options_change_it(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("modes: [veth, xdp]\nrounds: 4\neffort: {packets: 9}\n")
    call(str(file), "--seconds", "2", "--workload", "tcp_rr")
    (asked,) = kit.asked
    assert (asked.modes, asked.rounds, asked.workloads) == (("veth", "xdp"), 4, ("tcp_rr",))
    assert (asked.effort.packets, asked.effort.seconds) == (9, 2)


def test_the_example_is_printed_as_it_is(kit: Kit) -> None:
    assert call("--example").stdout == files.EXAMPLE.read_text()


def test_the_table_shows_medians_intervals_ratios_verdicts_and_a_last_line(kit: Kit) -> None:
    done = call()
    heading, *rows, empty, first, second, third, empty_too, last = done.stdout.splitlines()
    assert heading.split() == (
        ["workload", "mode", "median", "unit", "95", "%", "interval", "of", "bridge", "of", "veth"]
    )
    assert [row.split()[1] for row in rows] == ["veth", "bridge", "ebpf"]
    assert "490 to 510" in rows[2]
    assert rows[2].endswith("  0.50 (0.49 to 0.51)  1.00 (1.00 to 1.00)")
    assert empty == empty_too == ""
    assert (first, second, third) == tuple(each.sentence for each in kit.finds.verdicts)
    assert last == kit.finds.summary()


def test_bars_are_drawn_where_the_terminal_is_wide_enough(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not set("█▒░") & set(call().stdout)
    monkeypatch.setenv("COLUMNS", "160")
    rows = call().stdout.splitlines()[1:4]
    lengths = [row.count("█") for row in rows]
    assert lengths[0] == lengths[2] < lengths[1]
    assert max(map(len, rows)) <= 160


def test_conditions_are_stated_beside_the_table_and_nothing_is_drawn_into_a_pipe(kit: Kit) -> None:
    kit.finds = replace(kit.finds, gaps=(Gap("macvlan", "tcp_rr", "it has no veth"),))
    kit.finds.environment["noise"]["causes"] = ["the cat"]
    done = call()
    assert "measured on CPU 3" in done.stderr
    assert "STP: off" in done.stderr
    assert "3 rounds, as asked for; seed 9" in done.stderr
    assert "not measured: tcp_rr by macvlan: it has no veth" in done.stderr
    assert "may have disturbed: the cat" in done.stderr
    assert "%" not in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def test_details_are_in_the_table_for_whoever_asks(kit: Kit) -> None:
    (first, *others) = kit.finds.results
    kit.finds = replace(kit.finds, results=(first, replace(first, detail="hook"), *others))
    assert "ns_per_packet hook" not in call().stdout
    assert "\nns_per_packet hook  veth" in call("--details").stdout


def test_columns_of_references_that_were_not_measured_are_left_out(kit: Kit) -> None:
    kit.finds = report({"bridge": SLOW, "ebpf": FAST})
    assert call().stdout.splitlines()[0].endswith("of bridge")


def test_rows_that_lost_too_much_are_marked(kit: Kit) -> None:
    assert "lost" not in call().stdout
    kit.finds = report(ALL_FAST, lost=4)
    heading, *rows = call().stdout.splitlines()
    assert heading.endswith("lost")
    assert [row.endswith("0.40 % (!)") for row in rows[:3]] == [True] * 3


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_a_document_is_all_there_is_on_stdout(
    form: str, parse: Callable[[str], Any], kit: Kit
) -> None:
    document = parse(call("-o", form).stdout)
    assert set(document) == {
        *("schema", "environment", "experiment", "results", "ratios", "verdicts", "gaps", "ended")
    }
    assert document["results"][0] == {
        "mode": "veth",
        "workload": "ns_per_packet",
        "detail": "",
        "unit": "ns",
        "median": 500.0,
        "low": 490.0,
        "high": 510.0,
        "samples": FAST,
        "sent": 3000,
        "arrived": 3000,
        "lossy": False,
    }


def test_the_report_replaces_the_file_whole(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to(file)
    assert call("--json", str(link)).exit_code == 0
    assert files.load_report(file) == kit.finds
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "run.json"]


def test_the_report_can_go_to_what_is_no_regular_file(kit: Kit) -> None:
    assert call("--json", "/dev/null").exit_code == 0
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("option", ["--json", "--report", "--plot"])
def test_a_file_that_cannot_be_written_is_found_out_before_anything_is_measured(
    option: str, kit: Kit, tmp_path: Path
) -> None:
    done = call(option, str(tmp_path / "missing" / "run.png"))
    assert isinstance(done.exception, InvalidInput)
    assert "cannot write" in str(done.exception)
    assert kit.asked == []


def test_a_plot_that_cannot_be_drawn_is_found_out_before_anything_is_measured(
    kit: Kit, tmp_path: Path
) -> None:
    assert isinstance(call("--plot", str(tmp_path / "run.bmp")).exception, InvalidInput)
    assert kit.asked == []


def test_page_and_plot_are_written_of_the_report(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Report, Path]] = []
    monkeypatch.setattr("datapath.compare.html.render", lambda report: f"<p>{report.summary()}")
    monkeypatch.setattr(plot, "require", lambda path: None)
    monkeypatch.setattr(plot, "draw", lambda report, path: drawn.append((report, path)))
    page, figure = tmp_path / "run.html", tmp_path / "run.png"
    assert call("--report", str(page), "--plot", str(figure)).exit_code == 0
    assert page.read_text() == f"<p>{kit.finds.summary()}"
    assert drawn == [(kit.finds, figure)]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), EbpfnetError("a tool failed")])
def test_what_there_is_when_it_is_interrupted_is_shown_and_kept(
    failure: BaseException, kit: Kit, tmp_path: Path
) -> None:
    file = tmp_path / "run.json"
    kit.fails = failure
    done = call("--json", str(file))
    assert done.exit_code == 1
    assert "3 rounds so far" in done.stderr
    assert f"go on by: ebpfnet compare --resume {file}" in done.stderr
    assert done.stdout.splitlines()[1].startswith("ns_per_packet")
    assert not file.exists()
    assert files.load_report(files.partial(file)) == replace(kit.finds, ended="")


def test_what_was_interrupted_is_gone_on_with_and_done(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    kit.fails = KeyboardInterrupt()
    call("--json", str(file))
    kit.fails = None
    assert call("--resume", str(file)).exit_code == 0
    assert kit.begun[1] == replace(kit.finds, ended="")
    assert kit.asked[1].modes == ("veth", "bridge", "ebpf")
    assert kit.asked[1].seed == 9
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    done = call("--resume", str(file))
    assert str(done.exception).startswith(f"there is nothing to go on with: no {file}.partial")


def test_a_check_that_shows_no_difference_passes(kit: Kit) -> None:
    kit.finds = report({"ebpf": FAST, "ebpf again": [501.0, 507.0, 493.0]})
    done = call("--check")
    assert done.exit_code == 0
    assert (kit.asked[0].modes, kit.asked[0].check) == (("tc-peer",), True)
    assert "the check passed" in done.stderr
    assert "of ns_per_packet that is within 0.9" in done.stderr
    call("--check", "xdp")
    assert kit.asked[1].modes == ("xdp",)


def test_a_check_that_shows_one_fails_and_names_likely_causes(kit: Kit) -> None:
    kit.finds = report({"ebpf": FAST, "ebpf again": SLOW})
    kit.finds.environment["noise"]["causes"] = ["the hypervisor took 9 %: use a quieter host"]
    failed = call("--check").exception
    assert isinstance(failed, EbpfnetError)
    assert failed.message.startswith(
        "the check failed: ns_per_packet: ebpf again is slower than ebpf: 2.00 times its ns"
    )
    assert failed.remedy == "what may have disturbed: the hypervisor took 9 %: use a quieter host"


def test_a_check_of_a_single_round_is_none(kit: Kit) -> None:
    kit.finds = report({"ebpf": [500.0], "ebpf again": [900.0]})
    assert str(call("--check").exception).startswith("the check shows nothing: a single round")


def test_a_repetition_runs_the_same_again_and_says_what_holds(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    files.save(file, kit.finds)
    done = call("--repeat", str(file))
    assert done.exit_code == 0
    assert kit.asked[0].modes == ("veth", "bridge", "ebpf")
    assert (kit.asked[0].rounds, kit.asked[0].seed) == (3, 9)
    assert [line.split()[-1] for line in done.stdout.splitlines()[-3:]] == ["yes"] * 3
    assert "the runs differ in nothing" in done.stderr
    document = json.loads(call("--repeat", str(file), "-o", "json").stdout)
    assert {each["holds"] for each in document["held"]} == {"yes"}


def test_a_repetition_that_does_not_hold_fails(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    files.save(file, kit.finds)
    kit.finds = report({"veth": FAST, "bridge": FAST, "ebpf": FAST})
    kit.finds.environment["kernel"] = "6.19"
    done = call("--repeat", str(file))
    assert str(done.exception).startswith("2 of 3 verdicts do not hold")
    assert done.stdout.count("not shown again") == 2
    assert "kernel: None / 6.19" in done.stderr


def test_two_runs_are_set_side_by_side_without_measuring(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # root is not needed
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    files.save(a, report(ALL_FAST))
    other = report({"veth": FAST, "bridge": FAST, "ebpf": FAST})
    files.save(b, replace(other, environment={**other.environment, "kernel": "6.19"}))
    done = call("--from", str(a), str(b))
    assert done.exit_code == 0
    assert "ebpf to veth is 1.00 and 1.00: no difference shown" in done.stdout
    assert "ebpf to bridge is 0.50 and 1.00: it differs" in done.stdout
    assert "  kernel: None / 6.19" in done.stderr
    sides = json.loads(call("--from", str(a), str(b), "-o", "json").stdout)
    assert [each["differs"] for each in sides["relations"]] == [True, False, True]


def test_an_earlier_run_is_shown_and_written_again(kit: Kit, tmp_path: Path) -> None:
    a, page = tmp_path / "a.json", tmp_path / "a.html"
    files.save(a, kit.finds)
    done = call("--from", str(a), "--report", str(page))
    assert done.exit_code == 0
    assert done.stdout == call().stdout
    assert page.read_text().startswith("<!doctype html>")
    assert len(kit.asked) == 1


def test_modes_and_workloads_are_listed_with_what_is_missing(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    yes = SimpleNamespace(name="veth", available=True, reason="")
    no = SimpleNamespace(name="netkit", available=False, reason="needs Linux 6.7")
    monkeypatch.setattr(modes, "available", lambda: [yes, no])
    monkeypatch.setattr(workloads, "available", lambda: [yes])
    assert json.loads(call("--list", "-o", "json").stdout) == {
        "modes": [vars(yes), vars(no)],
        "workloads": [vars(yes)],
    }
    table = [line.split(maxsplit=3) for line in call("--list").stdout.splitlines()]
    assert ["mode", "netkit", "no", "needs Linux 6.7"] in table


def test_every_listed_workload_is_one(kit: Kit) -> None:
    names = [each.name for each in workloads.available()]
    assert [workloads.get(name) for name in names]
    assert set(Experiment().workloads) <= set(names)


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, draw: Callable[[], None]) -> str:
    """What is drawn on stderr if that is a terminal of 12 lines."""
    ours, theirs = pty.openpty()
    with closing(os.fdopen(ours, "rb", 0)) as screen, os.fdopen(theirs, "w") as stderr:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 100, 0, 0))
        monkeypatch.setattr("sys.stderr", stderr)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("LINES", "12")
        draw()
        stderr.flush()
        drawn = b""
        while select.select([screen], [], [], 0.1)[0]:
            drawn += screen.read(4096)
        return drawn.decode()


def test_progress_shows_the_numbers_so_far_in_place_and_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[Report] = []

    def draw() -> None:
        live = progress.Live(
            lambda report: View("table", False).table(report, sys.stderr), kept.append
        )
        with live:
            live.doing("ns_per_packet by veth, round 1", 0.25)
            live.round(report(ALL_FAST))
            live.doing("ns_per_packet by veth, round 2", 0.5)

    drawn = on_a_terminal(monkeypatch, draw)
    first, rest = drawn.split("\x1b[1F\x1b[J")
    assert first.rstrip() == "[#####               ]  25%  ns_per_packet by veth, round 1"
    second, after = rest.split("\x1b[6F\x1b[J")
    assert len(second.splitlines()) == 6
    assert "490 to 510" in second
    assert second.rstrip().endswith("50%  ns_per_packet by veth, round 2")
    assert after == ""
    assert len(kept) == 1
