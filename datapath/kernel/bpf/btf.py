"""The layout of a pinned map as its BTF states it.

Used to compare what is pinned with what this version of the kit expects, field by field. Only what
maps of the kit consist of is understood: structures, arrays and integers behind typedefs.
"""

from __future__ import annotations

import ctypes as ct
from dataclasses import dataclass

from datapath.errors import KernelError
from datapath.kernel.bpf import libbpf

_KIND_STRUCT = 4
_MODIFIERS = frozenset({8, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a structure; offset and size in bytes."""

    name: str
    offset: int
    size: int


class _Type(ct.Structure):
    """struct btf_type; `size` is a type id for modifiers."""

    _fields_ = (("name_off", ct.c_uint32), ("info", ct.c_uint32), ("size", ct.c_uint32))


class _Member(ct.Structure):
    """struct btf_member; `offset` in bits."""

    _fields_ = (("name_off", ct.c_uint32), ("type", ct.c_uint32), ("offset", ct.c_uint32))


def structure_fields(btf_id: int, type_id: int) -> tuple[Field, ...]:
    """Members of a structure type in the BTF object `btf_id`; () where the type is no structure.

    Raises KernelError.
    """
    lib = libbpf.library()
    btf = lib.btf__load_from_kernel_by_id(btf_id)
    if not btf:
        raise KernelError(f"reading BTF object {btf_id}", ct.get_errno())
    handle = ct.c_void_p(btf)
    try:
        address = lib.btf__type_by_id(handle, type_id)
        while address:
            described = _Type.from_address(address)
            kind = described.info >> 24 & 0x1F
            if kind not in _MODIFIERS:
                break
            address = lib.btf__type_by_id(handle, described.size)
        if not address or kind != _KIND_STRUCT:
            return ()
        members = (_Member * (described.info & 0xFFFF)).from_address(address + ct.sizeof(_Type))
        return tuple(
            Field(
                lib.btf__name_by_offset(handle, member.name_off).decode(),
                member.offset // 8,
                lib.btf__resolve_size(handle, member.type),
            )
            for member in members
        )
    finally:
        lib.btf__free(handle)
