"""From a lab to the steps that build it, in the order in which a person would type them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from datapath.journal import Step
from datapath.kernel.net import netns
from datapath.labs import groups
from datapath.labs.model import HOST, VETH, End, Interface, Lab, Node, Shape
from datapath.steps.devices import (
    AddForwarding,
    AddNeighbour,
    AddRoute,
    ConfigureInterface,
    MakeCable,
    MakeDevice,
    SetVlans,
    ShapeInterface,
)
from datapath.steps.interfaces import HOST_NETNS, MakeNamespace
from datapath.steps.nodes import LoadRuleset, NameServers, RunInNode, SetNodeSysctls, StartProcess
from datapath.steps.typed import command

_VXLAN_PORT: Final = 4789  # RFC 7348; iproute2 and the kernel have an older one by themselves


def netns_name(lab: str, node: str) -> str:
    """What a node's namespace is called."""
    return f"{lab}-{node}"


def path(lab: Lab, node: str) -> str:
    """The path of a node's namespace, "" for the host."""
    return "" if node == HOST else str(netns.FOLDER / netns_name(lab.name, node))


def namespace(lab: Lab, node: str) -> Path:
    """What opens a node's namespace, the host's own too."""
    return Path(path(lab, node) or HOST_NETNS)


def mac_of(lab: Lab, end: End) -> str:
    """An interface's MAC: declared, else derived from the names, so the same each time."""
    declared = lab.nodes[end.node].interfaces[end.ifname].mac
    digest = hashlib.sha256(f"{lab.name} {end}".encode()).digest()
    return declared or ":".join(f"{byte:02x}" for byte in (2, *digest[:5]))


def steps(lab: Lab, mark: str) -> list[Step]:
    """Everything that `lab up` does. `mark` tells what it made from namesakes."""
    return [
        *_namespaces(lab, mark),
        *_cables(lab),
        *_devices(lab),
        *_sysctls(lab),
        *_interfaces(lab),
        *_tables(lab),
        *_shapes(lab),
        *_contents(lab, mark),
    ]


def commands(lab: Lab) -> list[str]:
    """The same as a person would type it."""
    typed = [each for step in steps(lab, "") for each in step.commands()]
    if lab.ebpf:
        options = ("--mode", lab.ebpf.mode, "--otherwise", lab.ebpf.otherwise.name.lower())
        for group in groups.declared(lab):
            # Not by `ip netns exec`, which hides bpffs.
            inside = [] if group.node == HOST else ["nsenter", f"--net={path(lab, group.node)}"]
            members = [netns_name(lab.name, node) for node in group.members]
            subnet = groups.subnet(lab, group)
            network = ["--network", group.network, *(["--subnet", str(subnet)] if subnet else [])]
            typed.append(command(*inside, "ebpfnet", "attach", *members, *network, *options))
    return typed


def _namespaces(lab: Lab, mark: str) -> Iterator[Step]:
    for node in lab.nodes.values():
        if node.name != HOST:
            yield MakeNamespace(netns_name(lab.name, node.name), mark)


def _cables(lab: Lab) -> Iterator[Step]:
    for link in lab.links:
        near, far = sorted(link.ends, key=lambda end: end.node != HOST)
        yield MakeCable(
            netns=[path(lab, near.node), path(lab, far.node)],
            ifnames=[near.ifname, far.ifname],
            macs=[mac_of(lab, near), mac_of(lab, far)],
            mtu=link.mtu,
        )


def _devices(lab: Lab) -> Iterator[Step]:
    """All that no link makes; what stands on another comes after it."""
    made: set[End] = set()
    for node, interface in lab.interfaces():
        lineage = [End(node.name, interface.name)]
        while parent := lab.parent_of(lineage[-1]):
            lineage.append(parent)
        for end in reversed(lineage):
            each = lab.nodes[end.node].interfaces[end.ifname]
            if each.kind != VETH and end not in made:
                made.add(end)
                yield _device(lab, end, each)


def _device(lab: Lab, end: End, interface: Interface) -> MakeDevice:
    from datapath.labs.kinds import KINDS

    options = dict(interface.options)
    if interface.kind == "vxlan":
        options.setdefault("port", _VXLAN_PORT)
    parent = lab.parent_of(end)
    return MakeDevice(
        netns=path(lab, end.node),
        ifname=end.ifname,
        mac=mac_of(lab, end) if KINDS[interface.kind].has_mac else "",
        kind=interface.kind,
        options=options,
        parent=parent.ifname if parent else "",
        parent_netns=path(lab, parent.node) if parent else "",
    )


def _sysctls(lab: Lab) -> Iterator[Step]:
    """Before anything is up: nobody sees the settings change."""
    for node in lab.nodes.values():
        if node.sysctls:
            yield SetNodeSysctls(path(lab, node.name), dict(node.sysctls))


def _interfaces(lab: Lab) -> Iterator[Step]:
    for node, interface in lab.interfaces():
        yield ConfigureInterface(
            netns=path(lab, node.name),
            ifname=interface.name,
            addresses=[str(address) for address in interface.addresses],
            mtu=interface.mtu,
            master=interface.master,
            promisc=interface.promisc,
            up=interface.up,
        )
        if interface.vlans:
            yield SetVlans(
                path(lab, node.name),
                interface.name,
                [[vlan.vid, vlan.pvid, vlan.untagged] for vlan in interface.vlans],
            )


def _tables(lab: Lab) -> Iterator[Step]:
    for node in lab.nodes.values():
        where = path(lab, node.name)
        for entry in node.fdb:
            yield AddForwarding(where, entry.mac, entry.dev, str(entry.dst or ""))
        for neighbour in node.neighbours:
            yield AddNeighbour(where, str(neighbour.address), neighbour.dev, neighbour.mac)
        for route in node.routes:
            yield AddRoute(
                netns=where,
                to=str(route.to),
                via=str(route.via or ""),
                dev=route.dev,
                src=str(route.src or ""),
                onlink=route.onlink,
                metric=route.metric,
            )


def _shapes(lab: Lab) -> Iterator[Step]:
    for link in lab.links:
        if link.shape:
            for end in link.ends:
                yield ShapeInterface(path(lab, end.node), end.ifname, qdisc(link.shape))


def qdisc(shape: Shape) -> list[str]:
    """A shape as `tc qdisc add ... root` takes it: tbf for a rate alone, netem for the rest."""
    rate = ["rate", f"{shape.rate}bit"]
    if shape.delay or shape.loss:
        return [
            "netem",
            *(["delay", f"{shape.delay:g}ms"] if shape.delay else []),
            *([f"{shape.jitter:g}ms"] if shape.jitter else []),
            *(["loss", f"{shape.loss:g}%"] if shape.loss else []),
            *(rate if shape.rate else []),
        ]
    # A hundredth of a second's worth, and never less than a large segment.
    burst = max(shape.rate // 8 // 100, 65536)
    return ["tbf", *rate, "burst", f"{burst}b", "latency", "50ms"]


def _contents(lab: Lab, mark: str) -> Iterator[Step]:
    for node in lab.nodes.values():
        yield from _node_contents(node, path(lab, node.name), mark)


def _node_contents(node: Node, where: str, mark: str) -> Iterator[Step]:
    if node.nft:
        yield LoadRuleset(where, node.nft)
    for rule in node.iptables:
        yield RunInNode(where, ["iptables", *rule])
    for argv in node.commands:
        yield RunInNode(where, list(argv))
    if node.nameservers:
        yield NameServers(where, list(map(str, node.nameservers)))
    for number, argv in enumerate(node.processes):
        yield StartProcess(where, list(argv), f"{mark}.{node.name}.{number}")
