"""Plots for papers: that they are images, hold what the report says, and fail with a remedy."""

import builtins
import resource
import struct
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from datapath.compare import plot
from datapath.errors import InvalidInput, Unsupported
from tests.support import reports


def texts(svg: Path) -> set[str]:
    """matplotlib draws letters as shapes, with what they say in a comment."""
    builder = ElementTree.TreeBuilder(insert_comments=True)
    tree = ElementTree.parse(svg, ElementTree.XMLParser(target=builder))  # noqa: S314 - ours
    return {
        (element.text or "").strip()
        for element in tree.iter(ElementTree.Comment)  # type: ignore[arg-type]
    }


def test_svg_names_modes_workloads_and_units(tmp_path: Path) -> None:
    plot.draw(reports.report([*reports.ROWS[:2], reports.ROWS[8]]), tmp_path / "out.svg")
    said = texts(tmp_path / "out.svg")
    expected = {"bridge-nf:rules=100", "tcp_stream", "Gbit/s, median and 95 % interval"}
    assert expected | {"number of endpoints", "number of firewall rules"} <= said


def test_parts_and_the_cost_that_rules_do_not_change_are_in_it(tmp_path: Path) -> None:
    plot.draw(reports.report([reports.ROWS[0], *reports.PARTS]), tmp_path / "out.svg")
    expected = {"parts of ns_per_packet", "stack", "hook", "program", "redirect"}
    assert expected | {"ebpf, any number"} <= texts(tmp_path / "out.svg")


def test_the_same_report_gives_the_same_svg(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plot.draw(reports.report(reports.ROWS[:1]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_png_is_fine_enough_for_print_and_needs_no_colour(tmp_path: Path) -> None:
    from matplotlib import image

    plot.draw(reports.report(reports.ROWS[:1]), tmp_path / "out.PNG")  # bars, and rules
    raw = (tmp_path / "out.PNG").read_bytes()
    assert raw.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", raw[16:24]) == (
        2100,
        720,
    )  # two columns of 3.5 inches, 300 dots each
    pixels = image.imread(tmp_path / "out.PNG")
    assert (pixels[..., 0] == pixels[..., 1]).all()
    assert (pixels[..., 1] == pixels[..., 2]).all()
    assert pixels[..., 0].min() == 0.0


def test_signs_of_mathematics_in_a_label_are_only_signs(tmp_path: Path) -> None:
    rows = [(f"$\\frac{workload}$", "", "ns", {"$x^{$": 4.0, "veth": 5.0}) for workload in "ab"]
    plot.draw(reports.report(rows), tmp_path / "out.svg")
    assert "$x^{$" in texts(tmp_path / "out.svg")


@pytest.mark.parametrize("name", ["out.pdf", "out", ".svg"])
def test_other_formats_are_refused_with_those_there_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"end the name in \.png or \.svg"):
        plot.draw(reports.report(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_measured_is_nothing_to_plot(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no results"):
        plot.draw(reports.report([]), tmp_path / "out.svg")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files end after 1,000 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_where_there_is_no_room_the_plot_of_before_stays(tmp_path: Path, full_disk: None) -> None:
    (tmp_path / "out.svg").write_text("the one of before")
    with pytest.raises(InvalidInput, match=r"cannot write .*out\.svg: File too large") as caught:
        plot.draw(reports.report(reports.ROWS[:1]), tmp_path / "out.svg")
    assert "has room" in caught.value.remedy
    assert [each.read_text() for each in tmp_path.iterdir()] == ["the one of before"]


def test_a_folder_that_is_missing_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"missing/out\.png: No such file") as caught:
        plot.draw(reports.report(reports.ROWS[:1]), tmp_path / "missing" / "out.png")
    assert "name a file in a folder" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Unsupported, match=r"pip install 'ebpfnet\[plot\]'"):
        plot.draw(reports.report(), tmp_path / "out.svg")
