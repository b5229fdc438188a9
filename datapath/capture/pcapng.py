"""A pcapng file with an interface for each place, as Wireshark opens it.

Blocks and options are those of the IETF's draft-ietf-opsawg-pcapng, in this machine's byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO, Final

from datapath.capture.session import Frame

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6  # block types
_BYTE_ORDER: Final = 0x1A2B3C4D
_ANY_LENGTH: Final = -1
_ETHERNET: Final = 1  # LINKTYPE_ETHERNET
_IF_NAME, _IF_TSRESOL, _END = 2, 9, 0  # options of an interface
_NANOSECONDS: Final = bytes([9])  # 10^-9 s


class Writer:
    """Writes frames as they come; every call leaves a whole file behind."""

    def __init__(self, file: BinaryIO, names: Sequence[str]) -> None:
        """`names` of the interfaces, in the order of `Frame.place`. Raises OSError."""
        self._file = file
        self._block(_SECTION, struct.pack("=IHHq", _BYTE_ORDER, 1, 0, _ANY_LENGTH))
        for name in names:
            options = _option(_IF_NAME, name.encode()) + _option(_IF_TSRESOL, _NANOSECONDS)
            self._block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + options + _option(_END))
        file.flush()

    def write(self, frame: Frame) -> None:
        """Append a frame. Raises OSError."""
        header = struct.pack(
            "=IIIII",
            *(frame.place, frame.time >> 32, frame.time & 0xFFFFFFFF),
            *(len(frame.data), frame.length),
        )
        self._block(_PACKET, header + _padded(frame.data))
        self._file.flush()

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("=I", len(body) + 12)  # with the type and both lengths
        self._file.write(struct.pack("=I", kind) + length + body + length)


def _option(code: int, value: bytes = b"") -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
