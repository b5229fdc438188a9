"""attach, detach, reload, gc: what changes the machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cli import options, output
from datapath.errors import NotFound

if TYPE_CHECKING:
    from datapath.attaching import Plan
    from datapath.endpoint import Endpoint

_SLOW = 1.0  # seconds after which progress is shown


class Progress:
    """A counter on stderr for what takes longer than a second, on a terminal only."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.started = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        if self.terminal and time.monotonic() - self.started > _SLOW:
            click.echo(f"\r{self.what}: step {done} of {total}", err=True, nl=done == total)


@click.command(
    epilog="""\b
Examples:
  ebpfnet attach                          make ns0 and ns1 at 10.1.1.2 and 10.1.1.3
  ebpfnet attach ns1 ns2                  adopt what is there, out of its bridge
  ebpfnet attach web --ip web=10.1.1.80   a further endpoint, at this address
  ebpfnet attach 4711                     the namespace of process 4711
  ebpfnet attach ns1 ns2 --otherwise kernel   beside their bridge, which keeps the rest
  ebpfnet attach a b --network lab2 --subnet 10.9.0.0/16 --mode xdp
  ebpfnet attach --lab bridge             eBPF in place of what forwards in a lab that is up
  ebpfnet attach ns1 ns2 --dry-run        what would be typed by hand
"""
)
@click.argument("namespaces", nargs=-1, metavar="[NETNS]...", shell_complete=options.complete_netns)
@options.network
@options.lab
@click.option(
    "--mode",
    metavar="MODE",
    shell_complete=lambda ctx, param, incomplete: [
        name for name in ("ebpf", "tc-peer", "tc", "xdp") if name.startswith(incomplete)
    ],
    help="Forwarding mode: tc-peer (the default, also called ebpf), tc or xdp.",
)
@click.option(
    "--hook",
    type=click.Choice(["tcx", "clsact"]),
    help="Where tc programs sit; by default tcx where the kernel has it.",
)
@click.option(
    "--otherwise",
    type=click.Choice(["drop", "kernel"]),
    help="What becomes of frames that are for no endpoint.  [default: drop]",
)
@click.option("--subnet", metavar="CIDR", help="Where addresses come from.  [default: 10.1.1.0/24]")
@click.option(
    "--ip", "addresses", multiple=True, metavar="NETNS=ADDR", help="This one's IPv4 address."
)
@click.option(
    "--max-endpoints",
    type=click.IntRange(1, 1 << 20),
    metavar="N",
    help="Room in a new network's maps.  [default: 16384]",
)
@click.option("--dry-run", is_flag=True, help="Print each step as a command, and do none of it.")
@options.output
@options.verbose
def attach(
    namespaces: tuple[str, ...],
    network: str,
    lab: str,
    mode: str | None,
    hook: str | None,
    otherwise: str | None,
    subnet: str | None,
    addresses: tuple[str, ...],
    max_endpoints: int | None,
    dry_run: bool,
    form: str,
) -> None:
    """Join namespaces by eBPF, without a bridge.

    A NETNS is a name, a PID or a path such as /proc/PID/ns/net. One that does not exist is made;
    one without an interface gets a veth; one with a veth whose other end is here keeps it, with
    address and MAC, and its host end leaves its bridge until `ebpfnet detach`. Without NETNS: ns0
    and ns1.

    Frames for no endpoint are dropped; with `--otherwise kernel` they go on as if there were no
    program, by the bridge in which host ends then stay, or by the host's routes.

    With --lab, what forwards between nodes of a lab that is up is replaced: all that hang from one
    bridge or router are joined, with `--otherwise kernel` for the rest. A lab that is declared to
    be joined by eBPF is so again.

    Running it again is harmless and adds what is missing.
    """
    options.require_privileges()
    from datapath import attaching, names
    from datapath.records import HookId, Otherwise

    hook_id = HookId[hook.upper()] if hook else None
    if lab:
        others = namespaces or subnet or addresses or otherwise or max_endpoints or dry_run
        if others or options.is_given("network"):
            raise click.UsageError("--lab goes with --mode and --hook alone")
        from datapath.labs import catalogue, switching

        standing = catalogue.standing(lab)
        plans = switching.switch(standing, mode, hook_id, Progress("attaching"))
        _tell(plans, form)
        return
    request = attaching.Request(
        targets=namespaces or attaching.DEFAULT_TARGETS,
        network=network,
        mode=mode,
        hook=hook_id,
        otherwise=Otherwise[otherwise.upper()] if otherwise else None,
        subnet=names.subnet(subnet) if subnet else None,
        addresses=names.addresses(addresses),
        max_endpoints=max_endpoints,
    )
    if dry_run:
        for command in attaching.plan(request).commands():
            click.echo(command)
        return
    _tell([attaching.attach(request, Progress("attaching"))], form)


