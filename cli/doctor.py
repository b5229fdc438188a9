"""doctor: what is missing on this machine, and what to type."""

from __future__ import annotations

import click

from cli import options, output
from datapath.errors import Unsupported


@click.command(
    epilog="""\b
Examples:
  ebpfnet doctor
  ebpfnet doctor -o json
  ebpfnet doctor -v          with the compiler's words, if it cannot compile
"""
)
@options.output
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Print the compiler's, the verifier's or the system's own words whole, too.",
)
def doctor(form: str, verbose: bool) -> None:
    """Check every prerequisite of this machine; each is ok, or has the command that mends it.

    What is optional says what is lost without it. Exit code 0 when all that is required is there.
    Changes nothing, and runs without root, which leaves some checks unknown.
    """
    from datapath import doctor as examining

    checks = examining.examine()
    output.rows(
        form,
        [
            {
                "name": check.name,
                "required": check.required,
                "state": str(check.state),
                "found": check.found,
                "remedy": check.remedy,
            }
            for check in checks
        ],
        {"name": "check", "state": "state", "found": "found", "remedy": "remedy"},
    )
    if verbose:
        for check in checks:
            if check.detail:
                click.echo(f"{check.name}: {check.detail}", err=True)
    if failed := [check.name for check in checks if check.failed]:
        raise Unsupported(
            "machine",
            f"this machine is not ready: {', '.join(failed)}",
            remedy="type the remedies of these rows",
        )
