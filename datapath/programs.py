"""A network's program in the kernel: compiled and pinned, replaced under traffic, removed.

Maps outlive programs: a replacement is loaded on the maps that are pinned, so their contents stay.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final

from datapath import records
from datapath.errors import InvalidInput
from datapath.kernel.bpf import features, libbpf, links
from datapath.kernel.bpf.maps import Map
from datapath.network import ROOT, Network, require_bpffs
from datapath.records import HookId, Otherwise
from datapath.version import VERSION

if TYPE_CHECKING:
    from datapath.kernel.bpf.compiler import Instructions
    from datapath.modes.base import EbpfMode

COMMON_MAPS: Final = (
    "config",
    "endpoints",
    "endpoints_v4",
    "endpoints_v6",
    "endpoint_stats",
    "drops",
)


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program as declared: its source file under bpf/, its function, what it is loaded as, and
    the maps that a network with it has.
    """

    source: str
    function: str
    type: int
    attach_types: Mapping[HookId, int]
    maps: tuple[str, ...]


def _load(program: Instructions, spec: ProgramSpec, hook: HookId, maps: Mapping[str, int]) -> int:
    from datapath.kernel.bpf import compiler

    has_frags = spec.type == libbpf.PROG_XDP and features.has(features.XDP_FRAGS)
    return compiler.load(
        program,
        spec.type,
        maps=maps,
        attach_type=spec.attach_types[hook],
        flags=libbpf.PROG_FLAG_XDP_HAS_FRAGS if has_frags else 0,
    )


def _defines(spec: ProgramSpec, max_endpoints: int) -> dict[str, int | str]:
    defines: dict[str, int | str] = {"MAX_ENDPOINTS": max_endpoints}
    if spec.type == libbpf.PROG_XDP and features.has(features.XDP_FRAGS):
        defines["XDP_HAS_FRAGS"] = 1
    return defines


def install(
    network: str,
    mode: EbpfMode,
    hook: HookId,
    subnet: str,
    max_endpoints: int,
    otherwise: Otherwise,
) -> None:
    """Compile a mode's program and pin it with its maps as a new network.

    Raises Unsupported, CompileError, VerifierError, KernelError, InvalidInput for a source without
    the function or a map; what was pinned until then is removed by `uninstall`.
    """
    from datapath.kernel.bpf import compiler

    require_bpffs()
    folder = ROOT / network
    while not folder.exists():
        with suppress(FileNotFoundError):  # the last network may go, and take ROOT with it
            ROOT.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
    for part in ("maps", "progs", "links"):
        (folder / part).mkdir(mode=0o700)
    address = IPv4Network(subnet)
    config = records.ConfigRecord(
        layout_version=records.LAYOUT_VERSION,
        mode=records.ModeField(mode.id),
        hook=records.HookField(hook),
        max_endpoints=max_endpoints,
        subnet=records.Ipv4(*address.network_address.packed),
        prefix_length=address.prefixlen,
        kit_version=VERSION.encode()[:15],
        otherwise=records.OtherwiseField(otherwise),
    )
    with compiler.Module(
        compiler.source_folder() / mode.program.source, _defines(mode.program, max_endpoints)
    ) as module:
        program = module.function(mode.program.function)
        if lacking := set(mode.program.maps) - set(module.maps):
            raise InvalidInput(
                f"{mode.program.source} does not declare map {min(lacking)}",
                remedy='let it include "verdicts.h" and "maps.h"',
            )
        for name in mode.program.maps:
            libbpf.object_pin(module.maps[name], folder / "maps" / name)
        with Map(os.dup(module.maps["config"])) as config_map:
            config_map.update(bytes(4), bytes(config))
        fd = _load(program, mode.program, hook, {})
        try:
            libbpf.object_pin(fd, folder / "progs" / program.function)
        finally:
            os.close(fd)


def replace(network: Network, mode: EbpfMode) -> int:
    """Compile a network's program anew and put it in the old one's place; maps stay as they are.

    Each endpoint changes over in one step, so that every packet finds a program. Returns how many
    did. Raises as `install` does; then the old program runs on where it has not been replaced.
    """
    from datapath.kernel.bpf import compiler
    from datapath.kernel.net import tc

    hook = network.hook
    pin = network.path / "progs" / mode.program.function
    fresh = pin.with_name("replacement")
    with ExitStack() as stack:
        module = stack.enter_context(
            compiler.Module(
                compiler.source_folder() / mode.program.source,
                _defines(mode.program, network.max_endpoints),
            )
        )
        program = module.function(mode.program.function)
        # What is not pinned is the program's own, and a new one begins with its own.
        kept = set(program.maps) & set(mode.program.maps)
        pinned = {name: network.map(name).fd for name in kept}
        fd = _load(program, mode.program, hook, pinned)
        stack.callback(os.close, fd)
        fresh.unlink(missing_ok=True)
        libbpf.object_pin(fd, fresh)
        endpoints = network.endpoints()
        if hook is HookId.CLSACT:
            for endpoint in endpoints:
                tc.replace_ingress_filter(endpoint.host_ifname, fd, mode.program.function)
        else:
            for link in sorted((network.path / "links").iterdir()):
                if links.read(link).ifindex:
                    links.replace(link, fd)
        fresh.rename(pin)
    return len(endpoints)


def uninstall(network: str) -> None:
    """Remove a network's pins: links first, which detaches. No error where there are none."""
    folder = ROOT / network
    for part in ("sockets", "links", "progs", "maps"):
        if (folder / part).is_dir():
            for pin in (folder / part).iterdir():
                pin.unlink(missing_ok=True)
            (folder / part).rmdir()
    for empty in (folder, ROOT):
        with suppress(OSError):  # gone, or another network is in it
            empty.rmdir()
