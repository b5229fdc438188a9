"""The programs that join a network's TCP sockets (mode sockmap): put in place, replaced, removed.

Pinned beside the network's other programs and maps; their links under sockets/. What they do is in
bpf/socket.c.

A socket that is in map `sockets` has a queue of its own for what is redirected to it, which would
be lost if it were taken out. So it stays in, with its program, until it is closed, whatever becomes
of the network: the kernel keeps both for it. Without its flow, which is what detaching takes away,
it sends by packets, and what it has been sent already stays readable.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from datapath.kernel.bpf import libbpf, links
from datapath.kernel.bpf import sockets as attaching
from datapath.network import ROOT, Network

if TYPE_CHECKING:
    from datapath.kernel.bpf.compiler import Module

SOURCE: Final = "socket.c"
MAPS: Final = ("namespaces", "sockets", "flows", "progress")


@dataclass(frozen=True, slots=True)
class SocketProgram:
    """A function of socket.c: what it is loaded as, and how it is put in place on a network.

    `put` takes the network and the program's descriptor, and finds what is attached already.
    """

    function: str
    type: int
    attach_type: int
    put: Callable[[Network, int], None]
    tracepoint: str = ""


def link_of(network: str, function: str) -> Path:
    """Where a program's link is pinned; socket_message has none, it is attached to map sockets."""
    return ROOT / network / "sockets" / function


def _put_sent(network: Network, program: int) -> None:
    _put_traced(network, program, "socket_sent")


def _put_read(network: Network, program: int) -> None:
    _put_traced(network, program, "socket_read")


def _put_traced(network: Network, program: int, function: str) -> None:
    # The old one goes first: what both count would make unread bytes look read. What nobody counts
    # in between looks unread, and goes on by packets.
    link = link_of(network.name, function)
    link.unlink(missing_ok=True)
    attaching.attach_to_tracepoint(program, link)


def _put_messages(network: Network, program: int) -> None:
    attaching.attach_to_map(program, network.map("sockets").fd)


def _put_events(network: Network, program: int) -> None:
    link = link_of(network.name, "socket_event")
    if link.exists():
        links.replace(link, program)
    else:
        attaching.attach_to_cgroup(program, link)


_TRACED = (libbpf.PROG_TRACING, libbpf.ATTACH_TRACE_RAW_TP)

# In the order of attaching: sockets come in when all that looks after them is there.
PROGRAMS: Final = (
    SocketProgram("socket_sent", *_TRACED, _put_sent, attaching.SEND_TRACEPOINT),
    SocketProgram("socket_read", *_TRACED, _put_read, attaching.RECEIVE_TRACEPOINT),
    SocketProgram(
        "socket_message", libbpf.PROG_SK_MSG, libbpf.ATTACH_SK_MSG_VERDICT, _put_messages
    ),
    SocketProgram("socket_event", libbpf.PROG_SOCK_OPS, libbpf.ATTACH_CGROUP_SOCK_OPS, _put_events),
)


def install(network: str) -> None:
    """Compile the programs, pin and attach them with their maps; no namespace is joined yet.

    Raises Unsupported, CompileError, VerifierError, KernelError; what was pinned until then is
    removed by `uninstall`.
    """
    with Network(network) as existing:
        (existing.path / "sockets").mkdir(mode=0o700)
        with _compiled(existing) as module:
            for name in MAPS:
                libbpf.object_pin(module.maps[name], existing.path / "maps" / name)
            _put_all(existing, module)


def replace(network: Network) -> None:
    """Compile the programs anew and put them in the old ones' places; maps stay as they are.

    Sockets that are joined keep the program that they send by. Raises as `install` does.
    """
    with _compiled(network) as module:
        _put_all(network, module)


def _compiled(network: Network) -> Module:
    from datapath.kernel.bpf import compiler

    return compiler.Module(
        compiler.source_folder() / SOURCE, {"MAX_ENDPOINTS": network.max_endpoints}
    )


def _put_all(network: Network, module: Module) -> None:
    from datapath.kernel.bpf import compiler

    fresh = network.path / "progs/replacement"
    for each in PROGRAMS:
        code = module.function(each.function)
        program = compiler.load(
            code,
            each.type,
            maps={name: network.map(name).fd for name in code.maps},
            attach_type=each.attach_type,
            attach_btf_id=attaching.tracepoint(each.tracepoint) if each.tracepoint else 0,
        )
        try:
            fresh.unlink(missing_ok=True)
            libbpf.object_pin(program, fresh)
            each.put(network, program)
            fresh.rename(network.path / "progs" / each.function)
        finally:
            os.close(program)


def running(network: Network, program: SocketProgram) -> int:
    """Id of what runs in a program's place, 0 where nothing does. Raises KernelError."""
    if program.type == libbpf.PROG_SK_MSG:
        return attaching.program_of_map(network.map("sockets").fd)
    return links.read(link_of(network.name, program.function)).program_id


def uninstall(network: str) -> None:
    """Detach and remove the programs and their maps. No error where there are none."""
    event = link_of(network, "socket_event")
    if event.exists():
        # Without its pin it would be detached too, but later: it would still see sockets come.
        link = libbpf.object_get(event)
        try:
            libbpf.call("detaching from the cgroup", "bpf_link_detach", link)
        finally:
            os.close(link)
    folder = ROOT / network
    for pin in (
        *(link_of(network, each.function) for each in reversed(PROGRAMS)),
        *(folder / "progs" / each.function for each in PROGRAMS),
        *(folder / "maps" / name for name in MAPS),
    ):
        pin.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        (folder / "sockets").rmdir()
