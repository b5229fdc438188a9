"""Maps as the kernel holds them: bytes in, bytes out, by batch where many are wanted.

Keys and values are raw here; datapath.records gives them types.
"""

from __future__ import annotations

import ctypes as ct
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from datapath.errors import Conflict, KernelError
from datapath.kernel.bpf import libbpf

_BATCH = 4096


class _BatchOpts(ct.Structure):
    """struct bpf_map_batch_opts."""

    _fields_ = (("sz", ct.c_size_t), ("elem_flags", ct.c_uint64), ("flags", ct.c_uint64))


class Map:
    """One map, held by a descriptor of our own; closes it on exit.

    `value_size` is what user space reads for one key: for per-CPU maps the values of all possible
    CPUs in turn, each padded to 8 bytes.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.info = libbpf.object_info(fd, libbpf.MapInfo)
        self.per_cpu = self.info.type in libbpf.PER_CPU_MAPS
        padded = (self.info.value_size + 7) // 8 * 8
        self.value_size = (
            padded * libbpf.possible_cpus() if self.per_cpu else int(self.info.value_size)
        )

    @classmethod
    def pinned(cls, path: Path) -> Self:
        """Open the map pinned at `path`. Raises KernelError."""
        return cls(libbpf.object_get(path))

    @property
    def name(self) -> str:
        """The kernel's name for it: the first 15 characters of ours."""
        return bytes(self.info.name).decode()

    def close(self) -> None:
        """Give the descriptor back; the pin keeps the map."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lookup(self, key: bytes) -> bytes | None:
        """The value at `key`, None where there is none. Raises KernelError."""
        value = ct.create_string_buffer(self.value_size)
        try:
            libbpf.call(f"reading map {self.name}", "bpf_map_lookup_elem", self.fd, key, value)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Write the value at `key`. Raises Conflict where the map is full, KernelError."""
        try:
            libbpf.call(
                f"writing map {self.name}",
                "bpf_map_update_elem",
                self.fd,
                key,
                value,
                ct.c_uint64(0),
            )
        except KernelError as error:
            if error.errno == errno.E2BIG:
                raise Conflict(
                    f"map {self.name} is full: it has room for {self.info.max_entries} entries",
                    remedy="detach endpoints, or make a network with a larger --max-endpoints",
                    detail=error.detail,
                ) from error
            raise

    def delete(self, key: bytes) -> bool:
        """Remove the entry at `key`; False where there was none. Raises KernelError."""
        try:
            libbpf.call(f"deleting from map {self.name}", "bpf_map_delete_elem", self.fd, key)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key, by walking; for maps that cannot be read by batch."""
        current: bytes | None = None
        following = ct.create_string_buffer(self.info.key_size)
        while True:
            try:
                libbpf.call(
                    f"walking map {self.name}",
                    "bpf_map_get_next_key",
                    self.fd,
                    current,
                    following,
                )
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            current = following.raw
            yield current

    def items(self) -> list[tuple[bytes, bytes]]:
        """Every entry; those written meanwhile may or may not be among them. Raises KernelError."""
        try:
            return list(self._batches())
        except KernelError as error:
            # Kinds of map without batch operations; ENOSPC: a hash bucket larger than the batch.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC, 524):
                raise
        return [(key, value) for key in self.keys() if (value := self.lookup(key)) is not None]

    def _batches(self) -> Iterator[tuple[bytes, bytes]]:
        key_size = self.info.key_size
        limit = min(_BATCH, self.info.max_entries)
        keys = ct.create_string_buffer(key_size * limit)
        values = ct.create_string_buffer(self.value_size * limit)
        # A position is a key in arrays, a bucket number (4 bytes) in hashes.
        position = ct.create_string_buffer(max(key_size, 4))
        options = _BatchOpts(sz=ct.sizeof(_BatchOpts))
        start = None
        last = False
        while not last:
            count = ct.c_uint32(limit)
            try:
                libbpf.call(
                    f"reading map {self.name}",
                    "bpf_map_lookup_batch",
                    self.fd,
                    start,
                    position,
                    keys,
                    values,
                    ct.byref(count),
                    ct.byref(options),
                )
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                last = True
            raw_keys, raw_values = keys.raw, values.raw
            for index in range(count.value):
                yield (
                    raw_keys[index * key_size : (index + 1) * key_size],
                    raw_values[index * self.value_size : (index + 1) * self.value_size],
                )
            start = position

    def memory(self) -> int | None:
        """Bytes of kernel memory charged to the map, None where the kernel does not say."""
        for line in Path(f"/proc/self/fdinfo/{self.fd}").read_text().splitlines():
            if line.startswith("memlock:"):
                return int(line.split()[1])
        return None


def apply_differences(
    target: Map,
    wanted: Mapping[bytes, bytes],
    leaving: Iterable[bytes],
    is_ours: Callable[[bytes], bool],
) -> None:
    """Bring the entries at keys `leaving` and `wanted` to the wanted state.

    Writes only what differs, deletions last: a packet in between finds the old entry or the new
    one, never none. Entries whose value is not ours stay. Raises KernelError, Conflict.
    """
    for key, value in wanted.items():
        present = target.lookup(key)
        if present != value and (present is None or is_ours(present)):
            target.update(key, value)
    for key in leaving:
        if key not in wanted and (present := target.lookup(key)) and is_ours(present):
            target.delete(key)
