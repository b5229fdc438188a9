"""Labs going up and down: steps made under the lab's journal, all of them or none."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress

from datapath import journal as journals
from datapath.errors import Conflict, EbpfnetError, NotFound
from datapath.journal import NETWORK_OWNER, Journal
from datapath.labs import catalogue, needs, planning, switching
from datapath.labs.catalogue import journal_name, record
from datapath.labs.model import Lab
from datapath.steps.nodes import KeepRecord

Progress = Callable[[int, int], None]


def up(lab: Lab, progress: Progress = lambda done, total: None) -> None:
    """Build a lab; `progress` is told steps done and in all.

    Raises Unsupported before anything is built, Conflict where it is up already or one of its names
    is taken, EbpfnetError; then the machine is as it was.
    """
    needs.require(lab)
    with Journal(journal_name(lab.name)) as journal:
        journal.recover()
        if journal.entries():
            raise Conflict(
                f"lab {lab.name} is up already", remedy=f"ebpfnet lab down {lab.name}, or use it"
            )
        steps = [
            *planning.steps(lab, f"ebpfnet:{secrets.token_hex(8)}"),
            KeepRecord(str(record(lab.name)), lab.text),
        ]
        nodes = {planning.path(lab, name): name for name in lab.nodes}
        with journal.transaction():
            for done, step in enumerate(steps):
                progress(done, len(steps))
                try:
                    journal.do(NETWORK_OWNER, step)
                except EbpfnetError as error:
                    if node := nodes.get(str(getattr(step, "netns", None))):
                        error.message = f"node {node}: {error.message}"
                    raise
            if lab.ebpf:
                switching.switch(lab)
        progress(len(steps), len(steps))


def down(name: str) -> None:
    """Take a lab down, also one that was killed half-way. Raises NotFound, EbpfnetError."""
    if journal_name(name) not in journals.networks():
        raise NotFound(f"lab {name} is not up", remedy="see `ebpfnet lab list`")
    with Journal(journal_name(name)) as journal:
        # Killed before it had a record, it has no network yet; or that was detached by hand. What
        # is left of one whose record cannot be read, gc removes.
        with suppress(NotFound):
            switching.back(catalogue.standing(name))
        journal.undo(journal.entries())
