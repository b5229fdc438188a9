from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datapath.errors import Unsupported
from datapath.kernel.bpf import compiler, features
from tests.packet.bench import PROGRAMS, Bench, Namespace


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    with closing(Namespace()) as made:
        yield made


@pytest.fixture(scope="session")
def cutter() -> Iterator[compiler.Module]:
    try:
        module = compiler.Module(Path(__file__).with_name("cut.c"), {})
    except Unsupported as missing:  # bcc, libbpf or kernel headers
        pytest.skip(str(missing))
    with module:
        yield module


@pytest.fixture(scope="session", params=PROGRAMS, ids=lambda program: program.id)
def bench(
    request: pytest.FixtureRequest, namespace: Namespace, cutter: compiler.Module
) -> Iterator[Bench]:
    """Each program in turn, compiled and loaded once in a session."""
    if request.param.frags and not features.has(features.XDP_FRAGS):
        pytest.skip("this kernel has no XDP frames over one page")
    with closing(Bench(request.param, namespace, cutter)) as made:
        yield made
