"""status: what is attached, read from pins, links and filters."""

from __future__ import annotations

import click

from cli import options, output


@click.command(
    epilog="""\b
Examples:
  ebpfnet status
  ebpfnet status -o json
"""
)
@options.output
@options.verbose
def status(form: str) -> None:
    """Networks with their modes, hooks, program ids and names, and endpoints."""
    options.require_privileges()
    from datapath import status as reading

    networks = reading.read()
    if form != "table":
        output.document(form, networks)
        return
    if not networks:
        click.echo("no network; make one: ebpfnet attach", err=True)
        return
    for position, network in enumerate(networks):
        if position:
            click.echo()
        if error := network.get("error"):
            click.echo(f"{network['network']}: {error}")
            continue
        click.echo(
            f"{network['network']}: mode {network['mode']}, hook {network['hook']}, "
            f"otherwise {network['otherwise']}, subnet {network['subnet']}, "
            f"{len(network['endpoints'])} endpoints, made by ebpfnet {network['kit_version']}"
        )
        output.rows(
            "table",
            network["endpoints"],
            {
                "id": "id",
                "netns": "namespace",
                "ipv4": "IPv4",
                "host_ifname": "host interface",
                "hook": "hook",
                "program_id": "program id",
                "program": "program",
                "state": "state",
            },
        )
