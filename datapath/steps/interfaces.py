"""Steps on namespaces, interfaces, bridges, routes, offloads and sysctls."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, Final

from datapath.errors import KernelError, NotFound
from datapath.kernel.net import bridge, ethtool, links, netns, sysctl

_RCU_EXPEDITED: Final = Path("/sys/kernel/rcu_expedited")
_MANY: Final = 16  # endpoints at once for which waiting for RCU is worth avoiding
HOST_NETNS: Final = Path("/proc/self/ns/net")


def _command(*words: object) -> str:
    return shlex.join(str(word) for word in words)


def _netns_word(path: str) -> str:
    """How `ip link ... netns` takes a namespace: by name, by PID, or by its path."""
    parts = Path(path).parts
    if path.startswith("/run/netns/"):
        return parts[-1]
    return parts[2] if parts[1] == "proc" and parts[2].isdigit() else path


def _ip(path: str, *words: object) -> str:
    """An `ip` command in the namespace that `path` opens ("" = the host's)."""
    if not path:
        return _command("ip", *words)
    if path.startswith("/run/netns/"):
        return _command("ip", "-n", Path(path).name, *words)
    return _command("nsenter", f"--net={path}", "ip", *words)


@dataclass(frozen=True, slots=True)
class MakeNamespace:
    """A namespace with a name in /run/netns, lo up; a mark on lo tells ours from a namesake."""

    name: str
    mark: str

    def commands(self) -> list[str]:
        return [
            _command("ip", "netns", "add", self.name),
            _command("ip", "-n", self.name, "link", "set", "lo", "up", *self._alias()),
        ]

    def _alias(self) -> tuple[str, ...]:
        return ("alias", self.mark) if self.mark else ()

    def apply(self) -> None:
        netns.create(self.name, lambda: links.mark_loopback(self.mark))

    def revert(self) -> None:
        path = netns.FOLDER / self.name
        found = netns.at(self.name, path)
        if found is None or netns.run_inside(path, links.loopback_mark) == self.mark:
            netns.delete(self.name)


@dataclass(frozen=True, slots=True)
class MakeInterface:
    """A veth from a namespace to the host: addresses inside, the host end up and without IPv6."""

    netns: str  # path
    ifname: str
    mac: str
    host_ifname: str
    host_mac: str
    addresses: list[str]

    def commands(self) -> list[str]:
        return [
            _command(
                *("ip", "link", "add", self.host_ifname, "address", self.host_mac, "type", "veth"),
                *(
                    "peer",
                    "name",
                    self.ifname,
                    "address",
                    self.mac,
                    "netns",
                    _netns_word(self.netns),
                ),
            ),
            *(
                _ip(self.netns, "addr", "add", address, "dev", self.ifname)
                + (" nodad" if ":" in address else "")
                for address in self.addresses
            ),
            _ip(self.netns, "link", "set", self.ifname, "up"),
            _command("sysctl", "-qw", f"net/ipv6/conf/{self.host_ifname}/disable_ipv6=1"),
            _command("ip", "link", "set", self.host_ifname, "up"),
        ]

    def apply(self) -> None:
        netns.run_inside(
            Path(self.netns),
            lambda: links.create_veth(
                self.ifname,
                self.mac,
                self.host_ifname,
                HOST_NETNS,
                [ip_interface(address) for address in self.addresses],
                peer_mac=self.host_mac,
            ),
        )
        links.bring_up_silently(self.host_ifname)

    def revert(self) -> None:
        links.delete(self.host_ifname, self.host_mac)

    @staticmethod
    def revert_all(steps: Sequence[MakeInterface]) -> None:
        """Undo many at the price of one."""
        links.delete_all({step.host_ifname: step.host_mac for step in steps})


@dataclass(frozen=True, slots=True)
class MakePair:
    """A veth between two namespaces, with nothing in between; addresses by end."""

    netns: list[str]  # two paths
    ifname: str
    macs: list[str]
    addresses: list[list[str]]

    def commands(self) -> list[str]:
        near, far = (Path(path).name for path in self.netns)
        return [
            _command(
                *("ip", "-n", near, "link", "add", self.ifname, "address", self.macs[0]),
                *("type", "veth", "peer", "name", self.ifname, "address", self.macs[1]),
                *("netns", far),
            ),
            *(
                _ip(path, "addr", "add", address, "dev", self.ifname)
                for path, addresses in zip(self.netns, self.addresses, strict=True)
                for address in addresses
            ),
            *(_ip(path, "link", "set", self.ifname, "up") for path in self.netns),
        ]

    def apply(self) -> None:
        near, far = (Path(path) for path in self.netns)
        ends = [[ip_interface(address) for address in each] for each in self.addresses]
        netns.run_inside(
            near,
            lambda: links.create_veth(
                self.ifname, self.macs[0], self.ifname, far, ends[0], peer_mac=self.macs[1]
            ),
        )

        def configure_far() -> None:
            for address in ends[1]:
                links.add_address(self.ifname, address)
            links.set_up(self.ifname, True)

        netns.run_inside(far, configure_far)

    def revert(self) -> None:
        near = Path(self.netns[0])
        if near.exists():
            netns.run_inside(near, lambda: links.delete(self.ifname, self.macs[0]))


@dataclass(frozen=True, slots=True)
class MakeBridge:
    """A Linux bridge with no port yet, STP off."""

    name: str
    mac: str

    def commands(self) -> list[str]:
        return [
            _command("ip", "link", "add", self.name, "address", self.mac, "type", "bridge"),
            _command("ip", "link", "set", self.name, "up"),
        ]

    def apply(self) -> None:
        links.create_bridge(self.name, self.mac)

    def revert(self) -> None:
        links.delete(self.name, self.mac)


@dataclass(frozen=True, slots=True)
class JoinBridge:
    """A host end of ours plugged into a bridge of ours; goes with either of them."""

    host_ifname: str
    bridge: str

    def commands(self) -> list[str]:
        return [_command("ip", "link", "set", self.host_ifname, "master", self.bridge)]

    def apply(self) -> None:
        links.enslave(self.host_ifname, self.bridge)

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class AddAddress:
    """An address at a host end of ours; goes with it."""

    host_ifname: str
    address: str  # with its prefix length

    def commands(self) -> list[str]:
        return [_ip("", "addr", "add", self.address, "dev", self.host_ifname)]

    def apply(self) -> None:
        links.add_address(self.host_ifname, ip_interface(self.address))

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class AddRoutes:
    """Routes on an interface of ours; they go with it."""

    netns: str  # path, "" = the host's
    device: str
    destinations: list[str]
    gateway: str  # "" = directly connected

    def commands(self) -> list[str]:
        via = ("via", self.gateway, "onlink") if self.gateway else ("scope", "link")
        return [
            _ip(self.netns, "route", "add", destination, "dev", self.device, *via)
            for destination in self.destinations
        ]

    def apply(self) -> None:
        def add() -> None:
            for destination in self.destinations:
                links.add_route(
                    destination,
                    device=self.device,
                    gateway=self.gateway,
                    onlink=bool(self.gateway),
                )

        netns.run_inside(Path(self.netns) if self.netns else HOST_NETNS, add)

    def revert(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class AdoptInterface:
    """A veth that was there: both ends up, an address if it had none, its host end out of a bridge.

    Traffic goes by eBPF already when the port leaves, so that no packet is lost between the two.
    """

    netns: str  # path
    ifname: str
    host_ifname: str
    address: str  # to add, "" = it has one
    was_up: bool
    host_was_up: bool
    host_ifindex: int
    bridge_port: dict[str, Any] | None

    def commands(self) -> list[str]:
        return [
            *(
                [_ip(self.netns, "addr", "add", self.address, "dev", self.ifname)]
                * bool(self.address)
            ),
            *([_ip(self.netns, "link", "set", self.ifname, "up")] * (not self.was_up)),
            *([_command("ip", "link", "set", self.host_ifname, "up")] * (not self.host_was_up)),
            *(
                [_command("ip", "link", "set", self.host_ifname, "nomaster")]
                if self.bridge_port
                else []
            ),
        ]

    def apply(self) -> None:
        def inside() -> None:
            if self.address:
                links.add_address(self.ifname, ip_interface(self.address))
            if not self.was_up:
                links.set_up(self.ifname, True)

        netns.run_inside(Path(self.netns), inside)
        if not self.host_was_up:
            links.set_up(self.host_ifname, True)
        if self.bridge_port:
            bridge.leave(self.host_ifname)

    def revert(self) -> None:
        host = links.find(self.host_ifname)
        if host is None or host.index != self.host_ifindex:
            return  # the veth is gone, and a namesake was never ours
        if self.bridge_port:
            port = bridge.BridgePort(**self.bridge_port)
            if links.find(port.bridge):
                bridge.rejoin(port)
            else:  # whoever deletes a bridge frees its ports, this one among them
                print(
                    f"{port.ifname} stays a port of no bridge: {port.bridge}, which it was in, "
                    "has gone",
                    file=sys.stderr,
                )
        if not self.host_was_up:
            links.set_up(self.host_ifname, False)

        def inside() -> None:
            if self.address:
                links.remove_address(self.ifname, ip_interface(self.address))
            if not self.was_up and links.find(self.ifname):
                links.set_up(self.ifname, False)

        if Path(self.netns).exists():
            netns.run_inside(Path(self.netns), inside)


@dataclass(frozen=True, slots=True)
class SetOffloads:
    """Offload features of an interface (ethtool's names), and what they were."""

    netns: str  # path, "" = the host's
    ifname: str
    features: dict[str, bool]
    before: dict[str, bool]

    def commands(self) -> list[str]:
        inside = Path(self.netns).name if self.netns else None
        return [ethtool.command(self.ifname, self.features, netns=inside)]

    def _set(self, features: dict[str, bool]) -> None:
        netns.run_inside(
            Path(self.netns) if self.netns else HOST_NETNS,
            lambda: ethtool.set_features(self.ifname, features),
        )

    def apply(self) -> None:
        self._set(self.features)

    def revert(self) -> None:
        try:
            self._set(self.before)
        except NotFound:
            pass
        except KernelError:
            if not self.netns or Path(self.netns).exists():
                raise


@dataclass(frozen=True, slots=True)
class SetSysctl:
    """A sysctl of the host's namespace, and what it was."""

    name: str
    value: str
    before: str

    def commands(self) -> list[str]:
        return [_command("sysctl", "-w", f"{self.name.replace('/', '.')}={self.value}")]

    def apply(self) -> None:
        sysctl.write(self.name, self.value)

    def revert(self) -> None:
        if sysctl.read(self.name) not in (None, self.before):
            sysctl.write(self.name, self.before)


@dataclass(frozen=True, slots=True)
class ExpediteRcu:
    """RCU grace periods by interrupt in place of waiting, while many programs come or go.

    tcx waits for one each time (4 to 16 ms, under the RTNL lock): kernel/bpf/tcx.c.
    """

    def commands(self) -> list[str]:
        return [f"echo 1 > {_RCU_EXPEDITED}"]

    def apply(self) -> None:
        _RCU_EXPEDITED.write_text("1")

    def revert(self) -> None:
        _RCU_EXPEDITED.write_text("0")

    @staticmethod
    def worthwhile(endpoints: int) -> bool:
        """Whether they are many, the kernel has the switch, and nobody else has thrown it."""
        try:
            return endpoints >= _MANY and _RCU_EXPEDITED.read_text().strip() == "0"
        except OSError:
            return False
