"""A network as the kernel holds it: pinned maps, programs and links, opened and read.

Nothing here compiles, writes or remembers: what it says is what is pinned. Layout:

    /sys/fs/bpf/ebpfnet/<network>/maps/<map>
                                 /progs/<function>
                                 /links/<endpoint id>     (tcx and XDP; clsact has filters instead)
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from datapath import records
from datapath.endpoint import Endpoint, EndpointStats
from datapath.errors import InvalidInput, KernelError, LayoutMismatch, NotFound, Unsupported
from datapath.kernel.bpf import btf
from datapath.kernel.bpf.maps import Map
from datapath.kernel.net import netns
from datapath.records import MAPS, DropReason, HookId, MapSpec, ModeId, Otherwise

BPFFS: Final = Path("/sys/fs/bpf")
ROOT: Final = BPFFS / "ebpfnet"


def require_bpffs() -> None:
    """Raises Unsupported where bpffs is not mounted, or another file system lies over it."""
    device = BPFFS.stat().st_dev if BPFFS.exists() else 0
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mounted, _, source = line.partition(" - ")
        if f" {os.major(device)}:{os.minor(device)} " in mounted and source.startswith("bpf "):
            return
    require_own_sysfs()
    raise Unsupported(
        "bpffs",
        f"bpffs is not mounted at {BPFFS}",
        remedy=f"mount -t bpf bpf {BPFFS}",
    )


def require_own_sysfs() -> None:
    """Raises Unsupported under `ip netns exec`, which lays a new /sys over the one with our pins.

    To mount bpffs there would make a second, empty one: networks would look as if they had gone.
    """
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mounted, _, source = line.partition(" - ")
        kind, name, *_ = source.split()
        # iproute2 gives its mount the namespace's name as source.
        if mounted.split()[4] == "/sys" and kind == "sysfs" and (netns.FOLDER / name).exists():
            raise Unsupported(
                "bpffs",
                f"`ip netns exec {name}` hides {BPFFS}, and with it every network",
                remedy="run this outside of it; namespaces are given by their names",
            )


def names() -> list[str]:
    """Every network that has pins, complete or not."""
    try:
        return sorted(path.name for path in ROOT.iterdir())
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise KernelError(f"reading {ROOT}", errno.EPERM) from error


Number = TypeVar("Number", bound=IntEnum)


class Network:
    """An existing network. Use as a context manager; closes its maps on exit."""

    def __init__(self, name: str) -> None:
        """Open by name.

        Raises NotFound where there is none, Unsupported where none can be seen, LayoutMismatch
        where another version of the kit made its maps, KernelError.
        """
        self.name = name
        self.path = ROOT / name
        self._open: dict[str, Map] = {}
        try:
            exists = (self.path / "maps").is_dir()
        except PermissionError as error:
            raise KernelError(f"reading {self.path}", errno.EPERM) from error
        known = names()
        if not exists or name not in known:  # "" and "../x" are folders too
            require_own_sysfs()
            raise NotFound(
                f"there is no network {name or repr(name)}",
                remedy=f"networks: {', '.join(known)}" if known else "make one: ebpfnet attach",
            )

    def close(self) -> None:
        """Close the maps that were opened."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def map_names(self) -> list[str]:
        """The maps that are pinned."""
        return sorted(path.name for path in (self.path / "maps").glob("*"))

    def map(self, name: str) -> Map:
        """One pinned map, compared with the layout we expect. Raises NotFound, LayoutMismatch."""
        if name not in self._open:
            path = self.path / "maps" / name
            if name not in MAPS or not path.exists():
                raise NotFound(
                    f"network {self.name} has no map {name}",
                    remedy=f"maps: {', '.join(self.map_names())}",
                )
            opened = Map.pinned(path)
            try:
                check_layout(MAPS[name], opened, path)
            except BaseException:
                opened.close()
                raise
            self._open[name] = opened
        return self._open[name]

    def check_layouts(self) -> None:
        """Compare every map and the version, before anything is written. Raises LayoutMismatch."""
        for name in self.map_names():
            if name in MAPS:
                self.map(name)
        _ = self.config

    @cached_property
    def config(self) -> records.ConfigRecord:
        """What the network is. Raises LayoutMismatch."""
        raw = self.map("config").lookup(bytes(4))
        config: records.ConfigRecord = MAPS["config"].decode(raw or b"")
        if config.layout_version != records.LAYOUT_VERSION:
            raise LayoutMismatch(
                "config",
                str(self.path / "maps/config"),
                "layout version",
                config.layout_version,
                records.LAYOUT_VERSION,
            )
        return config

    @property
    def mode(self) -> ModeId:
        """The forwarding mode. Raises LayoutMismatch for one that we do not know."""
        return self._known(ModeId, "mode", self.config.mode.number)

    @property
    def hook(self) -> HookId:
        """Where the programs sit. Raises LayoutMismatch for a hook that we do not know."""
        return self._known(HookId, "hook", self.config.hook.number)

    @property
    def otherwise(self) -> Otherwise:
        """What becomes of frames that no endpoint is meant by. Raises LayoutMismatch."""
        return self._known(Otherwise, "otherwise", self.config.otherwise.number)

    def _known(self, kind: type[Number], field: str, number: int) -> Number:
        try:
            return kind(number)
        except ValueError:
            path = str(self.path / "maps/config")
            ours = f"one of {', '.join(str(each.value) for each in kind)}"
            raise LayoutMismatch("config", path, field, number, ours) from None

    @property
    def max_endpoints(self) -> int:
        """How many endpoints the maps have room for."""
        return int(self.config.max_endpoints)

    @property
    def subnet(self) -> IPv4Network:
        """The IPv4 subnet that addresses are given from."""
        address = IPv4Address(bytes(self.config.subnet))
        return IPv4Network((address, self.config.prefix_length))

    def records(self, name: str) -> list[tuple[Any, Any]]:
        """Every entry of a map as (key, value) records; per-CPU values are added up."""
        spec = MAPS[name]
        return [
            (spec.key.from_buffer_copy(key), spec.decode(value))
            for key, value in self.map(name).items()
        ]

    def endpoints(self) -> list[Endpoint]:
        """The endpoints, by id."""
        found = [
            Endpoint.from_record(key.value, record) for key, record in self.records("endpoints")
        ]
        return sorted(found, key=lambda endpoint: endpoint.id)

    def endpoint(self, text: str) -> Endpoint:
        """The endpoint that `text` means. Raises NotFound.

        In this order: its namespace by name, by path or by PID, its id, one of its addresses.
        """
        endpoints = self.endpoints()
        for field, value in self._meanings(text):
            for endpoint in endpoints:
                if getattr(endpoint, field) == value:
                    return endpoint
        raise NotFound(
            f"network {self.name} has no endpoint {text}",
            remedy=f"see `ebpfnet endpoint list --network {self.name}`",
        )

    def _meanings(self, text: str) -> Iterator[tuple[str, object]]:
        """What a text may stand for: fields of an endpoint with the values they would have."""
        yield "netns", text
        is_number = text.isascii() and text.isdigit()
        named = Path(text) if "/" in text else netns.FOLDER / text
        process = Path("/proc") / text / "ns/net"
        for path in (named, process) if is_number else (named,):
            if found := netns.at(text, path):
                yield "netns_inode", found.inode
        if is_number:
            yield "id", int(text)
        for name in ("endpoints_v4", "endpoints_v6"):
            try:
                key = MAPS[name].key.parse(text)
            except InvalidInput:
                continue
            if raw := self.map(name).lookup(bytes(key)):
                yield "id", MAPS[name].decode(raw).id

    def stats(self, endpoint_id: int) -> EndpointStats:
        """Counters of one endpoint. Raises NotFound for an id out of range."""
        raw = self.map("endpoint_stats").lookup(endpoint_id.to_bytes(4, sys.byteorder))
        if raw is None:
            raise NotFound(f"network {self.name} has no endpoint id {endpoint_id}")
        return EndpointStats.from_record(MAPS["endpoint_stats"].decode(raw))

    def drops(self) -> dict[DropReason, int]:
        """Dropped frames by reason, those that occurred."""
        return {
            DropReason(key.number): value.packets
            for key, value in self.records("drops")
            if value.packets
        }


def check_layout(spec: MapSpec, pinned: Map, path: Path) -> None:
    """Compare a pinned map's key, value and structure with ours. Raises LayoutMismatch."""
    for field, theirs, ours in (
        ("key size", pinned.info.key_size, spec.key_size),
        ("value size", pinned.info.value_size, spec.value_size),
    ):
        if theirs != ours:
            raise LayoutMismatch(spec.name, str(path), field, f"{theirs} bytes", f"{ours} bytes")
    if not spec.structure or not pinned.info.btf_id:
        return
    theirs_by_name = {
        field.name: (field.offset, field.size)
        for field in btf.structure_fields(pinned.info.btf_id, pinned.info.btf_value_type_id)
    }
    for name, *_ in spec.value._fields_:
        member = getattr(spec.value, name)
        if theirs_by_name.get(name) != (member.offset, member.size):
            there = theirs_by_name.get(name)
            raise LayoutMismatch(
                spec.name,
                str(path),
                f"field {name}",
                f"at byte {there[0]}, {there[1]} bytes long" if there else "missing",
                f"at byte {member.offset}, {member.size} bytes long",
            )
