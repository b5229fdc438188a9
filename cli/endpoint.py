"""endpoint: who is on a network, and what they sent."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from cli import options, output

_HEADINGS = {
    "id": "id",
    "netns": "namespace",
    "ifname": "ifname",
    "ipv4": "IPv4",
    "ipv6": "IPv6",
    "mac": "MAC",
    "host_ifname": "host interface",
    "ifindex": "ifindex",
    "rx_packets": "rx packets",
    "rx_bytes": "rx bytes",
    "tx_packets": "tx packets",
    "tx_bytes": "tx bytes",
    "drops": "drops",
    "left": "left",
}
_MORE_HEADINGS = {
    "answers": "ARP and ND answers",
    "ipv6_link_local": "IPv6 link-local",
    "addresses": "addresses",
    "netns_inode": "namespace inode",
    "network": "network",
}


def _complete_endpoint(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from datapath.errors import EbpfnetError
    from datapath.network import Network

    try:
        with Network(ctx.params["network"]) as network:
            names = [endpoint.netns for endpoint in network.endpoints()]
    except EbpfnetError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.group(
    epilog="""\b
Examples:
  ebpfnet endpoint list
  ebpfnet endpoint get ns0
"""
)
def endpoint() -> None:
    """Endpoint tables, read from the pinned maps.

    rx is what was handed on to an endpoint, tx what it sent and was handed on, drops what it sent
    and was not, left what it sent and was left to the kernel (`attach --otherwise kernel`); bytes
    count whole frames, and a GSO super-packet is one packet.
    """


@endpoint.command(
    "list",
    epilog="""\b
Examples:
  ebpfnet endpoint list
  ebpfnet endpoint list --network lab2
  ebpfnet endpoint list -o json | jq '.[] | select(.drops > 0) | .netns'
""",
)
@options.network
@options.output
@options.verbose
def list_endpoints(network: str, form: str) -> None:
    """Every endpoint of a network, by id, with its counters.

    IPv6 is the link-local address where an endpoint has no other.
    """
    options.require_privileges()
    from datapath import tables
    from datapath.network import Network

    with Network(network) as opened:
        rows = tables.endpoints(opened)
    output.rows(form, rows, _HEADINGS, empty=f"network {network} has no endpoint")


@endpoint.command(
    "get",
    epilog="""\b
Examples:
  ebpfnet endpoint get ns0
  ebpfnet endpoint get 10.1.1.3 --network lab2
  ebpfnet endpoint get /proc/4711/ns/net -o yaml
""",
)
@click.argument("which", metavar="NETNS", shell_complete=_complete_endpoint)
@options.network
@options.output
@options.verbose
def get_endpoint(which: str, network: str, form: str) -> None:
    """All about one endpoint.

    NETNS is its namespace by name, path or PID, else its id, else one of its addresses: the first
    of these that fits.
    """
    options.require_privileges()
    from datapath import tables
    from datapath.network import Network

    with Network(network) as opened:
        found = tables.endpoint(opened, which)
    if form != "table":
        output.document(form, found)
        return
    shown = {**found, "addresses": ", ".join(found["addresses"])}
    output.rows(
        form,
        [
            {"field": heading, "value": shown[key]}
            for key, heading in (_HEADINGS | _MORE_HEADINGS).items()
        ],
    )
