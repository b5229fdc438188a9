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
from tests.vm.selected import SELECTED

SECONDS = 1800  # for a machine, from boot to end
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
