"""Steps on a network's pins: its maps and programs, its endpoints' entries, their hooks."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, ip_interface
from pathlib import Path

from datapath import records
from datapath.kernel.bpf import libbpf, links
from datapath.kernel.bpf.maps import Map
from datapath.kernel.net import links as net_links
from datapath.kernel.net import tc
from datapath.network import ROOT
from datapath.records import MAPS, Number


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    """A network's maps and program: compiled, loaded, pinned, with no endpoint yet."""

    network: str
    mode: str
    hook: str
    subnet: str
    max_endpoints: int

    def commands(self) -> list[str]:
        from datapath import modes

        spec = modes.ebpf(self.mode).program
        folder = ROOT / self.network
        return [
            f"mkdir -p -m 700 {folder}/maps {folder}/progs {folder}/links",
            f"clang -O2 -g -target bpf -I bpf/include -DMAX_ENDPOINTS={self.max_endpoints}"
            f" -c bpf/{spec.source} -o {spec.function}.o",
            f"bpftool prog loadall {spec.function}.o {folder}/progs pinmaps {folder}/maps",
        ]

    def apply(self) -> None:
        from datapath import modes, programs

        programs.install(
            self.network,
            modes.ebpf(self.mode),
            records.HookId[self.hook.upper()],
            self.subnet,
            self.max_endpoints,
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

    def commands(self) -> list[str]:
        # Ids of what does not exist yet cannot be printed: the shell that would type this asks.
        ifindex = f"$(cat /sys/class/net/{shlex.quote(self.host_ifname)}/ifindex)"
        maps = ROOT / self.network / "maps"
        return [
            f"bpftool map update pinned {maps}/{name} key {what} value {{id {self.id},"
            f" ifindex {ifindex}, mac {self.mac}}}"
            for name, what in (
                *(
                    (f"endpoints_v{address.version}", address.ip)
                    for address in map(ip_interface, self.addresses)
                ),
                ("endpoints", ifindex),
            )
        ]

    def apply(self) -> None:
        ifindex = net_links.index_of(self.host_ifname)
        inode = Path(self.netns).stat().st_ino
        stats = MAPS["endpoint_stats"]
        zero = bytes((stats.value_size + 7) // 8 * 8 * libbpf.possible_cpus())
        # The id may have been somebody else's: counting starts anew before anybody sends.
        for name, key, value in (
            (stats.name, bytes(Number(self.id)), zero),
            *self._entries(ifindex, inode),
        ):
            with Map.pinned(ROOT / self.network / "maps" / name) as target:
                target.update(key, value)

    def revert(self) -> None:
        maps = ROOT / self.network / "maps"
        if not (maps / "endpoints").exists():
            return
        with Map.pinned(maps / "endpoints") as endpoints:
            for key, value in endpoints.items():
                if records.EndpointRecord.from_buffer_copy(value).id == self.id:
                    endpoints.delete(key)
        for name, key, _ in self._entries(0, 0):
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
        kind = "tcx_ingress" if self.hook == "tcx" else "xdpdrv"
        return [f"bpftool net attach {kind} pinned {self._program} dev {self.host_ifname}"]

    def apply(self) -> None:
        ifindex = net_links.index_of(self.host_ifname)
        program = libbpf.object_get(self._program)
        try:
            if self.hook == "clsact":
                tc.ensure_clsact(self.host_ifname)
                tc.add_ingress_filter(self.host_ifname, program, self.function)
            elif self.hook == "tcx":
                links.attach(program, ifindex, libbpf.ATTACH_TCX_INGRESS, self._link)
            else:
                links.attach(
                    program, ifindex, libbpf.ATTACH_XDP, self._link, libbpf.XDP_FLAGS_DRV_MODE
                )
        finally:
            os.close(program)

    def revert(self) -> None:
        self._link.unlink(missing_ok=True)
        if self.hook == "clsact" and net_links.find(self.host_ifname):
            tc.remove_ingress_filter(self.host_ifname)
            if not self.had_clsact:
                tc.remove_clsact_if_unused(self.host_ifname)
