"""map: what the kernel holds, entry by entry."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from cli import options, output

if TYPE_CHECKING:
    from datapath.tables import Entries

Function = TypeVar("Function", bound=Callable[..., Any])

_SIGNS: Final = {"present": " ", "added": "+", "changed": "~", "removed": "-"}


def _complete_map(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from datapath.errors import EbpfnetError
    from datapath.network import Network
    from datapath.records import MAPS

    try:
        with Network(ctx.params["network"]) as network:
            names = [name for name in network.map_names() if name in MAPS]
    except EbpfnetError:
        return []
    return [
        CompletionItem(name, help=MAPS[name].summary)
        for name in names
        if name.startswith(incomplete)
    ]


_name = click.argument("name", metavar="NAME", shell_complete=_complete_map)
_raw = click.option(
    "--raw", is_flag=True, help="Bytes in hex, as they lie in memory (values of all CPUs in turn)."
)
_per_cpu = click.option(
    "--per-cpu", is_flag=True, help="A row for each CPU; by default CPUs are added up."
)
_zeros = click.option(
    "--all", "zeros", is_flag=True, help="Unused slots of arrays too: those that are all zeros."
)


@click.group(
    epilog="""\b
Examples:
  ebpfnet map list
  ebpfnet map dump drops
  ebpfnet map lookup endpoints_v4 10.1.1.3
"""
)
def map() -> None:
    """The BPF maps of a network, read as the kernel holds them at this moment.

    \b
    endpoints        who sends, by host ifindex
    endpoints_v4/v6  where an address lives
    endpoint_stats   packets and bytes, by endpoint id
    drops            dropped frames, by reason
    config           what the network is
    devices          host ifindex by endpoint id (mode xdp)
    flows            what TCP sockets send one another (mode sockmap)
    namespaces, sockets, progress    whose sockets, and how far each has got

    They are pinned under /sys/fs/bpf/ebpfnet/NETWORK/maps, where bpftool reads the same.
    """


@map.command(
    "list",
    epilog="""\b
Examples:
  ebpfnet map list
  ebpfnet map list --network lab2 -o json
""",
)
@options.network
@options.output
@options.verbose
def list_maps(network: str, form: str) -> None:
    """Every map: type, sizes, entries, memory.

    Sizes are in bytes, of a key and of one CPU's value; entries are how many there are of how many.
    All slots of an array exist from the start: those that hold more than zeros are counted.
    """
    options.require_privileges()
    from datapath import tables
    from datapath.network import Network

    with Network(network) as opened:
        rows = tables.maps(opened)
    if form == "table":
        for row in rows:
            row["entries"] = f"{row['entries']} / {row['max_entries']}"
            row["memory"] = row["memory"] and f"{row['memory'] / 1024:.1f} KiB"
    output.rows(
        form,
        rows,
        {
            "name": "name",
            "type": "type",
            "key_size": "key bytes",
            "value_size": "value bytes",
            "entries": "entries",
            "memory": "memory",
            "summary": "what it says",
        },
    )


@map.command(
    epilog="""\b
Examples:
  ebpfnet map dump endpoints_v4
  ebpfnet map dump drops --all
  ebpfnet map dump endpoint_stats --per-cpu -o json
  ebpfnet map dump endpoints --raw
"""
)
@_name
@options.network
@_zeros
@_per_cpu
@_raw
@options.output
@options.verbose
def dump(name: str, network: str, zeros: bool, per_cpu: bool, raw: bool, form: str) -> None:
    """Every entry of a map, in the order of its keys.

    Unused slots of arrays are left out unless --all.
    """
    options.require_privileges()
    from datapath import tables
    from datapath.network import Network

    with Network(network) as opened:
        rows = tables.dump(opened, name, tables.View(raw=raw, per_cpu=per_cpu, zeros=zeros))
    _entries(form, name, rows, empty=f"map {name} of network {network} has no entry")


@map.command(
    epilog="""\b
Examples:
  ebpfnet map lookup endpoints_v4 10.1.1.2
  ebpfnet map lookup endpoints_v6 fd00::a01:102 -o yaml
  ebpfnet map lookup endpoint_stats 1 --per-cpu
  ebpfnet map lookup drops spoofed-ipv4
