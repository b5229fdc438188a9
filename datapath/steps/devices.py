"""Steps of labs on interfaces: pairs, devices of any kind, addresses, routes, neighbours, shaping.

What is made in a namespace of the lab goes with that namespace, so that only what stands in the
host's own has to be taken away. `netns` is a path in /run/netns, "" = the host's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, TypeVar

from datapath.kernel.net import devices, links, netns, tools
from datapath.steps.interfaces import HOST_NETNS
from datapath.steps.typed import command, inside, ip

T = TypeVar("T")


def _within(path: str, work: Callable[[], T]) -> T:
    return netns.run_inside(Path(path) if path else HOST_NETNS, work)


@dataclass(frozen=True, slots=True)
class MakeCable:
    """A veth pair, both ends down. One that ends on the host has that end first."""

    netns: list[str]
    ifnames: list[str]
    macs: list[str]
    mtu: int | None

    def commands(self) -> list[str]:
        mtu = ("mtu", self.mtu) if self.mtu else ()
        near = ip(
            self.netns[0], "link", "add", "name", self.ifnames[0], "address", self.macs[0], *mtu
        )
        where = ("netns", Path(self.netns[1]).name) if self.netns[1] else ()
        far = ("type", "veth", "peer", "name", self.ifnames[1], "address", self.macs[1])
        return [f"{near} {command(*far, *mtu, *where)}"]

    def apply(self) -> None:
        # Opened here: inside, the host's own path would lead back inside.
        peer = Path(self.netns[1]) if self.netns[1] else HOST_NETNS
        _within(
            self.netns[0],
            lambda: devices.create_pair(self.ifnames, self.macs, peer, self.mtu),
        )

    def revert(self) -> None:
        self.revert_all([self])

    @staticmethod
    def revert_all(steps: Sequence[MakeCable]) -> None:
        """Undo many at the price of one."""
        links.delete_all({step.ifnames[0]: step.macs[0] for step in steps if not step.netns[0]})


@dataclass(frozen=True, slots=True)
class MakeDevice:
    """An interface of one of the kinds that labs know, down.

    `parent` stands in `parent_netns`, where such an interface is made before it is moved.
    """

    netns: str
    ifname: str
    mac: str  # "" = the kernel's choice, or none
    kind: str
    options: dict[str, Any]
    parent: str
    parent_netns: str

    def commands(self) -> list[str]:
        if self.kind in ("tap", "tun"):
            address = ip(self.netns, "link", "set", "dev", self.ifname, "address", self.mac)
            made = ip(self.netns, "tuntap", "add", "dev", self.ifname, "mode", self.kind)
            return [made, *([address] if self.mac else [])]
        words = [
            *(("link", self.parent) if self.parent else ()),
            *("name", self._made_as),
            *(("address", self.mac) if self.mac else ()),
            *("type", self.kind, *self._option_words()),
        ]
        made = ip(self._maker, "link", "add", *words)
        if not self._moves:
            return [made]
        name = Path(self.netns).name
        move = ("dev", self._made_as, "netns", name, "name", self.ifname)
        return [made, ip(self._maker, "link", "set", *move)]

    @property
    def _moves(self) -> bool:
        return bool(self.parent) and self.parent_netns != self.netns

    @property
    def _maker(self) -> str:
        return self.parent_netns if self.parent else self.netns

    @property
    def _made_as(self) -> str:
        return devices.passing_name(self.ifname, Path(self.netns)) if self._moves else self.ifname

    def _option_words(self) -> list[object]:
        words: list[object] = []
        for name, value in self.options.items():
            if self.kind == "vxlan" and name == "learning":
                words.append("learning" if value else "nolearning")
            elif self.kind == "vxlan" and name == "port":
                words += ["dstport", value]
            else:
                words += [name, int(value) if isinstance(value, bool) else value]
        return words

    def apply(self) -> None:
        target = Path(self.netns) if self._moves else None
        _within(
            self._maker,
            lambda: devices.create(
                self.ifname,
                self.kind,
                self.options,
                mac=self.mac,
                parent=self.parent,
                target=target,
            ),
        )

    def revert(self) -> None:
        if not self._maker:  # on the host, whether for good or on its way
            links.delete(self._made_as, self.mac)


@dataclass(frozen=True, slots=True)
class ConfigureInterface:
    """What an interface of ours is given; goes with it."""

    netns: str
    ifname: str
    addresses: list[str]
    mtu: int | None
    master: str
    promisc: bool
    up: bool

    def commands(self) -> list[str]:
        device = ("link", "set", "dev", self.ifname)
        return [
            *([ip(self.netns, *device, "mtu", self.mtu)] if self.mtu else []),
            *([ip(self.netns, *device, "master", self.master)] if self.master else []),
            *(
                ip(self.netns, "addr", "add", address, "dev", self.ifname)
                + (" nodad" if ":" in address else "")
                for address in self.addresses
            ),
            *([ip(self.netns, *device, "promisc", "on")] if self.promisc else []),
            *([ip(self.netns, *device, "up")] if self.up else []),
        ]

    def apply(self) -> None:
        addresses = [ip_interface(address) for address in self.addresses]
        _within(
            self.netns,
            lambda: devices.configure(
                self.ifname,
                addresses,
                mtu=self.mtu,
                master=self.master,
                promisc=self.promisc,
                up=self.up,
            ),
        )

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class SetVlans:
    """VLANs of a port of ours: {VID: [pvid, untagged]} in place of VLAN 1; they go with it."""

    netns: str
    ifname: str
    vlans: list[list[int]]  # VID, pvid, untagged

    def commands(self) -> list[str]:
        inside_words = ("bridge", *(("-n", Path(self.netns).name) if self.netns else ()), "vlan")
        removed = [command(*inside_words, "del", "dev", self.ifname, "vid", 1)]
        return [
            *(removed if all(vid != 1 for vid, _, _ in self.vlans) else []),
            *(
                command(
                    *(*inside_words, "add", "dev", self.ifname, "vid", vid),
                    *(["pvid"] * pvid + ["untagged"] * untagged),
                )
                for vid, pvid, untagged in self.vlans
            ),
        ]

    def apply(self) -> None:
        wanted = {vid: (bool(pvid), bool(untagged)) for vid, pvid, untagged in self.vlans}
        _within(self.netns, lambda: devices.set_vlans(self.ifname, wanted))

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class AddRoute:
    """A route over interfaces of ours; goes with them."""

    netns: str
    to: str
    via: str
    dev: str
    src: str
    onlink: bool
    metric: int | None

    def commands(self) -> list[str]:
        words = [
            *(("via", self.via) if self.via else ()),
            *(("dev", self.dev) if self.dev else ()),
            *(("src", self.src) if self.src else ()),
            *(("metric", self.metric) if self.metric is not None else ()),
            *(("onlink",) if self.onlink else ()),
        ]
        family = ("-6",) if ":" in self.to else ()
        return [ip(self.netns, *family, "route", "add", self.to, *words)]

    def apply(self) -> None:
        _within(
            self.netns,
            lambda: devices.add_route(
                self.to,
                via=self.via,
                dev=self.dev,
                src=self.src,
                onlink=self.onlink,
                metric=self.metric,
            ),
        )

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class AddNeighbour:
    """A permanent neighbour at an interface of ours, or, without a MAC, a proxy entry."""

    netns: str
    address: str
    ifname: str
    mac: str

    def commands(self) -> list[str]:
        if not self.mac:
            return [
                ip(self.netns, "neigh", "add", "proxy", self.address, "dev", self.ifname),
            ]
        words = ("lladdr", self.mac, "dev", self.ifname, "nud", "permanent")
        return [ip(self.netns, "neigh", "add", self.address, *words)]

    def apply(self) -> None:
        _within(self.netns, lambda: devices.add_neighbour(self.address, self.ifname, self.mac))

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class AddForwarding:
    """A static forwarding entry at an interface of ours; goes with it."""

    netns: str
    mac: str
    ifname: str
    destination: str  # of a VXLAN device; "" = at a bridge port

    def commands(self) -> list[str]:
        where = ("-n", Path(self.netns).name) if self.netns else ()
        if self.destination:
            words = ("append", self.mac, "dev", self.ifname, "dst", self.destination)
        else:
            words = ("add", self.mac, "dev", self.ifname, "master", "static")
        return [command("bridge", *where, "fdb", *words)]

    def apply(self) -> None:
        _within(
            self.netns,
            lambda: devices.append_forwarding(self.mac, self.ifname, self.destination),
        )

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ShapeInterface:
    """A qdisc that limits, delays or loses what an interface of ours sends; goes with it.

    `words` is the qdisc as `tc qdisc add` takes it.
    """

    netns: str
    ifname: str
    words: list[str]

    def _command(self) -> list[str]:
        return ["tc", "qdisc", "add", "dev", self.ifname, "root", "handle", "1:", *self.words]

    def commands(self) -> list[str]:
        return [inside(self.netns, *self._command())]

    def apply(self) -> None:
        _within(self.netns, lambda: tools.run(self._command()))

    def revert(self) -> None:
        pass
