"""The page: what it says, in what order, and that no text in a report gets out of its place."""

import base64
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cli.compare import compare as command
from datapath.compare import Report, drawing, html
from datapath.compare.html import page
from datapath.compare.report import REFERENCES, Gap
from datapath.modes import bridge, tc_peer, veth
from datapath.modes.base import Station
from tests.support import reports

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A rendered report: elements in order, and the text of each kind."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.source = html.render(report)
        self.feed(self.source)
        assert self._open == [], "an element was not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "elements overlap"

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data.strip()))

    def all(self, tag: str, css: str = "") -> list[dict[str, str | None]]:
        """Attributes of every such element."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and css in [*(attributes.get("class") or "").split(), ""]
        ]

    def said(self, tag: str) -> list[str]:
        """The text in every such element."""
        return [text for name, text in self.texts if name == tag]

    def values(self, attribute: str) -> Iterator[str]:
        """Of an attribute, wherever it stands."""
        return (each for _, found in self.elements if (each := found.get(attribute)) is not None)


@pytest.fixture(scope="module")
def whole() -> Page:
    return Page(reports.report())


def test_the_answer_comes_first(whole: Page) -> None:
    summary = reports.report().summary()
    assert summary.startswith("eBPF forwards a packet in 5")
    assert whole.said("title")[0] == f"{summary}."
    assert whole.said("h1") == [f"{summary}.".replace(" %", "\N{NO-BREAK SPACE}%")]


def test_without_bridge_or_ebpf_the_first_verdict_is_the_answer() -> None:
    found = reports.report([("tcp_rr", "", "us", {"veth": 14.0, "xdp": 19.0})])
    assert Page(found).said("title")[0] == f"{found.verdicts[0].sentence}."


def test_a_report_without_verdicts_says_what_was_measured() -> None:
    found = replace(reports.report([("tcp_rr", "", "us", {"veth": 14.0})]), verdicts=())
    assert Page(found).said("h1") == ["veth measured."]
    assert Page(replace(found, results=(), ratios=())).said("h1") == ["Nothing measured."]


def test_headings_go_down_one_level_at_a_time(whole: Page) -> None:
    levels = [int(tag[1]) for tag, _ in whole.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


@pytest.mark.parametrize("rows", [reports.ROWS, reports.ROWS[5:6]], ids=["whole", "one workload"])
def test_every_link_leads_somewhere_and_no_id_is_there_twice(rows: list[reports.Row]) -> None:
    found = Page(reports.report(rows))
    ids = list(found.values("id"))
    assert len(ids) == len(set(ids))
    inner = [each.removeprefix("#") for each in found.values("href") if each.startswith("#")]
    assert set(inner) <= set(ids)
    assert set(found.values("aria-labelledby")) <= set(ids)


def test_it_is_one_file(whole: Page) -> None:
    assert not whole.all("link")
    assert not list(whole.values("src"))
    assert all(each.startswith(("#", "data:application/json;")) for each in whole.values("href"))
    styles = "".join(whole.said("style"))
    assert "url(" not in styles
    assert "@import" not in styles


def test_data_come_with_it(whole: Page) -> None:
    (link,) = [each for each in whole.all("a") if "download" in each]
    kind, _, data = (link["href"] or "").partition(",")
    assert kind == "data:application/json;base64"
    expected = json.loads(json.dumps(reports.report().document()))
    assert json.loads(base64.b64decode(data)) == expected


@pytest.mark.parametrize(
    ("workload", "order"),
    [("tcp_rr", ["veth", "ebpf", "xdp", "tc", "bridge"]), ("tcp_stream", ["tc", "ebpf", "bridge"])],
)
def test_the_best_mode_is_on_top(workload: str, order: list[str]) -> None:
    rows = [row for row in reports.ROWS if row[0] == workload and not row[1]]
    shown = {mode: figure for mode, figure in rows[0][3].items() if mode in order}
    figures = [(workload, "", rows[0][2], {mode: 1.2 * shown[mode] for mode in sorted(shown)})]
    (table,) = page.tables(reports.report(figures, rounds=99))
    assert [row.result.mode for row in table.rows] in (order, [order[1], order[0], *order[2:]])


def test_bars_are_as_long_as_their_figures() -> None:
    figures = {"veth": 400.0, "bridge": 1000.0, "ebpf": 500.0}
    found = Page(reports.report([("ns_per_packet", "", "ns", figures)], rounds=25))
    widths = [float((bar["width"] or "").rstrip("%")) for bar in found.all("rect", "median")]
    lengths = [width / widths[0] for width in widths]
    assert lengths == pytest.approx([1.0, 1.25, 2.5], rel=0.02)
    assert 90 < widths[-1] <= 100
    assert len(found.all("circle", "sample")) == 75


def test_parts_follow_one_another_on_one_scale(whole: Page) -> None:
    parts = ("stack", "hook", "program", "redirect")
    drawn = whole.all("rect", "part")
    assert [each["class"] for each in drawn] == [f"part {name}" for name in parts] * 2
    places = [[float((each[name] or "").rstrip("%")) for name in ("x", "width")] for each in drawn]
    for bar in (places[:4], places[4:]):
        ends = [x + width for x, width in bar]
        assert [x for x, _ in bar] == pytest.approx([0.0, *ends[:-1]], abs=0.02)
    assert places[-1][0] + places[-1][1] == pytest.approx(100, abs=0.02)
    assert places[3][0] + places[3][1] == pytest.approx(100 * 524 / 756, rel=0.03)
    # In words, too: meanings once, figures at each bar.
    assert {"from its verdict to the reception in the other namespace"} <= set(whole.said("dd"))
    assert sum(text.rstrip() == "redirect" for text in whole.said("span")) == 2


def test_without_parts_there_is_no_section_of_them() -> None:
    found = Page(reports.report(reports.ROWS[5:8]))
    assert "parts" not in [*found.values("id")]
    assert "Where the nanoseconds go" not in found.source


def test_what_rules_do_not_change_is_a_level_line_in_figure_legend_and_table(whole: Page) -> None:
    assert len(whole.all("line", "level")) == 2  # and its marker
    assert any("and ebpf as a level line" in text for text in whole.said("title"))
    assert any("whatever the number" in text for text in whole.said("li"))
    assert "any" in whole.said("td")


def test_references_and_ebpf_are_told_apart(whole: Page) -> None:
    bars = [result.mode for result in reports.report().results if not result.detail]
    assert len(whole.all("svg", "ebpf")) == sum(mode in ("ebpf", "tc", "xdp") for mode in bars)
    assert whole.said("span").count("reference") == sum(mode in REFERENCES for mode in bars)


def test_what_lost_packets_is_marked_in_both_tables(whole: Page) -> None:
    assert whole.said("strong") == ["lost 0.40\xa0%"] * 2


def test_one_round_claims_no_interval() -> None:
    found = Page(reports.report(reports.ROWS[:1], rounds=1))
    assert not [text for text in found.said("small") if " to " in text]
    assert " 1 round" in next(text for text in found.said("p") if text.startswith("Linux"))


def test_every_verdict_is_given_in_words(whole: Page) -> None:
    sentences = [verdict.sentence for verdict in reports.report().verdicts]
    assert whole.said("li")[-len(sentences) :] == sentences
    assert {"faster", "slower", "no difference shown"} <= set(whole.said("span"))


def test_what_could_not_be_measured_is_said_with_its_reason() -> None:
    gap = Gap("macvlan", "ns_per_packet:endpoints=10000", "it has no table of endpoints")
    found = Page(replace(reports.report(), gaps=(gap,)))
    assert any(gap.reason in text for text in found.said("li"))


def test_a_workload_of_another_version_is_shown_too() -> None:
    found = Page(reports.report([("teleported", "", "us", {"veth": 3.0, "bridge": 2.0})]))
    assert "teleported" in found.said("code")
    assert "lower is better" not in found.said("em")


def test_knobs_and_machine_are_stated(whole: Page) -> None:
    facts = dict(zip(whole.said("dt"), whole.said("dd"), strict=False))
    assert facts["kernel"] == "6.18.5-amd64"
    assert facts["governor"] == "unknown"
    assert "0 (was 1)" in whole.said("dd")


def test_no_text_of_a_report_becomes_markup() -> None:
    found = Page(reports.hostile())
    assert len(found.all("script")) == 1
    assert reports.HOSTILE not in found.source
    shown = [text for _, text in found.texts if reports.HOSTILE in text]
    assert len(shown) > 10, "the texts are there, as text"


@pytest.mark.parametrize("junk", [None, 5, "x", [1], {"veth": 5}, {"veth": {"path": [{"a": 1}]}}])
def test_modes_described_badly_are_shown_without_a_path(junk: object) -> None:
    found = reports.report(reports.ROWS[:1])
    found.environment["modes"] = junk
    assert not Page(found).all("svg", "path")


def test_nothing_but_its_own_script_and_style_may_run(whole: Page) -> None:
    (policy,) = [each["content"] or "" for each in whole.all("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not list(whole.values("style"))
    assert not [name for _, found in whole.elements for name in found if name.startswith("on")]


@pytest.mark.parametrize(
    "options",
    [{"rounds": 5}, {"rounds": None, "precision": 2.5, "max_time": 90.0}, {"check": True}],
    ids=["rounds", "precision", "check"],
)
def test_the_command_is_one_that_compare_takes(options: dict[str, Any]) -> None:
    modes, loads = ("veth", "bridge-nf:rules=100"), ("tcp_rr", "ns_per_packet:flows=2,size=1500")
    given = {"cpu": 1, "seed": 7, **options}
    experiment = {"modes": modes, "workloads": loads, "effort": {"seconds": 3}, **given}
    words = shlex.split(page.command(experiment))
    assert words[:2] == ["ebpfnet", "compare"]
    taken = command.make_context("compare", words[2:]).params
    assert {name: taken[name] for name in given} == given
    assert (taken["names"], taken["workloads"], taken["seconds"]) == (modes, loads, 3)


def test_the_command_quotes_what_a_shell_would_read() -> None:
    assert page.command({"modes": ["a; reboot"]}) == "ebpfnet compare 'a; reboot'"


def test_paths_are_drawn_with_their_hooks_and_one_height() -> None:
    ways = {mode.MODE.name: mode.MODE.path for mode in (veth, bridge, tc_peer)}
    drawn = drawing.paths(ways)
    heights = {re.search(r'height="(\d+)"', image)[1] for image in drawn.values()}  # type: ignore[index]
    assert len(heights) == 1
    boxes = {name: image.count('class="station') for name, image in drawn.items()}
    assert boxes == {"veth": 2, "bridge": 5, "tc-peer": 3}
    assert "eBPF at tc ingress" in drawn["tc-peer"]
    assert "eBPF" not in drawn["bridge"]


def test_a_long_label_is_wrapped_within_its_box() -> None:
    station = Station("host", "a label that is far too long for one line of a box" * 2, "h" * 99)
    image = drawing.paths({"mine": (station,)})["mine"]
    lines = re.findall(r"<text[^>]*>([^<]*)</text>", image)
    assert max(map(len, lines)) <= 32


def test_modes_with_one_path_share_a_drawing() -> None:
    figures = {"veth": 4.0, "tc": 5.0, "ebpf": 5.0, "tc:clsact": 6.0}
    found = page.paths(reports.report([("ns_per_packet", "", "ns", figures)]))
    assert [path.modes for path in found] == [("veth",), ("tc", "tc:clsact"), ("ebpf",)]


def test_what_disturbed_the_run_is_said() -> None:
    found = reports.report()
    assert page.disturbances(found) == []
    found.environment["noise"] = {"causes": []}
    assert not any("steal" in text for text in Page(found).said("li"))
    found.environment["noise"]["causes"].append("12.5 % of the CPU's time (steal) was taken")
    assert any("12.5 % of the CPU's time (steal)" in text for text in Page(found).said("li"))


def test_template_and_styles_are_files_of_the_package() -> None:
    folder = Path(html.__file__).parent
    assert {"page.html", "page.css", "figures.css", "page.js"} <= {
        file.name for file in folder.iterdir()
    }
