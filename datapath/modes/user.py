"""A mode of the user's own: a C file measured beside the rest, `mine=prog.c:function`.

The contract, by example in bpf/example.c:

- The function takes a struct __sk_buff and returns a TC_ACT_... verdict. It runs at tc ingress
  (tcx, else clsact) of the host end of each endpoint, on every frame that the endpoint sends.
- The file includes "verdicts.h" and "maps.h": the network's maps, which the kit fills before the
  program is attached. The kit's other headers (bpf/include) are found by the same path, and so are
  headers beside the file. bcc compiles, so map calls are written `endpoints.lookup(&key)`.
- The receiver must get IPv4, and ARP, or else ARP is to be answered: a lab in which no ping
  arrives is not measured. bpf_redirect, bpf_redirect_peer and the host's stack are all allowed.

Maps that the file declares itself exist for as long as its program does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from datapath.errors import InvalidInput
from datapath.kernel.bpf import libbpf
from datapath.modes.base import EbpfMode, Station
from datapath.programs import COMMON_MAPS, ProgramSpec
from datapath.records import HookId, ModeId

# Before any of the kit's own variants: their options come behind a colon.
_WRITTEN: Final = re.compile(r"(?P<name>[\w-]+)=(?P<file>[^:=][^:]*):(?P<function>[A-Za-z_]\w*)")


def is_meant(text: str) -> bool:
    """Whether this names a user's own mode, well or badly, and not one of the kit's."""
    return "=" in text.partition(":")[0]


def parse(text: str) -> EbpfMode:
    """The mode that NAME=FILE:FUNCTION means; nothing is compiled yet.

    Raises InvalidInput where it is not written like that, or there is no such file.
    """
    written = _WRITTEN.fullmatch(text)
    if written is None or not text.isprintable():
        raise InvalidInput(f"{text!r} is no mode", remedy="write NAME=FILE.c:FUNCTION")
    file, function = Path(written["file"]).absolute(), written["function"]
    if not file.is_file():
        raise InvalidInput(f"{text}: there is no file {written['file']}")
    return EbpfMode(
        name=written["name"],
        id=ModeId.USER,
        summary=f"{function} of {file.name}, the user's own, at tc ingress",
        program=ProgramSpec(
            source=str(file),
            function=function,
            type=libbpf.PROG_SCHED_CLS,
            attach_types={HookId.TCX: libbpf.ATTACH_TCX_INGRESS, HookId.CLSACT: 0},
            maps=COMMON_MAPS,
        ),
        hooks=(HookId.TCX, HookId.CLSACT),
        path=(
            Station("sender", "eth0"),
            Station("host", f"sender's host end: {function} of {file.name}", hook="tc ingress"),
            Station("host", "as the program decides"),
            Station("receiver", "eth0"),
        ),
        text=text,
    )
