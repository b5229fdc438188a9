"""BPF objects, as (what it is, {attribute: value}): those that somebody here holds.

The kernel numbers the objects of all who share it, and keeps each for as long as somebody holds it:
a pin, a process, an interface, or another object. Read through libbpf, for bpftool loads programs
of its own while it lists those of others. Needs root; OSError says what the kernel refused.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PINS = Path("/sys/fs/bpf")

# Numbers of linux/bpf.h that are newer than some libbpf.
MULTI_PROGRAM_HOOKS = {"tcx ingress": 46, "tcx egress": 47, "netkit primary": 54, "netkit peer": 55}
INTERFACE_LINKS = {6: "xdp", 11: "tcx", 13: "netkit"}


@cache
def libbpf() -> ctypes.CDLL:
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for kind in ("prog", "map", "link"):
        getattr(library, f"libbpf_bpf_{kind}_type_str").restype = ctypes.c_char_p
    return library


def _info(fd: int, request: bytes = b"") -> bytes:
    """The start of the kernel's struct bpf_{prog,map,link}_info of an open object."""
    info, size = ctypes.create_string_buffer(request, 96), ctypes.c_uint32(96)
    if libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(size)) < 0:
        raise OSError(ctypes.get_errno(), "cannot read a BPF object's information")
    return info.raw


def _objects(kind: str, request: bytes = b"") -> Iterator[tuple[int, str, bytes]]:
    """(id, type's name, information) of every "prog", "map" or "link" of the machine."""
    library = libbpf()
    current = ctypes.c_uint32(0)
    while getattr(library, f"bpf_{kind}_get_next_id")(current, ctypes.byref(current)) == 0:
        fd = getattr(library, f"bpf_{kind}_get_fd_by_id")(current)
        if fd < 0:
            continue  # it has been freed since
        try:
            info = _info(fd, request)
        finally:
            os.close(fd)
        number, identity = struct.unpack_from("II", info)
        name = getattr(library, f"libbpf_bpf_{kind}_type_str")(number)
        if kind == "link" and number in INTERFACE_LINKS:  # newer than some libbpf
            name = INTERFACE_LINKS[number].encode()
        yield identity, name.decode() if name else f"type {number}", info
    if ctypes.get_errno() != errno.ENOENT:
        raise OSError(ctypes.get_errno(), f"cannot list BPF objects ({kind})")


def numbers(kind: str) -> set[int]:
    """Of every "prog", "map" or "link" of the machine, whoever holds it."""
    return {identity for identity, _, _ in _objects(kind)}


def _name(info: bytes, offset: int) -> str:
    return info[offset : offset + 16].partition(b"\0")[0].decode()


@dataclass(slots=True)
class Held:
    """Numbers of objects by kind, to begin with those that pins, processes and interfaces hold."""

    links: set[int] = field(default_factory=set)
    programs: set[int] = field(default_factory=set)
    maps: set[int] = field(default_factory=set)

    def add_pins(self, entries: Iterable[Mapping[str, str]]) -> None:
        """What `pins` found."""
        kinds = {"bpf-link": self.links, "bpf_link": self.links}
        kinds |= {"bpf-prog": self.programs, "bpf-map": self.maps}
        for entry in entries:
            if entry["is"] in kinds:
                kinds[entry["is"]].add(int(entry["id"]))

    def add_process(self, number: str) -> None:
        """What a process has open, by its number."""
        kinds = {"link_id:": self.links, "prog_id:": self.programs, "map_id:": self.maps}
        for path in Path(f"/proc/{number}/fdinfo").glob("*"):
            try:
                lines = path.read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # closed since
            words = (line.split() for line in lines)
            for name, identity in (pair for pair in words if len(pair) == 2):
                if name in kinds:
                    kinds[name].add(int(identity))

    def categories(self) -> dict[str, dict[str, dict[str, str]]]:
        """These objects, and those that they hold in turn, as an inventory lists them."""
        links = {identity: entry for identity, entry in _links() if int(identity) in self.links}
        programs = {}
        used = set(self.maps)
        for identity, entry, maps in _programs():
            by_link = any(link["program"] == identity for link in links.values())
            if by_link or int(identity) in self.programs:
                programs[identity] = entry
                used |= maps
        maps = {identity: entry for identity, entry in _maps() if int(identity) in used}
        return {"bpf link": links, "bpf program": programs, "bpf map": maps}


def _programs() -> Iterator[tuple[str, dict[str, str], set[int]]]:
    """Each with the numbers of the maps that it uses."""
    maps = (ctypes.c_uint32 * 64)()
    # Fields of struct bpf_prog_info: room for 64 numbers at nr_map_ids, and where, at map_ids.
    request = bytes(52) + struct.pack("=IQ", len(maps), ctypes.addressof(maps))
    for identity, kind, info in _objects("prog", request):
        entry = {"name": _name(info, 64), "type": kind, "tag": info[8:16].hex()}
        (count,) = struct.unpack_from("=I", info, 52)
        yield str(identity), entry, set(maps[:count])


def _maps() -> Iterator[tuple[str, dict[str, str]]]:
    for identity, kind, info in _objects("map"):
        key, value, entries, flags = struct.unpack_from("4I", info, 8)
        size = {"key": f"{key} B", "value": f"{value} B", "entries": str(entries)}
        yield str(identity), {"name": _name(info, 24), "type": kind, **size, "flags": hex(flags)}


def _links() -> Iterator[tuple[str, dict[str, str]]]:
    for identity, kind, info in _objects("link"):
        program, ifindex = struct.unpack_from("I4xI", info, 8)
        entry = {"type": kind, "program": str(program)}
        if kind in INTERFACE_LINKS.values():
            entry["ifindex"] = str(ifindex)  # 0 once the interface has gone
        yield str(identity), entry


def pins() -> Iterator[tuple[str, dict[str, str]]]:
    for folder, folders, names in os.walk(PINS):
        for name in folders:
            yield f"{folder}/{name}", {"is": "folder"}
        for name in names:
            path = f"{folder}/{name}"
            fd = libbpf().bpf_obj_get(path.encode())
            if fd < 0:
                yield path, {"is": "file"}  # such as maps.debug
                continue
            try:
                kind = Path(f"/proc/self/fd/{fd}").readlink().name.removeprefix("anon_inode:")
                identity = struct.unpack_from("4xI", _info(fd))[0]
            finally:
                os.close(fd)
            yield path, {"is": kind, "id": str(identity)}


def attached(ifindex: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Programs at the hooks of an interface that take many, whether a BPF link holds them or not.

    The interface is one of the calling thread's network namespace.
    """
    for hook, number in MULTI_PROGRAM_HOOKS.items():
        identities, count = (ctypes.c_uint32 * 64)(), ctypes.c_uint32(64)
        refused = libbpf().bpf_prog_query(
            ifindex, number, 0, ctypes.byref(ctypes.c_uint32()), identities, ctypes.byref(count)
        )
        # Refused by a kernel without the hook, and for a device that cannot have it.
        if not refused and count.value:
            yield hook, {"programs": " ".join(map(str, identities[: count.value]))}