"""
)
@_name
@click.argument("key", metavar="KEY")
@options.network
@_per_cpu
@_raw
@options.output
@options.verbose
def lookup(name: str, key: str, network: str, per_cpu: bool, raw: bool, form: str) -> None:
    """One entry of a map.

    KEY is what `ebpfnet map dump` shows: an address, an ifindex, an endpoint id, a drop reason.
    """
    options.require_privileges()
    from datapath import tables
    from datapath.network import Network

    with Network(network) as opened:
        rows = tables.lookup(opened, name, key, tables.View(raw=raw, per_cpu=per_cpu))
    if form != "table" and not per_cpu:
        output.document(form, rows[0])
    else:
        _entries(form, name, rows)


def _entries(form: str, name: str, rows: list[dict[str, Any]], *, empty: str = "") -> None:
    """Print entries; a table has a column for each field."""
    if form == "table":
        from datapath.records import MAPS

        rows = [
            {
                MAPS[name].key_name: row["key"],
                **{field: row[field] for field in ("cpu",) if field in row},
                **(row["value"] if isinstance(row["value"], dict) else {"value": row["value"]}),
            }
            for row in rows
        ]
    output.rows(form, rows, empty=empty)


@map.command(
    epilog="""\b
Examples:
  ebpfnet map watch endpoint_stats
  ebpfnet map watch drops --interval 0.2
  ebpfnet map watch endpoints -o json --count 10
"""
)
@_name
@options.network
@click.option(
    "--interval",
    type=click.FloatRange(min=0.01),
    default=1.0,
    show_default=True,
    metavar="S",
    help="Seconds between readings.",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N readings.")
@_zeros
@_per_cpu
@_raw
@options.output
@options.verbose
def watch(
    name: str,
    network: str,
    interval: float,
    count: int | None,
    zeros: bool,
    per_cpu: bool,
    raw: bool,
    form: str,
) -> None:
    """A map live: what it holds, then what changes.

    Ends with ctrl-C. Each line has the time of the reading and a sign: + added, ~ changed (the
    fields that did, old and new), - removed. With -o json each is one line, with -o yaml one
    document. A slot of an array is added when it is first used.
    """
    options.require_privileges()
    from datapath import tables
    from datapath.network import Network

    view = tables.View(raw=raw, per_cpu=per_cpu, zeros=zeros)
    before: Entries | None = None
    try:
        for reading in itertools.count(1):
            # Opened anew each time: a network that is gone is said to be gone.
            with Network(network) as opened:
                now = tables.entries(opened, name, view)
            time_read = datetime.now().astimezone()
            for change in tables.changes(name, before, now, view):
                _print_change(form, time_read, change)
            if reading == count:
                return
            before = now
            time.sleep(interval)
    except KeyboardInterrupt:  # how one leaves
        pass


def _print_change(form: str, when: datetime, change: dict[str, Any]) -> None:
    if form == "table":
        cpu = f"  cpu {change['cpu']}" if "cpu" in change else ""
        time_of_day = when.strftime("%H:%M:%S.%f")[:-3]
        sign = _SIGNS[change["event"]]
        click.echo(f"{time_of_day} {sign} {change['key']}{cpu}  {_describe(change)}")
        return
    record = {"time": when.isoformat(timespec="milliseconds"), **change}
    if form == "json":
        click.echo(json.dumps(record))
    else:
        click.echo("---")
        output.document(form, record)


def _describe(change: dict[str, Any]) -> str:
    """The value in words; of a changed one, the fields that did."""
    value, before = change["value"], change.get("before")
    if not isinstance(value, dict):
        return f"{before} -> {value}" if before else str(value)
    if before is None:
        return "  ".join(f"{field} {shown}" for field, shown in value.items())
    return "  ".join(f"{field} {was} -> {value[field]}" for field, was in before.items())


@map.command(
    epilog="""\b
Examples:
  ebpfnet map check
  ebpfnet map check --network lab2 -o json
"""
)
@options.network
@options.output
@options.verbose
@click.pass_context
def check(ctx: click.Context, network: str, form: str) -> None:
    """Every entry against the kernel.

    Looks for interfaces that are gone or renamed, namespaces that are gone or others under the same
    name, MACs and addresses that differ, endpoints without an entry, entries without an endpoint,
    and programs that are not attached any more. Each finding comes with what mends it.

    The exit code is 1 where something is wrong.
    """
    options.require_privileges()
    from datapath import check as checking
    from datapath.network import Network

    with Network(network) as opened:
        findings = checking.check(opened)
    output.rows(
        form,
        [
            {
                "map": found.map,
                "key": found.key,
                "problem": found.problem,
                "remedy": found.remedy,
            }
            for found in findings
        ],
        empty=f"network {network}: every entry agrees with the kernel",
    )
    if findings:
        ctx.exit(1)
