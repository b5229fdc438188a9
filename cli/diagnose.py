"""diagnose: why one namespace cannot reach another."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cli import options, output
from cli.show import complete_node
from datapath.errors import InvalidInput

if TYPE_CHECKING:
    from datapath.diagnose import Cause, Diagnosis

_EXIT_NOT_HEALTHY = 1


def _port(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int]:
    """PORT, PORT/tcp or PORT/udp as (protocol, number); number 0 for none."""
    if value is None:
        return "tcp", 0
    number, _, protocol = value.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp"):
        raise click.BadParameter(f"{protocol!r} is neither tcp nor udp")
    if not (number.isascii() and number.isdigit()) or not 0 < int(number[:6]) < 1 << 16:
        raise click.BadParameter(f"{number!r} is not a port from 1 to 65535")
    return protocol, int(number)


@click.command(
    epilog="""\b
Examples:
  ebpfnet diagnose ns0 ns1
  ebpfnet diagnose ns0 ns1 --port 8080/tcp
  ebpfnet diagnose tuntap-h1 tuntap-h2 --to 10.8.8.2
  ebpfnet diagnose 4711 host -o json | jq -r '.causes[].sentence'
  ebpfnet diagnose ns0 ns1 --fix
"""
)
@click.argument("a", shell_complete=complete_node)
@click.argument("b", shell_complete=complete_node)
@click.option("--to", metavar="ADDRESS", default="", help="Which address of B, of several.")
@click.option("--port", callback=_port, metavar="PORT[/udp]", help="Whether this port is reached.")
@click.option("--fix", is_flag=True, help="Ask for each remedy, do it, and look again.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@options.output
@options.verbose
def diagnose(
    a: str, b: str, to: str, port: tuple[str, int], fix: bool, yes: bool, form: str
) -> None:
    """Find out why A does not reach B.

    A and B are namespaces by name, PID or path, or "host" for this one; anybody may have made them.
    The way is walked as the kernels on it would choose it, in both directions; what is wrong there
    is told in a sentence each, with the command that mends it. Exit code 1 where something is
    wrong; with --fix, where something still is.

    \b
    What it looks for:
      interfaces   missing, down, without their other end, ARP off, an MTU too small
      addresses    missing, had by two, not in use yet; MACs had by two; neighbour entries
      segments     not joined; ports of bridges blocked, isolated; entries, VLANs, macvlan modes
      routes       none, refusing, to nobody, by the wrong interface, in a circle; ip rules
      routers      that do not forward, refuse the source, answer no ARP for others
      firewalls    the rule of nftables or iptables that drops it; masquerade and mapped ports
      tunnels      VXLAN and IPIP told the wrong thing; tun and tap that nobody reads
      this kit     maps, programs and offloads of its networks, and what they dropped
      ports        on which nobody listens, or at another address
    What is none of these the kernel is asked for: where it drops the probes, and why.
    """
    options.require_privileges()
    if yes and not fix:
        raise InvalidInput("--yes does nothing without --fix")
    from datapath import names
    from datapath.diagnose import diagnose as look

    protocol, number = port

    def run() -> Diagnosis:
        return look(names.node(a), names.node(b), to=to, protocol=protocol, port=number)

    found = run()
    tried = set[str]()
    # One at a time: what mends the first may mend others.
    while fix and (cause := next((c for c in found.causes if c.remedy not in tried), None)):
        tried.add(cause.remedy)
        if _mend(cause, ask=not yes):
            found = run()
    if form != "table":
        output.document(form, asdict(found))
    elif found.healthy:
        what = f"port {number}/{protocol} at {found.target}" if number else found.target
        click.echo(f"{found.sender} reaches {found.receiver} ({what}): nothing is wrong")
    else:
        for cause in found.causes:
            click.echo(f"{cause.sentence}\n    {cause.remedy}")
    if not found.healthy:
        raise click.exceptions.Exit(_EXIT_NOT_HEALTHY)


def _mend(cause: Cause, *, ask: bool) -> bool:
    """Do what a remedy says, if it is a command; whether it was done."""
    from datapath.diagnose import mend

    click.echo(cause.sentence, err=True)
    if not cause.commands:
        click.echo(f"    no command mends this; {cause.remedy}", err=True)
        return False
    if ask and not click.confirm(f"    run `{cause.remedy}`?", err=True):
        return False
    if not mend(cause):
        click.echo(f"    did not work: {cause.remedy}", err=True)
        return False
    if not ask:
        click.echo(f"    done: {cause.remedy}", err=True)
    return True
