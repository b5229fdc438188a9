"""Labs joined by eBPF: those that are declared so, others whose forwarding is replaced, and back.

Each group (groups.py) is a network of the kit's, at home in the namespace of the node that it hangs
from. Where a bridge or a router is replaced, that goes on with all that is not between two members
(`attach --otherwise kernel`), so that whoever reached whom does so still.
"""

from __future__ import annotations

from collections.abc import Callable

from datapath import attaching, detaching
from datapath import journal as journals
from datapath import network as networks
from datapath.attaching import Plan, Request
from datapath.endpoint import Endpoint
from datapath.errors import Conflict, EbpfnetError, InvalidInput
from datapath.kernel.net import netns
from datapath.labs import planning
from datapath.labs.catalogue import require_nodes
from datapath.labs.groups import Group, declared, subnet, switchable
from datapath.labs.model import Lab
from datapath.network import Network
from datapath.records import HookId, Otherwise

Progress = Callable[[int, int], None]


def switch(
    lab: Lab,
    mode: str | None = None,
    hook: HookId | None = None,
    progress: Progress = lambda done, total: None,
) -> list[Plan]:
    """Join a lab that is up by eBPF, as it declares or in place of what forwards there.

    All of it, or nothing where that fails. Raises InvalidInput where there is nothing to be
    replaced, Conflict where eBPF joins it already; EbpfnetError.
    """
    if joined(lab):
        raise Conflict(
            f"lab {lab.name} is joined by eBPF already", remedy=f"ebpfnet detach --lab {lab.name}"
        )
    if lab.ebpf:
        mode = mode or lab.ebpf.mode
        return _join(lab, declared(lab), mode, hook, lab.ebpf.otherwise, progress)
    found = switchable(lab)
    if not found:
        raise InvalidInput(
            f"lab {lab.name} has nothing that eBPF could take over: "
            "no two of its nodes hang from one bridge or router by a veth",
            remedy="see `ebpfnet lab draw`, and `ebpfnet attach --lab bridge` for one that has",
        )
    return _join(lab, found, mode, hook, Otherwise.KERNEL, progress)


def back(lab: Lab) -> list[tuple[str, Endpoint]]:
    """Give everything back to the kernel; endpoints by their network. Raises EbpfnetError."""
    return [
        (group.network, endpoint)
        for group in joined(lab)
        for endpoint in detaching.detach(group.network)
    ]


def joined(lab: Lab) -> list[Group]:
    """What of a lab that is up is joined by eBPF at the moment, half made too."""
    return [group for group in (*declared(lab), *switchable(lab)) if _stands(lab, group)]


def _stands(lab: Lab, group: Group) -> bool:
    """Whether a group's network is there, half made too, and no namesake of somebody else's."""
    there = planning.namespace(lab, group.node)
    if not there.exists() or journals.home(group.network) != there.stat().st_ino:
        return False
    members = {planning.netns_name(lab.name, member) for member in group.members}
    try:
        with Network(group.network) as network:
            labels = {endpoint.netns for endpoint in network.endpoints()}
    except EbpfnetError:
        return True
    return not labels or not labels.isdisjoint(members)


def _join(
    lab: Lab,
    found: list[Group],
    mode: str | None,
    hook: HookId | None,
    otherwise: Otherwise,
    progress: Progress,
) -> list[Plan]:
    for group in found:
        if group.network in networks.names():
            raise Conflict(
                f"there is a network {group.network}, as lab {lab.name} is to call its own",
                remedy=f"ebpfnet detach --network {group.network}, or another name for the lab",
            )
        require_nodes(lab, [group.node, *group.members])
    done: list[Plan] = []
    try:
        for group in found:
            request = Request(
                [planning.netns_name(lab.name, member) for member in group.members],
                network=group.network,
                mode=mode,
                hook=hook,
                otherwise=otherwise,
                subnet=subnet(lab, group),
            )
            with netns.entered(planning.namespace(lab, group.node)):
                done.append(attaching.attach(request, progress))
    except BaseException as error:
        for plan in done:
            try:
                detaching.detach(plan.network.name)
            except Exception as failure:
                error.add_note(f"undoing it failed too: {failure}; run `ebpfnet gc`")
        raise
    return done
