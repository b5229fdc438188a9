from ipaddress import IPv4Address, IPv6Address

import pytest

from cli.topology import print_matrix
from datapath.labs.checks import Cell, Outcome
from datapath.labs.model import Target


def targets(nodes: int) -> list[Target]:
    return [
        Target(address, node=f"n{number}")
        for number in range(nodes)
        for address in (IPv4Address(f"10.0.0.{number}"), IPv6Address(f"fd00::{number}"))
    ]


def outcome(nodes: int) -> Outcome:
    """Everybody reaches both addresses of each, and by mistake nobody those of the first."""
    cells = [
        Cell(f"n{source}", target, True, None if target.node == "n0" else 1e-3)
        for source in range(nodes)
        for target in targets(nodes)
        if target.node != f"n{source}"
    ]
    return Outcome(tuple(cells), len(cells))


def test_matrix_has_a_column_for_each_source(capsys: pytest.CaptureFixture[str]) -> None:
    print_matrix(outcome(3), [*targets(3), Target(IPv4Address("10.0.0.9"))])
    assert capsys.readouterr().out.splitlines() == [
        "to           from n0    from n1    from n2",
        "n0 10.0.0.0  -          no (!)     no (!)",
        "n0 fd00::    -          no (!)     no (!)",
        "n1 10.0.0.1  1.000 ms   -          1.000 ms",
        "n1 fd00::1   1.000 ms   -          1.000 ms",
        "n2 10.0.0.2  1.000 ms   1.000 ms   -",
        "n2 fd00::2   1.000 ms   1.000 ms   -",
    ]


def test_a_matrix_too_wide_to_read_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    print_matrix(outcome(20), targets(20))
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "n1 -> n0 10.0.0.0: no (!)"
    assert last == "722 of 760 tries got an answer, 722 as declared"
