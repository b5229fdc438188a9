"""The kit on other kernels: tests of the other folders run in a machine of each.

One machine for each kernel boots and runs the tests that are asked of it; here each is a test of
its own, which waits for what became of it there.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.vm import machine, results
from tests.vm.kernels import KERNELS, Kernel

SECONDS = 1800  # for a machine, from boot to end

# Few, for they are slow: one of each thing that asks something else of the kernel, on the older one
# for choice. Whoever adds one keeps the two machines, which work side by side, equally long at it.
EVERYWHERE = (
    "tests/vm/inside.py::test_every_mode_and_workload_is_available_but_for_what_came_later",
    "tests/vm/inside.py::test_every_lab_is_available",
)
SELECTED = {
    "6.1": (
        *EVERYWHERE,
        "tests/kernel/test_adopt.py::test_namespaces_on_a_bridge_go_by_ebpf_and_back[tc-peer]",
        "tests/kernel/test_bridge_port.py::test_vlans_come_back_as_they_were",
        "tests/kernel/test_compare.py::test_what_a_killed_run_leaves_is_undone_by_gc"
        "[ebpf-apply AttachProgram]",
        "tests/kernel/test_modes.py::test_pings_of_every_kind[tc-peer-clsact]",
        "tests/kernel/test_modes.py::test_tcp_both_ways[xdp]",
        "tests/kernel/test_traffic.py::test_counters_are_exact[tc-peer]",
        "tests/kernel/test_offloads.py::test_what_was_changed_is_put_back_exactly",
    ),
    "6.12": (
        *EVERYWHERE,
        "tests/kernel/test_modes.py::test_pings_of_every_kind[tc-peer-tcx]",
        "tests/kernel/test_endpoint_list.py::test_list_shows_what_ip_shows",
        "tests/kernel/test_compare.py::test_workloads_cross_modes[tcp_rr-us-modes2]",
        "tests/kernel/test_compare_modes.py::test_a_lab_of_it_moves_data_both_ways[ipvlan:l2]",
        "tests/kernel/test_compare_modes.py::test_a_lab_of_it_moves_data_both_ways[ipvlan:l3]",
        "tests/kernel/test_compare_modes.py::test_a_lab_of_it_moves_data_both_ways[netkit]",
        "tests/kernel/test_labs.py::test_every_lab_works_beside_all_others_or_says_what_is_missing",
        "tests/kernel/test_labs.py::test_a_delayed_link_delays_both_ways",
        "tests/kernel/test_diagnose_labs.py::test_who_is_not_to_reach_learns_why"
        "[vlan-a1-b2-vlan-mismatch-]",
    ),
}
RUNS = [
    pytest.param(
        kernel,
        test,
        id=f"{kernel.series} {test}",
        marks=pytest.mark.skipif(bool(reason), reason=reason),
    )
    for kernel in KERNELS
    for reason in [machine.missing(kernel)]
    for test in SELECTED[kernel.series]
]


@pytest.fixture(scope="module")
def machines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Kernel, machine.Machine]]:
    """One for each kernel that tests were chosen for, at work on those."""
    chosen = [
        item.callspec.params
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_on_kernel.__name__
    ]
    pytest_there = [
        *(sys.executable, "-m", "pytest", "-m", ""),
        *("-o", "timeout=600", f"--report-log={machine.SHARED / 'log'}"),
    ]
    with ExitStack() as stack:
        yield {
            kernel: stack.enter_context(
                machine.running(
                    kernel,
                    [*pytest_there, *(str(c["test"]) for c in chosen if c["kernel"] == kernel)],
                    tmp_path_factory.mktemp(f"linux-{kernel.series}-"),
                    SECONDS,
                )
            )
            for kernel in KERNELS
            if any(c["kernel"] == kernel for c in chosen) and not machine.missing(kernel)
        }


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize(("kernel", "test"), RUNS)
def test_on_kernel(
    machines: Mapping[Kernel, machine.Machine],
    kernel: Kernel,
    test: str,
    pytestconfig: pytest.Config,
) -> None:
    running = machines[kernel]
    result, ended = None, False
    while result is None and not ended:
        ended = running.ended()
        time.sleep(0.2)
        result = results.read(running.shared / "log", test, pytestconfig)
    if result is None:
        pytest.fail(f"{kernel} ended before this test:\n{running.last_words()}", pytrace=False)
    if result.outcome == "skipped":
        pytest.skip(result.text)
    if result.outcome == "failed":
        pytest.fail(result.text, pytrace=False)
