"""Steps on a network's pins: its maps and programs, its endpoints' entries, their hooks."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_interface
from pathlib import Path
from typing import Final, NamedTuple

from datapath import records
from datapath.errors import Conflict, KernelError, NotFound
from datapath.journal import is_here
from datapath.kernel.bpf import libbpf, links
from datapath.kernel.bpf.maps import Map, apply_differences
from datapath.kernel.net import links as net_links
from datapath.kernel.net import netns, tc
from datapath.network import ROOT, names
from datapath.records import MAPS, Number

# Little-endian bytes of a number, as bpftool reads them.
SHELL_FUNCTIONS: Final = """le() { for i in $(seq 0 $(($1 - 1))); do printf '%02x ' """ + (
    """$(($2 >> 8 * i & 255)); done; }"""
)

_CONFIG_KEY: Final = bytes(Number(0))

# Entries by map name: keys with their values, as hex.
Entries = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    """A network's maps and program: compiled, loaded, pinned, with no endpoint yet."""

    network: str
    mode: str
    hook: str
    subnet: str
    max_endpoints: int
    otherwise: str

    def commands(self) -> list[str]:
        from datapath import modes

        spec = modes.ebpf(self.mode).program
        folder = ROOT / self.network
        return [
            f"mkdir -p -m 700 {folder}/maps {folder}/progs {folder}/links",
            f"# bcc compiles bpf/{spec.source} and loads {spec.function} with its maps; then",
            *(f"bpftool map pin name {name[:15]} {folder}/maps/{name}" for name in spec.maps),
            f"bpftool prog pin name {spec.function} {folder}/progs/{spec.function}",
        ]

    def apply(self) -> None:
        from datapath import modes, programs

        programs.install(
            self.network,
            modes.ebpf(self.mode),
            records.HookId[self.hook.upper()],
            self.subnet,
            self.max_endpoints,
            records.Otherwise[self.otherwise.upper()],
        )

    def revert(self) -> None:
        from datapath import programs

        programs.uninstall(self.network)