def _tell(plans: Sequence[Plan], form: str) -> None:
    """Who was attached where."""
    rows: list[dict[str, Any]] = [
        {
            "network": plan.network.name,
            "id": member.id,
            "netns": member.label,
            "ifname": member.ifname,
            "ipv4": str(member.ipv4),
            "host_ifname": member.host_ifname,
            "interface": "adopted" if member.adoption else "made",
        }
        for plan in plans
        for member in plan.members
    ]
    if form == "table":
        for plan in plans:
            click.echo(
                f"network {plan.network.name}: mode {plan.mode.name} at "
                f"{plan.network.hook.name.lower()}, subnet {plan.network.subnet}, "
                f"{len(plan.members)} attached, {len(plan.present)} there before",
                err=True,
            )
    output.rows(form, rows, {**_HEADINGS, "interface": "interface"})


_HEADINGS = {
    "id": "id",
    "netns": "namespace",
    "ifname": "ifname",
    "ipv4": "IPv4",
    "host_ifname": "host interface",
}


@click.command(
    epilog="""\b
Examples:
  ebpfnet detach                 the whole network "default"
  ebpfnet detach ns1             one endpoint
  ebpfnet detach --network lab2
  ebpfnet detach --lab bridge    its bridge forwards again
  ebpfnet detach --all           every network
"""
)
@click.argument("namespaces", nargs=-1, metavar="[NETNS]...", shell_complete=options.complete_netns)
@options.network
@options.lab
@click.option("--all", "everything", is_flag=True, help="Every network.")
@options.output
@options.verbose
def detach(
    namespaces: tuple[str, ...], network: str, lab: str, everything: bool, form: str
) -> None:
    """Undo attach: what it made goes, what it adopted is put back exactly as it was."""
    options.require_privileges()
    from datapath import detaching
    from datapath.network import names

    if everything and namespaces:
        raise click.UsageError("--all takes no NETNS")
    if lab and (everything or namespaces or options.is_given("network")):
        raise click.UsageError("--lab takes neither NETNS nor --network nor --all")
    if everything and options.is_given("network"):
        raise click.UsageError("--all takes no --network")
    if lab:
        detached = _given_back(lab)
    else:
        detached = [
            (name, endpoint)
            for name in (names() if everything else [network])
            for endpoint in detaching.detach(name, namespaces)
        ]
    rows = [
        {
            "network": name,
            "id": endpoint.id,
            "netns": endpoint.netns,
            "ifname": endpoint.ifname,
            "ipv4": str(endpoint.ipv4) if endpoint.ipv4 else None,
            "host_ifname": endpoint.host_ifname,
        }
        for name, endpoint in detached
    ]
    if form == "table":
        click.echo(f"{len(rows)} detached", err=True)
    output.rows(form, rows, {"network": "network", **_HEADINGS})


def _given_back(lab: str) -> list[tuple[str, Endpoint]]:
    from datapath.labs import catalogue, switching

    standing = catalogue.standing(lab)
    if not (detached := switching.back(standing)):
        raise NotFound(
            f"lab {standing.name} is not joined by eBPF",
            remedy=f"ebpfnet attach --lab {standing.name}",
        )
    return detached


@click.command(
    epilog="""\b
Example:
  ebpfnet reload --network lab2     after a change to the C sources, or an upgrade
"""
)
@options.network
@options.verbose
def reload(network: str) -> None:
    """Compile a live network's program anew and put it in the old one's place.

    Map contents stay, and each endpoint changes over in one step: no packet is lost.
    """
    options.require_privileges()
    from datapath import reloading

    count = reloading.reload(network)
    click.echo(f"network {network}: program replaced at {count} endpoints", err=True)


@click.command(
    epilog="""\b
Examples:
  ebpfnet gc              after a crash, or after namespaces were deleted by hand
  ebpfnet gc --force      remove networks that another version of the kit made, too
"""
)
@click.option("--force", is_flag=True, help="Remove networks whose maps are not ours to read.")
@options.output
@options.verbose
def gc(force: bool, form: str) -> None:
    """Repair what was killed midway and drop what has lost its interfaces.

    Networks that somebody works on at the moment are left alone.
    """
    options.require_privileges()
    from datapath import detaching

    done = detaching.collect(
        force=force,
        report=(lambda line: click.echo(line)) if form == "table" else (lambda line: None),
    )
    if form != "table":
        output.document(form, done)
    elif not done:
        click.echo("nothing to do", err=True)
