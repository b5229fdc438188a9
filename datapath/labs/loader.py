"""From YAML to a Lab: what each field may be. What fields say of one another is in consistency.py,
what the kernel has to say of that in feasible.py.

Every refusal is an InvalidInput that names file, line and field. Nothing here touches the machine.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from datapath.labs import entries, values
from datapath.labs.consistency import check
from datapath.labs.document import Fields, Item, read
from datapath.labs.feasible import NO_FRAMES
from datapath.labs.kinds import KINDS, Kind
from datapath.labs.model import HOST, VETH, Ebpf, End, Interface, Lab, Link, Node, Shape, Try
from datapath.labs.reaching import who_reaches_what
from datapath.modes import ALIASES, DEFAULT, EBPF
from datapath.records import Otherwise

MAX_LAB_NAME: Final = 31  # which goes before a node's name in that of its namespace

_MAX_NODES: Final = 4096  # namespaces, of some hundred kilobytes of the kernel's memory each

_LAB_FIELDS = ("name", "title", "teaches", "try", "nodes", "links", "ebpf", "reach")
_NODE_FIELDS = (
    *("interfaces", "routes", "neighbours", "fdb", "sysctls"),
    *("nft", "iptables", "commands", "processes", "nameservers"),
)
_NO_PORTS = ("bridge", *NO_FRAMES)  # no bridge below another
_VETH_KIND = Kind()  # which links make, not `type`
_INTERFACE_FIELDS = ("type", "addresses", "mac", "mtu", "up", "promisc", "vlans")
_LINK_FIELDS = ("ends", "mtu", "rate", "delay", "jitter", "loss")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def load(text: str, file: str, name: str) -> Lab:
    """The lab that `text`, the content of `file`, declares; `name` where it does not say its own.

    Raises InvalidInput.
    """
    document = read(text, file)
    fields = document.fields(_LAB_FIELDS, required=("title", "nodes"))
    links = fields.value("links", lambda item: tuple(map(_link, item.items())), ())
    node_items = fields["nodes"].entries()
    if not node_items:
        fields["nodes"].refuse("a lab needs at least one node", remedy="add one below nodes:")
    if len(node_items) > _MAX_NODES:
        fields["nodes"].refuse(
            f"{len(node_items)} nodes are too many for one machine",
            remedy=f"make it {_MAX_NODES} or fewer",
        )
    linked = [end for link in links for end in link.ends]
    nodes = {label: _node(label, item, linked) for label, item in node_items.items()}
    targets, reach = who_reaches_what(nodes, fields.value("reach", Item.entries, {}))
    lab = Lab(
        name=_lab_name(fields, document, name),
        title=fields["title"].text(),
        teaches=fields.value("teaches", Item.text, "").strip(),
        tries=fields.value("try", lambda item: tuple(map(_try, item.items())), ()),
        nodes=nodes,
        links=links,
        ebpf=fields.value("ebpf", _ebpf, None),
        targets=targets,
        reach=reach,
        text=text,
    )
    check(lab, fields)
    return lab


def _lab_name(fields: Fields, document: Item, default: str) -> str:
    """What `name` says, else the file's own."""
    name = fields.value("name", Item.text, default)
    if not _NAME.fullmatch(name) or len(name) > MAX_LAB_NAME:
        fields.get("name", document).refuse(
            f"{name!r} cannot name a lab",
            remedy=f"say name: with at most {MAX_LAB_NAME} letters, digits, '_' and '-'",
        )
    return name


def _try(item: Item) -> Try:
    fields = item.fields(("run", "see"), required=("run",))
    return Try(fields["run"].text(), fields.value("see", Item.text, "").strip())


def _ebpf(item: Item) -> Ebpf:
    fields = item.fields(("nodes", "mode", "otherwise"), required=("nodes",))
    modes = (DEFAULT, *ALIASES, *(mode.name for mode in EBPF))
    return Ebpf(
        fields.each("nodes", Item.text),
        fields.value("mode", lambda each: each.choice(tuple(dict.fromkeys(modes))), DEFAULT),
        fields.value("otherwise", _otherwise, Otherwise.DROP),
    )


def _otherwise(item: Item) -> Otherwise:
    return Otherwise[item.choice(tuple(each.name.lower() for each in Otherwise)).upper()]