@dataclass(frozen=True, slots=True)
class AddEndpoint:
    """An endpoint's entries in its network's maps."""

    network: str
    id: int
    label: str
    netns: str  # path
    ifname: str
    mac: str
    host_ifname: str
    addresses: list[str]  # with prefix lengths; the first of each kind is the primary one

    def _entries(self, ifindex: int, inode: int) -> Iterator[tuple[str, bytes, bytes]]:
        """Map name, key and value of each entry, in the order in which they are to be written."""
        mac = records.Mac.parse(self.mac)
        destination = bytes(records.DestinationRecord(self.id, ifindex, mac))
        endpoint = records.EndpointRecord(
            id=self.id,
            mac=mac,
            netns_inode=inode,
            netns=self.label.encode(),
            ifname=self.ifname.encode(),
            host_ifname=self.host_ifname.encode(),
        )
        if self._uses_devices():
            yield "devices", bytes(Number(self.id)), bytes(Number(ifindex))
        # Newest last, so that the primary address of each kind is what stays in the record.
        for address in map(ip_interface, reversed(self.addresses)):
            if isinstance(address, IPv4Interface):
                endpoint.ipv4 = records.Ipv4(*address.ip.packed)
                yield "endpoints_v4", address.ip.packed, destination
                continue
            field = "ipv6_link_local" if address.ip.is_link_local else "ipv6"
            setattr(endpoint, field, records.Ipv6(*address.ip.packed))
            yield "endpoints_v6", address.ip.packed, destination
        yield "endpoints", bytes(Number(ifindex)), bytes(endpoint)

    def _uses_devices(self) -> bool:
        return (ROOT / self.network / "maps/devices").exists()

    def entries(self, ifindex: int, inode: int) -> Entries:
        """All of them, for a host end and a namespace that are there."""
        found: Entries = {}
        for name, key, value in self._entries(ifindex, inode):
            found.setdefault(name, {})[key.hex()] = value.hex()
        return found

    def commands(self) -> list[str]:
        # What is not there yet has no numbers to print: the shell asks, by SHELL_FUNCTIONS.
        ifindex = f"$(le 4 $(cat /sys/class/net/{shlex.quote(self.host_ifname)}/ifindex))"
        inode = f"$(le 8 $(stat -L -c %i {shlex.quote(self.netns)}))"
        commands = []
        for name, key, value in self._entries(0, 0):
            # Where the number stands in the value (in the key as well, in endpoints).
            at, number = 4, ifindex
            if name == "endpoints":
                at, number = records.EndpointRecord.netns_inode.offset, inode
            elif name == "devices":
                at = 0
            rest = at + (8 if number is inode else 4)
            key_text = ifindex if name == "endpoints" else key.hex(" ")
            value_text = " ".join(
                part for part in (value[:at].hex(" "), number, value[rest:].hex(" ")) if part
            )
            commands.append(
                f"bpftool map update pinned {ROOT / self.network / 'maps' / name}"
                f" key hex {key_text} value hex {value_text}"
            )
        return commands

    def apply(self) -> None:
        ifindex = net_links.index_of(self.host_ifname)
        found = netns.at(self.label, Path(self.netns))
        if found is None:
            raise NotFound(f"namespace {self.netns} is gone", remedy="see `ip netns`")
        stats = MAPS["endpoint_stats"]
        zero = bytes((stats.value_size + 7) // 8 * 8 * libbpf.possible_cpus())
        # The id may have been somebody else's: counting starts anew before anybody sends.
        for name, key, value in (
            (stats.name, bytes(Number(self.id)), zero),
            *self._entries(ifindex, found.inode),
        ):
            with Map.pinned(ROOT / self.network / "maps" / name) as target:
                target.update(key, value)
        self._check_alone(ifindex)

    def _check_alone(self, ifindex: int) -> None:
        """Two networks that adopt an interface at once both get here: one at least gives way."""
        for other in filter(is_here, {*names()} - {self.network}):
            # One that is half made or half gone has no say.
            with (
                suppress(KernelError),
                Map.pinned(ROOT / other / "maps/endpoints") as endpoints,
            ):
                if endpoints.lookup(bytes(Number(ifindex))):
                    raise Conflict(
                        f"{self.label} has become an endpoint of network {other} meanwhile",
                        remedy=f"ebpfnet detach {self.label} --network {other}",
                    )

    def revert(self) -> None:
        self.revert_all([self])

    @staticmethod
    def revert_all(steps: Sequence[AddEndpoint]) -> None:
        """Undo many with one look through the endpoints: their ifindexes are not written down."""
        maps = ROOT / steps[0].network / "maps"
        if not (maps / "endpoints").exists():
            return
        ids = {step.id for step in steps}
        with Map.pinned(maps / "endpoints") as endpoints:
            for key, value in endpoints.items():
                if records.EndpointRecord.from_buffer_copy(value).id in ids:
                    endpoints.delete(key)
        _begin_generation(steps[0].network)
        for step in steps:
            step._remove_ways(maps)

    def _remove_ways(self, maps: Path) -> None:
        """The other way round than written: nobody is sent to a device that is not there."""
        for name, key, _ in reversed(list(self._entries(0, 0))):
            if name == "endpoints" or not (maps / name).exists():
                continue
            with Map.pinned(maps / name) as target:
                found = target.lookup(key)
                # Only what still points to this endpoint.
                if found and (
                    name == "devices"
                    or records.DestinationRecord.from_buffer_copy(found).id == self.id
                ):
                    target.delete(key)


@dataclass(frozen=True, slots=True)
class UpdateEntries:
    """An endpoint's entries brought from one state to another, by differences.

    Entries that have meanwhile become another endpoint's are left to it.
    """

    network: str
    id: int
    before: Entries
    after: Entries

    def commands(self) -> list[str]:
        maps = ROOT / self.network / "maps"
        changes = []
        for name in sorted({*self.before, *self.after}):
            old, new = self.before.get(name, {}), self.after.get(name, {})
            changes += [
                f"bpftool map update pinned {maps / name} key hex {_spaced(key)}"
                f" value hex {_spaced(value)}"
                for key, value in new.items()
                if old.get(key) != value
            ]
            changes += [
                f"bpftool map delete pinned {maps / name} key hex {_spaced(key)}"
                for key in old.keys() - new.keys()
            ]
        config = _next_generation(self.network).hex(" ")
        return [
            *changes,
            f"bpftool map update pinned {maps / 'config'} key hex 00 00 00 00 value hex {config}",
        ]

    def _bring(self, wanted: Entries, leaving: Entries) -> None:
        for name in sorted({*wanted, *leaving}):
            path = ROOT / self.network / "maps" / name
            if not path.exists():
                continue
            with Map.pinned(path) as target:
                apply_differences(
                    target,
                    {bytes.fromhex(k): bytes.fromhex(v) for k, v in wanted.get(name, {}).items()},
                    map(bytes.fromhex, leaving.get(name, {})),
                    # Every such value begins with the id; a device is known by its key.
                    lambda value, name=name: (  # type: ignore[misc]
                        name == "devices" or Number.from_buffer_copy(value).value == self.id
                    ),
                )

        _begin_generation(self.network)

    def apply(self) -> None:
        self._bring(self.after, self.before)

    def revert(self) -> None:
        self._bring(self.before, self.after)


def _next_generation(network: str) -> bytes:
    """The network's config with the next generation of map endpoints."""
    with Map.pinned(ROOT / network / "maps/config") as config:
        record: records.ConfigRecord = MAPS["config"].decode(config.lookup(_CONFIG_KEY) or b"")
    record.generation += 1
    return bytes(record)


def _begin_generation(network: str) -> None:
    """To follow each change to entries of map endpoints: programs forget what they have found there
    (bpf/include/sender.h). New entries need none.
    """
    path = ROOT / network / "maps/config"
    if path.exists():
        with Map.pinned(path) as config:
            config.update(_CONFIG_KEY, _next_generation(network))


def _spaced(text: str) -> str:
    return bytes.fromhex(text).hex(" ")


class _LinkKind(NamedTuple):
    """How a program is linked to an interface, by libbpf and by hand."""

    bpftool: str  # its attach type there, "" = bpftool has none such
    attach_type: int
    flags: int = 0


_LINK_KINDS: Final = {
    "tcx": _LinkKind("tcx_ingress", libbpf.ATTACH_TCX_INGRESS),
    "xdp": _LinkKind("xdpdrv", libbpf.ATTACH_XDP, libbpf.XDP_FLAGS_DRV_MODE),
    "xdp_generic": _LinkKind("xdpgeneric", libbpf.ATTACH_XDP, libbpf.XDP_FLAGS_SKB_MODE),
    "netkit": _LinkKind("", libbpf.ATTACH_NETKIT_PEER),
}


@dataclass(frozen=True, slots=True)
class AttachProgram:
    """A network's program at the host end of an endpoint."""

    network: str
    id: int
    host_ifname: str
    function: str
    hook: str
    had_clsact: bool  # hook clsact: whether the qdisc was there before

    @property
    def _program(self) -> Path:
        return ROOT / self.network / "progs" / self.function

    @property
    def _link(self) -> Path:
        return ROOT / self.network / "links" / str(self.id)

    def commands(self) -> list[str]:
        if self.hook == "clsact":
            return [
                *([f"tc qdisc add dev {self.host_ifname} clsact"] * (not self.had_clsact)),
                f"tc filter add dev {self.host_ifname} ingress handle {tc.HANDLE}"
                f" pref {tc.PRIORITY} bpf direct-action pinned {self._program}",
            ]
        kind = _LINK_KINDS[self.hook].bpftool
        if not kind:
            return [f"# {self._program} is linked to {self.host_ifname} by bpf_link_create alone"]
        return [f"bpftool net attach {kind} pinned {self._program} dev {self.host_ifname}"]

    def apply(self) -> None:
        ifindex = net_links.index_of(self.host_ifname)
        program = libbpf.object_get(self._program)
        self._link.unlink(missing_ok=True)  # of a link that was detached by hand
        try:
            if self.hook == "clsact":
                tc.ensure_clsact(self.host_ifname)
                tc.add_ingress_filter(self.host_ifname, program, self.function)
            else:
                kind = _LINK_KINDS[self.hook]
                links.attach(program, ifindex, kind.attach_type, self._link, kind.flags)
        finally:
            os.close(program)

    def revert(self) -> None:
        if self._link.exists():
            # Without its pin a link detaches too, but later: when the maps' entries are gone, and
            # the program that still runs drops what a bridge could carry.
            link = libbpf.object_get(self._link)
            try:
                libbpf.call(f"detaching from {self.host_ifname}", "bpf_link_detach", link)
            finally:
                os.close(link)
            self._link.unlink()
        if self.hook == "clsact" and net_links.find(self.host_ifname):
            tc.remove_ingress_filter(self.host_ifname)
            if not self.had_clsact:
                tc.remove_clsact_if_unused(self.host_ifname)
