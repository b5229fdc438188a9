"""The layouts that the kernel holds, by the maps' BTF, are those of datapath.records."""

from __future__ import annotations

import pytest

from datapath.kernel.bpf import btf
from datapath.records import MAPS, MapSpec
from tests.packet.bench import MAX_ENDPOINTS, Bench

each_map = pytest.mark.parametrize("spec", MAPS.values(), ids=lambda spec: spec.name)


def test_every_map_is_known(bench: Bench) -> None:
    assert bench.maps.keys() == MAPS.keys() | {"senders"}  # which is the program's own


@each_map
def test_sizes_are_those_of_the_records(spec: MapSpec, bench: Bench) -> None:
    held = bench.maps[spec.name]
    assert (held.info.key_size, held.info.value_size) == (spec.key_size, spec.value_size)
    assert held.per_cpu == spec.per_cpu


@pytest.mark.parametrize(
    "spec", [spec for spec in MAPS.values() if spec.structure], ids=lambda spec: spec.name
)
def test_fields_are_those_of_the_record(spec: MapSpec, bench: Bench) -> None:
    info = bench.maps[spec.name].info
    assert btf.structure_fields(info.btf_id, info.btf_value_type_id) == tuple(
        btf.Field(name, getattr(spec.value, name).offset, getattr(spec.value, name).size)
        for name, *_ in spec.value._fields_
    )


def test_there_is_room_for_the_endpoints_that_were_asked_for(bench: Bench) -> None:
    assert {name: held.info.max_entries for name, held in bench.maps.items()} == {
        "config": 1,
        "devices": MAX_ENDPOINTS + 1,  # ids begin with 1
        "drops": 17,
        "endpoint_stats": MAX_ENDPOINTS + 1,
        "endpoints": MAX_ENDPOINTS,
        "endpoints_v4": 2 * MAX_ENDPOINTS,
        "endpoints_v6": 4 * MAX_ENDPOINTS,
        "senders": 1024,
        "namespaces": MAX_ENDPOINTS,
        "flows": 65536,
        "progress": 65536,
        "sockets": 65536,
    }
