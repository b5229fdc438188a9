"""Attaching: what the user asks for becomes members, these become steps, and these are made.

Planning only reads; `attach` does what `plan` says, under the network's journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from pathlib import Path
from typing import Final

from datapath import journal as journals
from datapath import members as describing
from datapath import modes, names, refreshing
from datapath import network as networks
from datapath.endpoint import Endpoint, Member
from datapath.errors import Conflict, InvalidInput, Unsupported
from datapath.journal import NETWORK_OWNER, Journal, Step
from datapath.kernel.bpf import features
from datapath.kernel.net import links
from datapath.modes.base import DEFAULT_MAX_ENDPOINTS, EbpfMode, NetworkSpec
from datapath.names import DEFAULT_NETWORK, Target
from datapath.network import Network
from datapath.records import HookId, ModeId, Otherwise
from datapath.steps.interfaces import ExpediteRcu
from datapath.steps.programs import SHELL_FUNCTIONS, AddEndpoint

DEFAULT_TARGETS: Final = ("ns0", "ns1")


@dataclass(frozen=True, slots=True)
class Request:
    """What `attach` is asked for; None and empty fields take the network's or the kit's defaults.

    `targets` are namespaces by name, PID or path; `addresses` maps those, as written there, to the
    IPv4 addresses that they are to have.
    """

    targets: Sequence[str] = DEFAULT_TARGETS
    network: str = DEFAULT_NETWORK
    mode: str | None = None
    hook: HookId | None = None
    otherwise: Otherwise | None = None
    subnet: IPv4Network | None = None
    addresses: Mapping[str, IPv4Address] = field(default_factory=dict)
    max_endpoints: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done: the steps with the endpoint ids they are done for, and who was there."""

    network: NetworkSpec
    mode: EbpfMode
    members: tuple[Member, ...]
    present: tuple[Endpoint, ...]
    steps: tuple[tuple[int, Step], ...]

    def commands(self) -> list[str]:
        """The same as a person would type it."""
        commands = [command for _, step in self.steps for command in step.commands()]
        needs_functions = any(isinstance(step, AddEndpoint) for _, step in self.steps)
        return [SHELL_FUNCTIONS, *commands] if needs_functions else commands


def attach(
    request: Request, progress: Callable[[int, int], None] = lambda done, total: None
) -> Plan:
    """Join namespaces; all of it, or nothing. `progress` is told steps done and steps in all.

    Raises EbpfnetError; then the machine is as it was.
    """
    networks.require_bpffs()
    names.network_name(request.network)
    with journals.at_home(request.network), Journal(request.network) as journal:
        journal.recover()
        _forget_vanished(journal, request.network)
        made = plan(request)
        if not made.steps:
            return made
        hurry = ExpediteRcu.worthwhile(len(made.members))
        with (
            journal.transaction(),
            journal.passing(NETWORK_OWNER, ExpediteRcu()) if hurry else nullcontext(),
        ):
            for done, (owner, step) in enumerate(made.steps):
                progress(done, len(made.steps))
                journal.do(owner, step)
        progress(len(made.steps), len(made.steps))
        return made


def _forget_vanished(journal: Journal, network: str) -> None:
    """Take out endpoints whose interfaces are gone: their namespaces were deleted meanwhile."""
    if network not in networks.names():
        return
    alive = links.names()
    with Network(network) as existing:
        gone = [each.id for each in existing.endpoints() if each.ifindex not in alive]
    if gone:
        journal.leave(gone)


