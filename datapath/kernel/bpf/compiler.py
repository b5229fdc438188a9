"""From C to programs: bcc compiles, the loader puts pinned maps in place of bcc's own.

bcc rewrites map calls only in its main source text, so the kit's own headers and the program are
joined into one text with #line markers: errors still name header and line. bcc creates a map for
each declaration; those of a network that exist already are put in their place by descriptor, in
the instructions, before the program is loaded. That lets programs be replaced with the maps kept.

Compiling itself is done by a process of its own, see clang.py.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from datapath.errors import CompileError, InvalidInput, Unsupported
from datapath.kernel.bpf import clang, headers, libbpf

if TYPE_CHECKING:
    from collections.abc import Iterator

_INCLUDE = re.compile(r'#include "([\w./-]+)"')
_LOAD_IMM64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM, two instructions long
_PSEUDO_MAP_FD = 1
_INSTRUCTION = struct.Struct("=BBhi")  # opcode, registers, offset, immediate


def source_folder() -> Path:
    """Where the C sources are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "bpf_sources"
    return installed if installed.is_dir() else package.parent / "bpf"


def join(source: Path, folder: Path | None = None) -> str:
    """The program's text with its own headers put in, each once, with #line markers.

    They lie beside who includes them, or are the kit's. Kernel includes (<...>) stay. Raises
    InvalidInput for a header that is not there.
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
                    beside = path.parent / match[1]
                    yield from lines(beside if beside.is_file() else include / match[1])
                yield f'#line {number + 1} "{path}"'
            else:
                yield "" if line.startswith("#pragma once") else line

    return "\n".join(lines(source)) + "\n"


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
        flags = ["-Wno-unused-function", *(f"-D{name}={value}" for name, value in defines.items())]
        compiled, descriptors = _compiled(source.name, {"text": join(source), "flags": flags})
        self.maps: dict[str, int] = dict(zip(compiled["maps"], descriptors, strict=True))
        self._their_maps: dict[str, int] = compiled["maps"]
        self._functions: dict[str, str] = compiled["functions"]

    def function(self, name: str) -> Instructions:
        """One program of the module, by its C name. Raises InvalidInput where it has none such."""
        if name not in self._functions:
            raise InvalidInput(f"the source has no function {name}")
        theirs = bytes.fromhex(self._functions[name])
        by_fd = {fd: map_name for map_name, fd in self._their_maps.items()}
        used = {
            by_fd[immediate]: immediate
            for opcode, registers, _, immediate in _INSTRUCTION.iter_unpack(theirs)
            if opcode == _LOAD_IMM64 and registers >> 4 == _PSEUDO_MAP_FD
        }
        code = with_maps(Instructions(name, theirs, used), self.maps)
        return Instructions(name, code, {each: self.maps[each] for each in used})

    def close(self) -> None:
        """Close the descriptors of bcc's maps."""
        while self.maps:
            os.close(self.maps.popitem()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _compiled(name: str, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """What clang.py answers to a request: functions and maps, with descriptors of the maps."""
    here, there = socket.socketpair()
    with here, there:
        done = subprocess.run(
            [sys.executable, "-m", clang.__name__, str(there.fileno())],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=[there.fileno()],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "BCC_KERNEL_SOURCE": str(headers.find()),
            },
            check=False,
        )
        if done.returncode == clang.NO_BCC:
            raise Unsupported(
                "bcc",
                "bcc's Python package is not importable",
                remedy="apt-get install python3-bpfcc, and use the distribution's own python3",
                detail=done.stderr,
            )
        if done.returncode:
            lines = done.stderr.splitlines()
            first = next((line for line in lines if "error:" in line), lines[-1] if lines else "")
            raise CompileError(
                f"cannot compile {name}: {first or f'the compiler ended with {done.returncode}'}",
                remedy="see the compiler's output with --verbose",
                detail=done.stderr,
            )
        compiled: dict[str, Any] = json.loads(done.stdout)
        _, descriptors, _, _ = socket.recv_fds(here, 16, len(compiled["maps"]))
    return compiled, descriptors


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
    attach_btf_id: int = 0,
    flags: int = 0,
) -> int:
    """Load a compiled program and return its descriptor; see libbpf.program_load for errors."""
    return libbpf.program_load(
        program.function,
        program_type,
        with_maps(program, maps or {}),
        attach_type=attach_type,
        attach_btf_id=attach_btf_id,
        flags=flags,
    )
