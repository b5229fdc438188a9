"""Rows for tables: endpoints with their counters, maps, and the entries of maps.

Everything is read from pinned maps at the moment of the call, and comes as plain mappings of text
and numbers, ready to be printed or turned into a data frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from datapath.endpoint import Endpoint
from datapath.errors import InvalidInput, NotFound
from datapath.kernel.bpf import libbpf
from datapath.kernel.bpf.maps import Map
from datapath.network import Network
from datapath.records import MAPS, MapSpec, Number, readable

# Slots of these exist from the start: one that holds zeros alone has not been used.
_ARRAYS: Final = frozenset({libbpf.MAP_ARRAY, libbpf.MAP_PERCPU_ARRAY})
_TYPE_NAMES: Final = {
    libbpf.MAP_HASH: "hash",
    libbpf.MAP_ARRAY: "array",
    libbpf.MAP_PERCPU_HASH: "percpu_hash",
    libbpf.MAP_PERCPU_ARRAY: "percpu_array",
    libbpf.MAP_DEVMAP: "devmap",
    libbpf.MAP_SOCKHASH: "sockhash",
}

Slot = tuple[bytes, int | None]  # raw key; the CPU, None where all of them are meant
Entries = dict[Slot, bytes]  # raw values


@dataclass(frozen=True, slots=True)
class View:
    """How entries are shown.

    `raw`: keys and values as bytes in hex, in memory order, instead of as people write them (of all
    CPUs in turn, not added up). `per_cpu`: a row for each CPU. `zeros`: unused slots of arrays too.
    """

    raw: bool = False
    per_cpu: bool = False
    zeros: bool = False


def endpoints(network: Network) -> list[dict[str, Any]]:
    """A row for each endpoint, by id. Raises LayoutMismatch, KernelError."""
    # A lookup for each costs less than reading the whole of endpoint_stats, which has a slot for
    # every endpoint that there is room for.
    return [_endpoint(network, endpoint) for endpoint in network.endpoints()]


def _endpoint(network: Network, endpoint: Endpoint) -> dict[str, Any]:
    stats = network.stats(endpoint.id)
    return {
        "id": endpoint.id,
        "netns": endpoint.netns,
        "ifname": endpoint.ifname,
        "ipv4": _text(endpoint.ipv4),
        "ipv6": _text(endpoint.ipv6 or endpoint.ipv6_link_local),
        "mac": endpoint.mac,
        "host_ifname": endpoint.host_ifname,
        "ifindex": endpoint.ifindex,
        "rx_packets": stats.rx_packets,
        "rx_bytes": stats.rx_bytes,
        "tx_packets": stats.tx_packets,
        "tx_bytes": stats.tx_bytes,
        "drops": stats.drops,
        "left": stats.left,
    }


def endpoint(network: Network, text: str) -> dict[str, Any]:
    """All about the endpoint that `text` means (see Network.endpoint). Raises NotFound."""
    found = network.endpoint(text)
    return {
        **_endpoint(network, found),
        "answers": network.stats(found.id).answers,
        "ipv6_link_local": _text(found.ipv6_link_local),
        "addresses": [
            readable(key)
            for name in ("endpoints_v4", "endpoints_v6")
            for key, value in sorted(network.records(name), key=lambda entry: bytes(entry[0]))
            if value.id == found.id
        ],
        "netns_inode": found.netns_inode,
        "network": network.name,
    }


def _text(address: IPv4Address | IPv6Address | None) -> str | None:
    return str(address) if address else None


def maps(network: Network) -> list[dict[str, Any]]:
    """A row for each pinned map, also where its layout is not ours.

    Sizes and memory in bytes, value_size for one CPU; `entries` counts the used slots of arrays.
    """
    rows = []
    for name in network.map_names():
        with Map.pinned(network.path / "maps" / name) as opened:
            rows.append(
                {
                    "name": name,
                    "type": _TYPE_NAMES.get(opened.info.type, f"type {opened.info.type}"),
                    "key_size": opened.info.key_size,
                    "value_size": opened.info.value_size,
                    "entries": sum(1 for _ in _used(opened)),
                    "max_entries": opened.info.max_entries,
                    "memory": opened.memory(),
                    "summary": MAPS[name].summary if name in MAPS else None,
                }
            )
    return rows


def _used(opened: Map) -> Iterator[tuple[bytes, bytes]]:
    """Entries, without the slots of arrays that hold zeros alone."""
    is_array = opened.info.type in _ARRAYS
    unused = bytes(opened.value_size)
    return ((key, value) for key, value in opened.items() if not is_array or value != unused)


def entries(network: Network, name: str, view: View) -> Entries:
    """The raw entries of a map, in the order of their keys.

    Raises NotFound for an unknown map, InvalidInput for a view that the map does not have.
    """
    opened = network.map(name)
    spec = _spec(name, view)
    found = opened.items() if view.zeros else _used(opened)
    ordered = sorted(found, key=lambda entry: _order(spec, entry[0]))
    return {
        slot: value for key, raw in ordered for slot, value in _slots(spec, key, raw, view).items()
    }


def _spec(name: str, view: View) -> MapSpec:
    spec = MAPS[name]
    if view.per_cpu and not spec.per_cpu:
        raise InvalidInput(
            f"map {name} holds one value for all CPUs", remedy="ask for it without --per-cpu"
        )
    return spec


def _order(spec: MapSpec, key: bytes) -> bytes | int:
    """Numbers by value; addresses are in network order already."""
    record = spec.key.from_buffer_copy(key)
    return int(record.value) if isinstance(record, Number) else key


def _slots(spec: MapSpec, key: bytes, value: bytes, view: View) -> Entries:
    if not view.per_cpu:
        return {(key, None): value}
    return {(key, cpu): bytes(each) for cpu, each in enumerate(spec.decode_each(value))}


def dump(network: Network, name: str, view: View) -> list[dict[str, Any]]:
    """Every entry of a map as {"key", "value"}, with "cpu" in between where each CPU has a row.

    Raises as `entries` does.
    """
    return [
        _row(MAPS[name], slot, value, view) for slot, value in entries(network, name, view).items()
    ]


def lookup(network: Network, name: str, text: str, view: View) -> list[dict[str, Any]]:
    """The entry at a key as people write it: one row, or one for each CPU.

    Raises NotFound for an unknown map or an absent key, InvalidInput for a key that cannot be one.
    """
    opened = network.map(name)
    spec = _spec(name, view)
    key = bytes(spec.key.parse(text))
    value = opened.lookup(key)
    if value is None:
        raise NotFound(
            f"map {name} of network {network.name} has no entry for {spec.key_name} {text}",
            remedy=f"see `ebpfnet map dump {name} --network {network.name}`",
        )
    return [_row(spec, slot, raw, view) for slot, raw in _slots(spec, key, value, view).items()]


def _row(spec: MapSpec, slot: Slot, raw: bytes, view: View) -> dict[str, Any]:
    key, cpu = slot
    return {
        "key": key.hex(" ") if view.raw else readable(spec.key.from_buffer_copy(key)),
        **({} if cpu is None else {"cpu": cpu}),
        "value": _value(spec, slot, raw, view),
    }


def _value(spec: MapSpec, slot: Slot, raw: bytes, view: View) -> Any:
    if view.raw:
        return raw.hex(" ")
    return readable(spec.decode(raw) if slot[1] is None else spec.value.from_buffer_copy(raw))


def changes(
    name: str, before: Mapping[Slot, bytes] | None, now: Mapping[Slot, bytes], view: View
) -> Iterator[dict[str, Any]]:
    """What happened to a map between two readings, as rows of `dump` with "event" in front.

    Events: "present" (there is no reading before), "added", "changed" (with "before": the fields
    that differ, as they were), "removed" (with the last value).
    """
    spec = MAPS[name]
    for slot, raw in now.items():
        row = _row(spec, slot, raw, view)
        if before is None:
            yield {"event": "present", **row}
        elif slot not in before:
            yield {"event": "added", **row}
        elif before[slot] != raw:
            old = _value(spec, slot, before[slot], view)
            if isinstance(old, dict):
                old = {field: was for field, was in old.items() if row["value"][field] != was}
            yield {"event": "changed", **row, "before": old}
    for slot, raw in (before or {}).items():
        if slot not in now:
            yield {"event": "removed", **_row(spec, slot, raw, view)}