def plan(request: Request) -> Plan:
    """What `attach` would do now. Raises EbpfnetError for what cannot be done."""
    name = names.network_name(request.network)
    meant = {text: names.target(text) for text in request.targets}
    targets = list({target.label: target for target in meant.values()}.values())
    wanted = _wanted_addresses(request, {text: target.label for text, target in meant.items()})
    present: list[Endpoint] = []
    taken: dict[IPv4Address | IPv6Address, str] = {}
    existing: NetworkSpec | None = None
    mode = modes.ebpf(request.mode or modes.DEFAULT)
    if mode.id is ModeId.USER:
        raise InvalidInput(
            f"mode {mode.name} is the user's own, and measured by `ebpfnet compare` alone",
            remedy="choose another with --mode",
        )
    if name in networks.names():
        with Network(name) as network:
            network.check_layouts()
            mode = modes.by_id(network.mode)
            existing = NetworkSpec(
                name,
                network.subnet,
                network.hook,
                network.max_endpoints,
                network.otherwise,
                exists=True,
            )
            present = network.endpoints()
            taken = describing.addresses_in(network)
        _check_same(request, existing, mode)
    elif missing := mode.missing():
        raise Unsupported(
            mode.name,
            f"this kernel cannot do mode {mode.name}: it lacks {missing}",
            remedy="choose another with --mode",
        )

    by_inode = {endpoint.netns_inode: endpoint for endpoint in present}
    new: list[Target] = []
    again: list[tuple[Endpoint, Path]] = []
    for target in targets:
        endpoint = by_inode.get(target.netns.inode) if target.netns else None
        if endpoint is None or target.netns is None:
            new.append(target)
        elif wanted.get(target.label, endpoint.ipv4) != endpoint.ipv4:
            raise Conflict(
                f"{target.label} is attached with {endpoint.ipv4} already",
                remedy=f"ebpfnet detach {target.label} --network {name}, then attach it anew",
            )
        else:
            again.append((endpoint, target.netns.path))

    # Only what exists can have an interface here already.
    host_links = links.all_links() if any(target.netns for target in targets) else []
    found = {target.label: describing.find_interface(target, host_links, name) for target in new}
    subnet = _subnet(request, existing, found.values())
    spec = existing or NetworkSpec(
        name,
        subnet,
        _hook(request, mode),
        request.max_endpoints or DEFAULT_MAX_ENDPOINTS,
        Otherwise.DROP if request.otherwise is None else request.otherwise,
    )
    members = describing.describe(new, found, wanted, spec, mode, present, taken)
    if len(present) + len(members) > spec.max_endpoints:
        raise Conflict(
            f"network {name} has room for {spec.max_endpoints} endpoints, "
            f"not for {len(present) + len(members)}",
            remedy="make another with --network and --max-endpoints",
        )
    steps: list[tuple[int, Step]] = []
    if again:
        with Network(name) as network:
            steps += refreshing.steps(network, mode, again, host_links, taken)
    if members or not existing:
        steps += mode.steps(spec, members)
    return Plan(spec, mode, tuple(members), tuple(present), tuple(steps))


def _wanted_addresses(request: Request, labels: Mapping[str, str]) -> dict[str, IPv4Address]:
    """Addresses by label; each must be for one of the targets, whose `labels` go by their texts."""
    for text in request.addresses:
        if text not in labels and text not in labels.values():
            raise InvalidInput(
                f"--ip names {text}, which is not among the namespaces to attach",
                remedy=f"attach {' '.join(request.targets)} {text}",
            )
    return {labels.get(text, text): address for text, address in request.addresses.items()}


def _check_same(request: Request, existing: NetworkSpec, mode: EbpfMode) -> None:
    """Options that contradict the network as it is. Raises Conflict."""
    asked_mode = modes.ebpf(request.mode).name if request.mode else mode.name
    otherwise = existing.otherwise if request.otherwise is None else request.otherwise
    for what, asked, has in (
        ("mode", asked_mode, mode.name),
        ("hook", request.hook or existing.hook, existing.hook),
        ("otherwise", otherwise, existing.otherwise),
        ("subnet", request.subnet or existing.subnet, existing.subnet),
        ("room", request.max_endpoints or existing.max_endpoints, existing.max_endpoints),
    ):
        if asked != has:
            shown = has.name.lower() if isinstance(has, HookId | Otherwise) else has
            raise Conflict(
                f"network {existing.name} has {what} {shown} already",
                remedy=f"detach it first, or make another with --network (not {existing.name})",
            )


def _hook(request: Request, mode: EbpfMode) -> HookId:
    hook = request.hook or features.preferred_hook(mode.hooks)
    if hook not in mode.hooks:
        known = ", ".join(each.name.lower() for each in mode.hooks)
        raise InvalidInput(
            f"mode {mode.name} does not attach at {hook.name.lower()}", remedy=f"choose {known}"
        )
    if hook is HookId.TCX and not features.has(features.TCX):
        raise Unsupported("tcx", "this kernel has no tcx (Linux 6.6)", remedy="use --hook clsact")
    return hook


def _subnet(
    request: Request, existing: NetworkSpec | None, found: Iterable[describing.Found | None]
) -> IPv4Network:
    """Asked for, the network's own, that of the first adopted address, or the kit's default."""
    if existing:
        return existing.subnet
    if request.subnet:
        return request.subnet
    for each in found:
        for address in each.addresses if each else ():
            if isinstance(address, IPv4Interface) and address.network.num_addresses > 2:
                return address.network
    return names.DEFAULT_SUBNET
