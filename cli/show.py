"""show, neigh, link: what is in a namespace that anybody made, and two things to change there."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import CompletionItem

from cli import options, output

# What there is to show: a line of help, and the columns of its table.
_VIEWS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "links": (
        "Interfaces: state, MAC, bridge, the peer by node and name, the ends of tunnels.",
        {
            "ifindex": "ifindex",
            "ifname": "ifname",
            "kind": "kind",
            "state": "state",
            "carrier": "carrier",
            "mac": "MAC",
            "mtu": "MTU",
            "bridge": "bridge",
            "peer": "peer",
            "promiscuous": "promiscuous",
            "detail": "detail",
        },
    ),
    "addr": (
        "Addresses, and whether IPv6 found a duplicate (dadfailed).",
        {
            "ifname": "ifname",
            "address": "address",
            "scope": "scope",
            "state": "state",
        },
    ),
    "neigh": (
        "The ARP table, and IPv6 neighbours.",
        {
            "address": "address",
            "ifname": "ifname",
            "mac": "MAC",
            "state": "state",
            "router": "router",
        },
    ),
    "fdb": (
        "Which port leads to which MAC, as `brctl showmacs` has it.",
        {
            "bridge": "bridge",
            "port": "port",
            "mac": "MAC",
            "vlan": "VLAN",
            "destination": "destination",
            "state": "state",
            "age": "age (s)",
        },
    ),
    "routes": (
        "Routes of all tables.",
        {
            "destination": "destination",
            "gateway": "gateway",
            "ifname": "ifname",
            "source": "source",
            "metric": "metric",
            "table": "table",
            "protocol": "protocol",
            "type": "type",
        },
    ),
    "stats": (
        "Counters, the driver's own by queue too (`ethtool -S`).",
        {
            "ifname": "ifname",
            "counter": "counter",
            "value": "value",
            "peer": "peer",
        },
    ),
    "nat": (
        "Rules that translate addresses, of nftables and iptables.",
        {
            "tool": "tool",
            "table": "table",
            "chain": "chain",
            "hook": "hook",
            "rule": "rule",
            "packets": "packets",
            "bytes": "bytes",
        },
    ),
}
# What there is none of where a table is empty; the word for the view where that is no jargon.
_NOTHING: Final = {
    "addr": "addresses",
    "neigh": "neighbours",
    "fdb": "forwarding entries",
    "nat": "rules that translate addresses",
}
_LISTED: Final = "\n".join(f"  {name:8}{line}" for name, (line, _) in _VIEWS.items())


def complete_node(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names in /run/netns, and "host"."""
    host = [CompletionItem("host")] if "host".startswith(incomplete) else []
    return [*host, *options.complete_netns(ctx, param, incomplete)]


node_argument = click.argument("node", shell_complete=complete_node)


@click.command(
    help=f"""What is in a namespace, made by anyone.

\b
VIEW is one of
{_LISTED}

NODE is a namespace by name, PID or path, or "host" for this one.
""",
    epilog="""\b
Examples:
  ebpfnet show links ns0
  ebpfnet show fdb host                     the bridges here
  ebpfnet show neigh 4711                   of the container that process 4711 is in
  ebpfnet show stats ns0 -o json | jq '.[] | select(.value > 0)'
""",
)
@click.argument("view", type=click.Choice(list(_VIEWS)))
@node_argument
@options.output
@options.verbose
def show(view: str, node: str, form: str) -> None:
    """Its help is made of the views above."""
    options.require_privileges()
    from datapath import names
    from datapath.views import tables

    rows = tables.VIEWS[view](names.node(node))
    output.rows(form, rows, _VIEWS[view][1], empty=f"no {_NOTHING.get(view, view)} in {node}")


@click.group(
    epilog="""\b
Examples:
  ebpfnet neigh flush ns0
"""
)
def neigh() -> None:
    """Neighbour tables; `ebpfnet show neigh` lists them."""


@neigh.command(
    epilog="""\b
Examples:
  ebpfnet neigh flush ns0
  ebpfnet neigh flush ns0 veth0 --address 10.1.1.3
"""
)
@node_argument
@click.argument("ifname", required=False, default="")
@click.option("--address", default="", metavar="ADDR", help="This neighbour alone.")
@options.verbose
def flush(node: str, ifname: str, address: str) -> None:
    """Have a namespace forget its neighbours, so that it asks again.

    Permanent entries stay.
    """
    options.require_privileges()
    from datapath import names
    from datapath.kernel.net import netns, state

    where = names.node(node)
    wanted = str(names.ip(address)) if address else ""
    forgotten = netns.run_inside(where.path, lambda: state.flush_neighbours(ifname, wanted))
    click.echo(f"{forgotten} forgotten in {where.name}")


@click.group(
    epilog="""\b
Examples:
  ebpfnet link set ns0 veth0 --promisc on
"""
)
def link() -> None:
    """Interfaces; `ebpfnet show links` lists them."""


@link.command(
    "set",
    epilog="""\b
Examples:
  ebpfnet link set ns0 veth0 --promisc on
""",
)
@node_argument
@click.argument("ifname")
@click.option(
    "--promisc",
    type=click.Choice(["on", "off"]),
    required=True,
    help="Take in frames that are for others too.",
)
@options.verbose
def set_link(node: str, ifname: str, promisc: str) -> None:
    """Change an interface."""
    options.require_privileges()
    from datapath import names
    from datapath.kernel.net import netns, state

    where = names.node(node)
    netns.run_inside(where.path, lambda: state.set_promiscuous(ifname, promisc == "on"))
    click.echo(f"{ifname} in {where.name}: promiscuous {promisc}")
