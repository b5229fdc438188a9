"""A pcapng file with an interface for each place, as Wireshark opens it.

Blocks and options are those of the IETF's draft-ietf-opsawg-pcapng, in this machine's byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from typing import Final

from datapath.capture.session import Frame

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6  # block types
_BYTE_ORDER: Final = 0x1A2B3C4D
_ANY_LENGTH: Final = -1
_IF_NAME, _IF_TSRESOL, _END = 2, 9, 0  # options of an interface
_NANOSECONDS: Final = bytes([9])  # 10^-9 s


class Writer:
    """Writes frames as they come; every call leaves a whole file behind, also one that fails."""

    def __init__(self, file: FileIO, places: Sequence[tuple[str, int]]) -> None:
        """`places` are name and link type, in the order of `Frame.place`. Raises OSError."""
        self._file = file
        self._length = 0
        self._write(_block(_SECTION, struct.pack("=IHHq", _BYTE_ORDER, 1, 0, _ANY_LENGTH)))
        for name, link_type in places:
            options = _option(_IF_NAME, name.encode()) + _option(_IF_TSRESOL, _NANOSECONDS)
            fields = struct.pack("=HHI", link_type, 0, 0)
            self._write(_block(_INTERFACE, fields + options + _option(_END)))

    def write(self, frame: Frame) -> None:
        """Append a frame. Raises OSError."""
        header = struct.pack(
            "=IIIII",
            *(frame.place, frame.time >> 32, frame.time & 0xFFFFFFFF),
            *(len(frame.data), frame.length),
        )
        self._write(_block(_PACKET, header + _padded(frame.data)))

    def _write(self, block: bytes) -> None:
        """All of a block; a disk that fills up takes a part of it first."""
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):  # a pipe has no length
                self._file.truncate(self._length)
            raise
        self._length += len(block)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 12)  # with the type and both lengths
    return struct.pack("=I", kind) + length + body + length


def _option(code: int, value: bytes = b"") -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
