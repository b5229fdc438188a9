"""Variants of modes and workloads: what people may write after a name."""

import pytest

from datapath import modes
from datapath.compare import workloads
from datapath.errors import InvalidInput
from datapath.modes.base import EbpfMode
from datapath.records import HookId
from datapath.variants import Options


def test_a_name_alone_has_no_options() -> None:
    options = Options("bridge")
    assert (options.name, options.flag("x"), options.number("n", 7, 1, 9)) == ("bridge", False, 7)
    options.refuse_others()


def test_options_are_flags_and_numbers() -> None:
    options = Options("bridge-nf:rules=100,conntrack")
    assert options.name == "bridge-nf"
    assert options.number("rules", 0, 0, 1000) == 100
    assert options.flag("conntrack")
    assert options.one_of(("nft", "legacy"), "nft") == "nft"
    options.refuse_others()


@pytest.mark.parametrize("value", ["", "-1", "+1", "1_0", " 1", "1e3", "1001", "\u0661", "9" * 99])
def test_what_is_not_a_number_in_range_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match=r"rules is a number from 0 to 1000"):
        Options(f"x:rules={value}").number("rules", 0, 0, 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tc:tcx,clsact", "tcx and clsact exclude each other"),
        ("tc:tcx,tcx", "tcx is given twice"),
        ("tc:tcx=1", "tcx takes no value"),
        ("tc:nowhere", "tc has no option 'nowhere'"),
        ("veth:fast", "veth has no option 'fast'"),
        ("nothing:fast", "there is no mode 'nothing"),
    ],
)
def test_bad_variants_of_modes_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        modes.get(text)


def test_a_hook_can_be_chosen() -> None:
    chosen = modes.get("ebpf:clsact")
    assert isinstance(chosen, EbpfMode)
    assert (chosen.name, chosen.hooks) == ("tc-peer", (HookId.CLSACT,))


def test_bad_variants_of_workloads_are_refused() -> None:
    with pytest.raises(InvalidInput, match="tcp_rr has no option 'x'"):
        workloads.get("tcp_rr:x")
