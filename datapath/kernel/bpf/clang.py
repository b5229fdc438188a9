"""The process that compiles: `python -m datapath.kernel.bpf.clang SOCKET`, started by compiler.py.

bcc with clang and LLVM takes 120 MB, which go with this process; what they print, on either
descriptor, is on its stderr. Standard input brings {"text", "flags"}, standard output takes
{"functions": {name: code in hex}, "maps": {name: descriptor}}, and the socket the maps' descriptors
in that order. Ends with NO_BCC where bcc cannot be imported, with REFUSED for a text that does not
compile.
"""

from __future__ import annotations

import ctypes as ct
import json
import os
import signal
import socket
import sys
from typing import Any, Final

NO_BCC: Final = 3
REFUSED: Final = 4

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Answer the one request; the exit status."""
    ct.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # whoever kills the parent means us too
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        import bcc

        library: Any = bcc.lib
    except (ImportError, OSError, AttributeError) as error:  # no package, no libbcc, a namesake
        print(repr(error), file=sys.stderr)
        return NO_BCC
    asked = json.load(sys.stdin)
    try:
        compiled = bcc.BPF(text=asked["text"], cflags=asked["flags"])
    except Exception as error:  # bcc raises nothing narrower
        print(error, file=sys.stderr)
        return REFUSED
    module = ct.c_void_p(compiled.module)
    for function in ("bpf_table_name", "bpf_function_name"):
        getattr(library, function).restype = ct.c_char_p
    maps = {
        name.decode(): library.bpf_table_fd(module, name)
        for index in range(library.bpf_num_tables(module))
        if (name := library.bpf_table_name(module, ct.c_size_t(index)))
    }
    functions = {
        name.decode(): ct.string_at(
            library.bpf_function_start(module, name), library.bpf_function_size(module, name)
        ).hex()
        for index in range(library.bpf_num_functions(module))
        if (name := library.bpf_function_name(module, ct.c_size_t(index)))
    }
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        socket.send_fds(channel, [b"maps"], list(maps.values()))
    json.dump({"functions": functions, "maps": maps}, answer)
    answer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