def _link(item: Item) -> Link:
    if item.kind == "a single value":
        return Link(values.ends(item))
    fields = item.fields(_LINK_FIELDS, required=("ends",))
    shape = Shape(
        rate=fields.value("rate", values.rate, 0),
        delay=fields.value("delay", values.milliseconds, 0.0),
        jitter=fields.value("jitter", values.milliseconds, 0.0),
        loss=fields.value("loss", values.per_cent, 0.0),
    )
    if shape.jitter and not shape.delay:
        fields["jitter"].refuse("jitter needs a delay to vary", remedy="add delay: 10ms")
    return Link(
        values.ends(fields["ends"]),
        fields.value("mtu", values.mtu, None),
        shape if shape != Shape() else None,
    )


def _node(label: str, item: Item, linked: list[End]) -> Node:
    if not _NAME.fullmatch(label) or len(label) > values.MAX_NAME:
        item.refuse(
            f"{label!r} cannot name a node",
            remedy=f"use at most {values.MAX_NAME} letters, digits, '_' and '-'",
        )
    fields = item.fields(_NODE_FIELDS)
    items = fields.value("interfaces", Item.entries, {})
    interfaces = {ifname: _interface(ifname, each) for ifname, each in items.items()}
    for end in linked:
        if end.node == label:
            interfaces.setdefault(end.ifname, Interface(end.ifname))
    _set_masters(interfaces, items)
    if label == HOST:
        for name in ("sysctls", "nft", "iptables", "commands", "processes", "nameservers"):
            if name in fields:
                fields[name].refuse(
                    "this is the machine itself: a lab gives it interfaces and routes only",
                    remedy="make a node for it",
                )

    return Node(
        name=label,
        interfaces=interfaces,
        routes=fields.each("routes", entries.route),
        neighbours=fields.each("neighbours", entries.neighbour),
        fdb=fields.each("fdb", entries.forwarding),
        sysctls=fields.value("sysctls", values.sysctls, {}),
        nft=fields.value("nft", Item.text, ""),
        iptables=fields.each("iptables", values.rule),
        commands=fields.each("commands", values.arguments),
        processes=fields.each("processes", values.arguments),
        nameservers=fields.each(
            "nameservers", lambda each: values.plain_address(each.text(), each)
        ),
    )


def _set_masters(interfaces: dict[str, Interface], items: dict[str, Item]) -> None:
    """Bridges name their ports; from here on ports know their bridge."""
    for ifname, item in items.items():
        if interfaces[ifname].kind != "bridge":
            continue
        ports = item.entries().get("ports")
        for port in ports.one_or_more() if ports else []:
            name = port.text()
            if name not in interfaces:
                port.refuse(
                    f"this node has no interface {name} to be a port",
                    remedy="declare it, or end a link there",
                )
            if (kind := interfaces[name].kind) in _NO_PORTS:
                port.refuse(f"{name} is a {kind}, which cannot be a port")
            if interfaces[name].master:
                port.refuse(f"{name} is a port of {interfaces[name].master} already")
            interfaces[name] = replace(interfaces[name], master=ifname)


def _interface(ifname: str, item: Item) -> Interface:
    values.check_ifname(ifname, item)
    if item.kind != "a mapping":
        return Interface(ifname, addresses=tuple(map(values.address, item.one_or_more())))
    kinds = (VETH, *KINDS)
    kind_name = Fields(item.entries()).value("type", lambda each: each.choice(kinds), VETH)
    kind = KINDS.get(kind_name, _VETH_KIND)
    parent = ("parent",) if kind.has_parent else ()
    ports = ("ports",) if kind_name == "bridge" else ()
    fields = item.fields(
        (*_INTERFACE_FIELDS, *kind.options, *parent, *ports), (*kind.required, *parent)
    )
    if not kind.has_mac and "mac" in fields:
        fields["mac"].refuse(
            f"{kind_name} interfaces have no MAC of their own", remedy="leave it out"
        )

    return Interface(
        name=ifname,
        kind=kind_name,
        addresses=fields.each("addresses", values.address),
        mac=fields.value("mac", values.own_mac, ""),
        mtu=fields.value("mtu", values.mtu, None),
        up=fields.value("up", Item.boolean, True),
        promisc=fields.value("promisc", Item.boolean, False),
        vlans=fields.each("vlans", values.vlan),
        parent=fields.value("parent", values.parent, None),
        options={
            name: read_option(fields[name])
            for name, read_option in kind.options.items()
            if name in fields
        },
    )
