"""Steps of modes whose interfaces are no veths to the host: netkit, macvlan, ipvlan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from datapath.kernel.net import devices, links, netkit, netns
from datapath.steps.interfaces import HOST_NETNS, MakeInterface
from datapath.steps.typed import command, ip


def _configure(path: str, ifname: str, addresses: Sequence[str]) -> None:
    """Addresses, and the interface up, in the namespace that `path` opens."""
    wanted = [ip_interface(address) for address in addresses]
    netns.run_inside(Path(path), lambda: links.configure(ifname, wanted))


@dataclass(frozen=True, slots=True)
class MakeNetkit(MakeInterface):
    """As MakeInterface, of a netkit pair whose primary end is on the host."""

    def commands(self) -> list[str]:
        pair, *others = MakeInterface.commands(self)
        return [pair.replace(" type veth peer ", " type netkit mode l2 peer "), *others]

    def apply(self) -> None:
        netkit.create(
            self.host_ifname, self.host_mac, self.ifname, Path(self.netns), peer_mac=self.mac
        )
        _configure(self.netns, self.ifname, self.addresses)
        links.bring_up_silently(self.host_ifname)


@dataclass(frozen=True, slots=True)
class MakeParent:
    """A veth with both ends on the host, up and without addresses: for others to stand on.

    Every kernel has veths, and one end is up only while the other is.
    """

    ifnames: list[str]  # of the parent, and of its other end
    macs: list[str]

    def commands(self) -> list[str]:
        (parent, peer), (mac, peer_mac) = self.ifnames, self.macs
        return [
            command(
                *("ip", "link", "add", parent, "address", mac, "type", "veth"),
                *("peer", "name", peer, "address", peer_mac),
            ),
            *(ip("", "link", "set", each, "addrgenmode", "none") for each in self.ifnames),
            *(ip("", "link", "set", each, "up") for each in self.ifnames),
        ]

    def apply(self) -> None:
        (parent, peer), (mac, peer_mac) = self.ifnames, self.macs
        links.create_veth(parent, mac, peer, HOST_NETNS, [], peer_mac=peer_mac)
        for ifname in self.ifnames:
            links.bring_up_silently(ifname)

    def revert(self) -> None:
        links.delete(self.ifnames[0], self.macs[0])


@dataclass(frozen=True, slots=True)
class StackInterface:
    """A macvlan or ipvlan on a parent of ours, inside a namespace; goes with its parent."""

    kind: str
    mode: str
    parent: str
    netns: str  # path
    ifname: str
    mac: str  # "" = its parent's, which an ipvlan always has
    addresses: list[str]

    def commands(self) -> list[str]:
        return [
            command(
                *("ip", "link", "add", "link", self.parent, "name", self.ifname),
                *(("address", self.mac) if self.mac else ()),
                *("netns", Path(self.netns).name, "type", self.kind, "mode", self.mode),
            ),
            *(
                ip(self.netns, "addr", "add", each, "dev", self.ifname) + " nodad" * (":" in each)
                for each in self.addresses
            ),
            ip(self.netns, "link", "set", self.ifname, "up"),
        ]

    def apply(self) -> None:
        devices.create(
            self.ifname,
            self.kind,
            {"mode": self.mode},
            mac=self.mac,
            parent=self.parent,
            target=Path(self.netns),
        )
        _configure(self.netns, self.ifname, self.addresses)

    def revert(self) -> None:
        pass
