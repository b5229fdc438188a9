"""Attaching programs by BPF links (tcx, XDP) and finding what is attached.

A link ends with its last descriptor, so every link is pinned; removing the pin detaches. A link
whose interface is gone stays pinned with ifindex 0.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from datapath.kernel.bpf import libbpf


@dataclass(frozen=True, slots=True)
class Attachment:
    """A pinned link: where it sits (ifindex 0 = its interface is gone) and what it runs."""

    pin: Path
    link_id: int
    program_id: int
    ifindex: int


def attach(program: int, ifindex: int, attach_type: int, pin: Path, flags: int = 0) -> None:
    """Attach at an interface and pin the link. Raises KernelError; then nothing is attached."""
    link = libbpf.link_create(program, ifindex, attach_type, flags)
    try:
        libbpf.object_pin(link, pin)
    finally:
        os.close(link)


def replace(pin: Path, program: int) -> None:
    """Put another program in a pinned link's place, in one step. Raises KernelError."""
    link = libbpf.object_get(pin)
    try:
        libbpf.link_update(link, program)
    finally:
        os.close(link)


def read(pin: Path) -> Attachment:
    """What a pinned link is. Raises KernelError."""
    link = libbpf.object_get(pin)
    try:
        info = libbpf.object_info(link, libbpf.LinkInfo)
    finally:
        os.close(link)
    return Attachment(pin, info.id, info.prog_id, info.ifindex)


@dataclass(frozen=True, slots=True)
class Program:
    """A loaded program: kernel id, name (up to 15 characters) and tag (hash of its code, hex)."""

    id: int
    name: str
    tag: str


def program_info(fd: int) -> Program:
    """What the kernel says of a loaded program. Raises KernelError."""
    info = libbpf.object_info(fd, libbpf.ProgInfo)
    return Program(info.id, bytes(info.name).decode(), bytes(info.tag).hex())
