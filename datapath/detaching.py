"""Detaching and collecting: what the journals say was done is undone.

`detach` takes endpoints out, and with the last one the network; `collect` (`ebpfnet gc`) finishes
what was killed midway and removes what has lost its interfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress

from datapath import journal as journals
from datapath import names, programs
from datapath import network as networks
from datapath.endpoint import Endpoint
from datapath.errors import Busy, EbpfnetError, KernelError, LayoutMismatch, NotFound
from datapath.journal import NETWORK_OWNER, Journal
from datapath.kernel.net import links
from datapath.labs import JOURNAL_PREFIX
from datapath.network import Network
from datapath.steps.interfaces import ExpediteRcu
from datapath.views.peers import everywhere


def detach(network: str, targets: Sequence[str] = ()) -> list[Endpoint]:
    """Take endpoints out of a network, all of them without `targets`; returns which.

    What attach made goes, what it adopted is put back as it was. Raises NotFound for a network or
    endpoint that is not there; EbpfnetError where something could not be undone, after all the rest
    was.
    """
    networks.require_bpffs()
    names.network_name(network)
    if network not in networks.names() and network not in journals.networks():
        raise NotFound(
            f"there is no network {network}",
            remedy=f"networks: {', '.join(networks.names()) or 'none'}",
        )
    with journals.at_home(network), Journal(network) as journal:
        recovered = journal.recover()
        if network not in networks.names():
            if recovered:
                return []
            raise NotFound(f"there is no network {network}")
        with Network(network) as existing:
            existing.check_layouts()
            endpoints = existing.endpoints()
            leaving = [existing.endpoint(target) for target in targets] or endpoints
        hurry = ExpediteRcu.worthwhile(len(leaving))
        with (
            journal.transaction(),
            journal.passing(NETWORK_OWNER, ExpediteRcu()) if hurry else nullcontext(),
        ):
            journal.leave([endpoint.id for endpoint in leaving])
        if len({endpoint.id for endpoint in leaving}) == len(endpoints):
            _remove_network(journal)
        return leaving


def _remove_network(journal: Journal) -> None:
    """Undo what is left, which is what the network as a whole was given."""
    journal.leave(sorted({entry.owner for entry in journal.entries()}))
    programs.uninstall(journal.network)


def collect(*, force: bool = False, report: Callable[[str], None] = lambda line: None) -> list[str]:
    """Repair every network: finish what was killed, drop what vanished. Returns what was done.

    Networks that somebody works on are left alone. With `force`, networks whose maps another
    version of the kit made are removed whole. Raises EbpfnetError where something could not be
    repaired, after all the rest was.
    """
    networks.require_bpffs()  # without its pins every network would look as if it had gone
    done: list[str] = []
    errors: list[Exception] = []

    def say(line: str) -> None:
        done.append(line)
        report(line)

    # Labs first: what was half made of one goes, and with it endpoints of networks.
    found = {*networks.names(), *journals.networks()}
    for name in sorted(found, key=lambda name: (not name.startswith(JOURNAL_PREFIX), name)):
        title = journals.title(name)
        try:
            home = journals.home(name)
            if home and home not in {namespace.inode for namespace in everywhere()}:
                programs.uninstall(name)
                journals.forget(name)
                say(f"{title}: removed, the network namespace that it was made in has gone")
                continue
            with journals.at_home(name), Journal(name, wait=False) as journal:
                _repair(journal, force, say)
        except Busy:
            report(f"{title}: another process is working on it, left alone")
        except Exception as error:  # whatever it is, the others are to be repaired
            errors.append(error)
    if errors:
        raise errors[0]
    return done


def _repair(journal: Journal, force: bool, say: Callable[[str], None]) -> None:
    name, title = journal.network, journals.title(journal.network)
    if force and _is_foreign(name):
        programs.uninstall(name)  # first: what is undone below looks into no map then
        _remove_network(journal)
        say(f"{title}: removed, its maps are not ours to read")
        return
    if journal.recover():
        say(f"{title}: undid what a killed process had left half done")
    if name.startswith(JOURNAL_PREFIX):
        return  # a lab stands until it is taken down
    if name not in networks.names():
        if journal.entries():
            journal.undo(journal.entries())
            say(f"{title}: undid what was left of it")
        return
    # Left by a `reload` that was killed; every endpoint runs the old program or the new one.
    with suppress(FileNotFoundError):
        (networks.ROOT / name / "progs/replacement").unlink()
        say(f"{title}: dropped what a killed process had left half replaced")
    alive = links.names()
    try:
        with Network(name) as network:
            endpoints = network.endpoints()
    except (LayoutMismatch, NotFound, KernelError):
        if not force:
            raise
        _remove_network(journal)
        say(f"{title}: removed, its maps are not ours to read")
        return
    gone = [endpoint for endpoint in endpoints if endpoint.ifindex not in alive]
    if gone:
        journal.leave([endpoint.id for endpoint in gone])
        labels = ", ".join(endpoint.netns for endpoint in gone)
        say(f"{title}: removed endpoints whose interfaces are gone: {labels}")
    if len(gone) == len(endpoints):
        _remove_network(journal)
        say(f"{title}: removed, it has no endpoint")


def _is_foreign(network: str) -> bool:
    """Whether another version of the kit made one of the network's maps."""
    try:
        with Network(network) as existing:
            existing.check_layouts()
    except LayoutMismatch:
        return True
    except EbpfnetError:
        return False  # half made or half gone
    return False
