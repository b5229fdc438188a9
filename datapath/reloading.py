"""Replacing a live network's programs: see programs.replace."""

from __future__ import annotations

from datapath import modes, names
from datapath.journal import Journal, at_home
from datapath.network import Network


def reload(network: str) -> int:
    """Compile and put in place; returns how many endpoints changed over.

    Raises NotFound, LayoutMismatch, CompileError, VerifierError, KernelError; the old program runs
    on where it has not been replaced.
    """
    names.network_name(network)
    with Network(network) as existing, at_home(network), Journal(network) as journal:
        journal.recover()
        return modes.by_id(existing.mode).reload(existing)
