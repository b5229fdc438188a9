"""The page as people meet it: on a desk and on a phone, by day and night, by keyboard, by ear."""

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import SIZES, Open
from tests.support import reports

SCHEMES = ("light", "dark")

# Colours as [red, green, blue], from 0 to 255, of what is drawn; CSS has no say in SVG for axe.
COLOURS = """
() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const style = (element) => getComputedStyle(element);
  const panel = document.querySelector(".zone");
  return {
    grounds: [rgb(style(document.documentElement).backgroundColor), rgb(style(panel).fill)],
    texts: [...document.querySelectorAll("svg text")].map((each) => rgb(style(each).fill)),
    shapes: [
      ...[...document.querySelectorAll(".bar .median, .part")].map(
        (each) => rgb(style(each).fill)),
      ...[...document.querySelectorAll(
        ".bar .reference, .curves [class^=style] line, .level, .wire")].map(
        (each) => rgb(style(each).stroke)),
    ],
  };
}
"""


def luminance(colour: list[float]) -> float:
    """Relative luminance, by WCAG 2.2."""
    linear = [
        part / 12.92 if (part := each / 255) <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for each in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: list[float], other: list[float]) -> float:
    """From 1 to 21, by WCAG 2.2."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_shows_all_without_error_or_network(show: Open, size: str, scheme: str) -> None:
    report = reports.report()
    opened = show(report, size, color_scheme=scheme)
    page = opened.page
    assert opened.said == []
    assert opened.asked == [page.url]
    own = [result for result in report.results if not result.detail]
    bars = page.locator(".bar .median")
    assert bars.count() == len(own)
    boxes = [bar.bounding_box() for bar in bars.all()]
    assert all(box and box["width"] > 10 and box["height"] > 10 for box in boxes)
    assert page.locator(".curves").count() == 3
    parts = [part.bounding_box() for part in page.locator(".part").all()]
    assert len(parts) == 8
    assert all(part and part["width"] > 2 and part["height"] > 10 for part in parts)
    assert page.locator(".curves .level").count() == 1
    assert page.locator("svg.path").count() == len(
        {json.dumps(mode["path"]) for mode in report.environment["modes"].values()}
    )
    scrolled, seen = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert scrolled <= seen == SIZES[size][0], "the page scrolls sideways"


@pytest.mark.parametrize(("scheme", "size"), [*zip(SCHEMES, SIZES, strict=True)])
def test_it_is_accessible(show: Open, size: str, scheme: str) -> None:
    rows = [*reports.ROWS[:2], *reports.ROWS[5:8], *reports.PARTS]
    page = show(reports.report(rows), size, color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach((each) => each.open = true)")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_drawings_have_contrast(show: Open, scheme: str) -> None:
    found = show(reports.report(), color_scheme=scheme).page.evaluate(COLOURS)
    assert (luminance(found["grounds"][0]) > 0.5) is (scheme == "light")
    for name, least in (("texts", 4.5), ("shapes", 3.0)):
        assert len(found[name]) > 20
        worst = min(contrast(each, ground) for each in found[name] for ground in found["grounds"])
        assert worst >= least, name


def test_bars_are_as_long_as_they_are_marked(show: Open) -> None:
    figures = {"veth": 400.0, "ebpf": 600.0, "bridge": 800.0}
    report = reports.report([("ns_per_packet", "", "ns", figures)])
    page = show(report).page
    widths = [bar.bounding_box()["width"] for bar in page.locator(".bar .median").all()]  # type: ignore[index]
    expected = [report.result(mode, "ns_per_packet").median for mode in figures]  # type: ignore[union-attr]
    assert [width / widths[0] for width in widths] == pytest.approx(
        [figure / expected[0] for figure in expected], rel=0.01
    )
    # A reference's line goes through the end of its own bar, and of no shorter one.
    line = page.locator(".reference.bridge").first.bounding_box()
    bar = page.locator(".bar .median").last.bounding_box()
    assert line is not None
    assert bar is not None
    assert line["x"] + line["width"] / 2 == pytest.approx(bar["x"] + bar["width"], abs=1.5)


def test_the_keyboard_reaches_everything_in_order(show: Open) -> None:
    page = show(reports.report(reports.ROWS[5:8])).page
    reachable = page.locator("a, button, summary, [tabindex='0']").filter(visible=True)
    ring = "(each) => getComputedStyle(each).outlineStyle + getComputedStyle(each).outlineWidth"
    for number in range(reachable.count()):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("(each) => each.outerHTML") == reachable.nth(number).evaluate(
            "(each) => each.outerHTML"
        )
        assert focused.evaluate(ring) == "solid3px"
        if number == 0:
            assert focused.inner_text() == "Skip to the results"
            box = focused.bounding_box()
            assert box is not None
            assert box["width"] > 100, "the skip link shows when it is reached"


def test_opening_by_keyboard_shows_the_further_figures(show: Open) -> None:
    page = show(reports.report(reports.ROWS[5:8])).page
    further = page.get_by_text("Further figures: p50, p99")
    table = page.get_by_role("region", name="Further figures of tcp_rr")
    assert not table.is_visible()
    further.focus()
    page.keyboard.press("Enter")
    assert table.is_visible()


def test_screen_readers_meet_landmarks_names_and_tables(show: Open) -> None:
    page = show(reports.report(), "phone").page
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role
    # Drawn as cards on a phone, but a table still.
    table = page.get_by_role("table", name="tcp_stream")
    row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name="ebpf"))
    assert row.get_by_role("cell").count() == 4
    assert page.get_by_role("img", name="Packet path of veth").count() == 1
    parts = page.get_by_role("list", name="ns_per_packet")
    ebpf = next(each for each in reports.report().results if each.mode == "ebpf")
    said = parts.get_by_role("listitem").first.inner_text().split()
    assert said[:3] == ["ebpf", f"{ebpf.median:.0f}", "ns"]
    assert {"stack", "hook", "program", "redirect"} <= {*said}
    level = page.get_by_role("img", name="and ebpf as a level line")
    assert level.count() == 1
    assert page.get_by_role("img", name="ns_per_packet against number of endpoints").count() == 1


def column(page: Any, heading: str) -> list[str]:
    """A column of the table of all figures, top down."""
    return page.evaluate(  # type: ignore[no-any-return]
        """(heading) => {
          const table = document.querySelector("table.sortable");
          const at = [...table.tHead.rows[0].cells].findIndex(
            (each) => each.textContent === heading);
          return [...table.tBodies[0].rows].map((row) => row.cells[at].textContent);
        }""",
        heading,
    )


def test_the_table_of_all_figures_sorts_by_number_and_by_name(show: Open) -> None:
    page = show(reports.report()).page
    heading = page.get_by_role("columnheader", name="median").last
    measured = sorted(result.median for result in reports.report().results)
    shown = lambda: [float(each.replace(",", "")) for each in column(page, "median")]  # noqa: E731
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert shown() == pytest.approx(measured, rel=0.01)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert shown() == pytest.approx(measured[::-1], rel=0.01)
    page.get_by_role("columnheader", name="mode").last.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert column(page, "mode") == sorted(column(page, "mode"))


def test_without_script_everything_is_there_but_sorting(show: Open) -> None:
    page = show(reports.report(), java_script_enabled=False).page
    assert page.locator(".bar .median").count() > 10
    assert page.locator("table.sortable tbody tr").count() == len(reports.report().results)
    assert page.locator("th button").count() == 0
    assert page.get_by_text("The same as a table").first.is_visible()


def test_the_download_is_the_whole_report(show: Open, tmp_path: Any) -> None:
    page = show(reports.report()).page
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as JSON").click()
    assert download.value.suggested_filename == "ebpfnet-report.json"
    download.value.save_as(tmp_path / "data.json")
    written = json.loads((tmp_path / "data.json").read_text())
    assert written == json.loads(json.dumps(reports.report().document()))


@pytest.mark.parametrize("size", SIZES)
def test_hostile_texts_do_nothing_and_fit(show: Open, size: str) -> None:
    opened = show(reports.hostile(), size)
    assert opened.said == []
    assert opened.page.title() != "broken into"
    assert opened.page.locator("script").count() == 1
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert opened.page.evaluate(wide) <= 0


@pytest.mark.parametrize(("wish", "behaviour"), [("reduce", "auto"), ("no-preference", "smooth")])
def test_nothing_moves_for_who_wishes_that(show: Open, wish: str, behaviour: str) -> None:
    page = show(reports.report(reports.ROWS[:1]), reduced_motion=wish).page
    scroll = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.evaluate(scroll) == behaviour
