"""From C to programs: bcc compiles, the loader puts pinned maps in place of bcc's own.

bcc rewrites map calls only in its main source text, so the kit's own headers and the program are
joined into one text with #line markers: errors still name header and line. bcc creates a map for
each declaration; those of a network that exist already are put in their place by descriptor, in
the instructions, before the program is loaded. That lets programs be replaced with the maps kept.

The only module that compiles.
"""

from __future__ import annotations

import ctypes as ct
import os
import re
import struct
import sys
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from datapath.errors import CompileError, InvalidInput, Unsupported
from datapath.kernel.bpf import headers, libbpf

if TYPE_CHECKING:
    from collections.abc import Iterator

_INCLUDE = re.compile(r'#include "([\w.]+)"')
_LOAD_IMM64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM, two instructions long
_PSEUDO_MAP_FD = 1
_INSTRUCTION = struct.Struct("=BBhi")  # opcode, registers, offset, immediate


def source_folder() -> Path:
    """Where the C sources are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "bpf_sources"
    return installed if installed.is_dir() else package.parent / "bpf"


def join(source: Path, folder: Path | None = None) -> str:
    """The program's text with the kit's own headers put in, each once, with #line markers.

    Kernel includes (<...>) stay. Raises InvalidInput for a header that is not there.
    """
    include = (folder or source_folder()) / "include"
    seen: set[str] = set()

    def lines(path: Path) -> Iterator[str]:
        try:
            text = path.read_text()
        except OSError as error:
            raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
        yield f'#line 1 "{path}"'
        for number, line in enumerate(text.splitlines(), 1):
            match = _INCLUDE.match(line)
            if match:
                if match[1] not in seen:
                    seen.add(match[1])
                    yield from lines(include / match[1])
                yield f'#line {number + 1} "{path}"'
            else:
                yield "" if line.startswith("#pragma once") else line

    return "\n".join(lines(source)) + "\n"


@contextmanager
def _captured_output() -> Iterator[list[str]]:
    """clang writes its errors to descriptor 2, bcc some to 1: collect them for our own error."""
    collected: list[str] = []
    sys.stdout.flush()
    with tempfile.TemporaryFile() as file:
        kept = {fd: os.dup(fd) for fd in (1, 2)}
        for fd in kept:
            os.dup2(file.fileno(), fd)
        try:
            yield collected
        finally:
            for fd, original in kept.items():
                os.dup2(original, fd)
                os.close(original)
            file.seek(0)
            collected.append(file.read().decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Instructions:
    """A compiled program: its code, and which maps its code refers to (by the C name)."""

    function: str
    code: bytes
    maps: Mapping[str, int]


class Module:
    """A compiled source file; holds bcc's maps until it is closed.

    Use as a context manager. What was loaded or pinned from it stays.
    """

    def __init__(self, source: Path, defines: Mapping[str, int | str]) -> None:
        """Compile `source` with -D`defines`.

        Raises Unsupported (no bcc, no headers), CompileError with clang's words.
        """
        os.environ["BCC_KERNEL_SOURCE"] = str(headers.find())
        try:
            import bcc

            self._library: Any = bcc.lib
        except (ImportError, OSError, AttributeError) as error:  # no package, no libbcc, a namesake
            raise Unsupported(
                "bcc",
                "bcc's Python package is not importable",
                remedy="apt-get install python3-bpfcc, and use the distribution's own python3",
                detail=str(error),
            ) from error
        text = join(source)
        flags = ["-Wno-unused-function", *(f"-D{name}={value}" for name, value in defines.items())]
        try:
            with _captured_output() as output:
                self._bpf: Any = bcc.BPF(text=text, cflags=flags)
        except Exception as error:  # bcc raises nothing narrower
            words = "".join(output)
            first = next((line for line in words.splitlines() if "error:" in line), str(error))
            raise CompileError(
                f"cannot compile {source.name}: {first}",
                remedy="see the compiler's output with --verbose",
                detail=words,
            ) from error
        module = ct.c_void_p(self._bpf.module)
        self._library.bpf_table_name.restype = ct.c_char_p
        self.maps: dict[str, int] = {
            name.decode(): self._library.bpf_table_fd(module, name)
            for index in range(self._library.bpf_num_tables(module))
            if (name := self._library.bpf_table_name(module, ct.c_size_t(index)))
        }

    def function(self, name: str) -> Instructions:
        """One program of the module, by its C name. Raises InvalidInput where it has none such."""
        start = self._library.bpf_function_start(self._bpf.module, name.encode())
        size = self._library.bpf_function_size(self._bpf.module, name.encode())
        if not start:
            raise InvalidInput(f"the source has no function {name}")
        code = ct.string_at(start, size)
        by_fd = {fd: map_name for map_name, fd in self.maps.items()}
        used = {
            by_fd[immediate]: immediate
            for opcode, registers, _, immediate in _INSTRUCTION.iter_unpack(code)
            if opcode == _LOAD_IMM64 and registers >> 4 == _PSEUDO_MAP_FD
        }
        return Instructions(name, code, used)

    def close(self) -> None:
        """Free the module and bcc's descriptors of its maps."""
        self._bpf.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def with_maps(program: Instructions, replacements: Mapping[str, int]) -> bytes:
    """The program's code with the maps named in `replacements` taken from those descriptors."""
    new_fd = {old: replacements[name] for name, old in program.maps.items() if name in replacements}
    code = bytearray(program.code)
    offset = 0
    while offset < len(code):
        opcode, registers, jump, immediate = _INSTRUCTION.unpack_from(code, offset)
        if opcode == _LOAD_IMM64:
            if registers >> 4 == _PSEUDO_MAP_FD and immediate in new_fd:
                _INSTRUCTION.pack_into(code, offset, opcode, registers, jump, new_fd[immediate])
            offset += 2 * _INSTRUCTION.size
        else:
            offset += _INSTRUCTION.size
    return bytes(code)


def load(
    program: Instructions,
    program_type: int,
    *,
    maps: Mapping[str, int] | None = None,
    attach_type: int = 0,
    flags: int = 0,
) -> int:
    """Load a compiled program and return its descriptor; see libbpf.program_load for errors."""
    return libbpf.program_load(
        program.function,
        program_type,
        with_maps(program, maps or {}),
        attach_type=attach_type,
        flags=flags,
    )
