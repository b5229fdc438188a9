"""Bars in the terminal: their length, their signs, and what they do without room."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import bars

ONE = (10.0, 10.0, 10.0)

intervals = st.tuples(*[st.floats(0, 1e9)] * 3).map(lambda each: tuple(sorted(each)))


def test_the_greatest_fills_the_width_and_others_are_in_proportion() -> None:
    assert bars.column([ONE, (5.0, 5.0, 5.0)], 10) == ["█" * 10, "█" * 5]


def test_a_narrow_interval_ends_in_an_eighth_of_a_column() -> None:
    assert bars.column([(80.0, 80.0, 80.0), (43.0, 43.0, 43.0)], 10)[1] == "█████▍"


def test_a_wide_interval_fades() -> None:
    (bar,) = bars.column([(5.0, 7.0, 10.0)], 10)
    assert bar == "█████▒▒░░░"


def test_ascii_has_the_same_lengths() -> None:
    wide, narrow = (5.0, 7.0, 10.0), (4.0, 4.0, 4.0)
    assert bars.column([wide, narrow], 10, bars.ASCII) == ["#####==---", "####"]


@given(st.lists(intervals, max_size=20), st.integers(1, 80))
def test_no_bar_is_wider_than_its_column(
    found: list[tuple[float, float, float]], width: int
) -> None:
    for style in (bars.BLOCKS, bars.ASCII):
        drawn = bars.column(found, width, style)
        assert len(drawn) == len(found)
        assert all(len(bar) <= width for bar in drawn)


@pytest.mark.parametrize(
    ("encoding", "style"), [("utf-8", bars.BLOCKS), ("ascii", bars.ASCII), ("latin-1", bars.ASCII)]
)
def test_signs_are_those_that_the_encoding_has(encoding: str, style: bars.Style) -> None:
    assert bars.style(io.TextIOWrapper(io.BytesIO(), encoding=encoding)) is style


def test_a_stream_without_encoding_gets_ascii() -> None:
    assert bars.style(io.StringIO()) is bars.ASCII


@pytest.mark.parametrize(("columns", "room"), [(200, bars.MOST), (100, 18), (88, 0), (20, 0)])
def test_bars_take_what_the_table_leaves(
    columns: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((columns, 24)))
    assert bars.room(80) == room


def test_nothing_measured_draws_nothing() -> None:
    assert bars.column([(0.0, 0.0, 0.0)], 10) == [""]
    assert bars.column([], 10) == []
