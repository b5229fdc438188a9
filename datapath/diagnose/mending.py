"""Doing what a remedy says."""

from __future__ import annotations

import subprocess
import sys

from datapath.diagnose.causes import Cause


def mend(cause: Cause) -> bool:
    """Run the commands of a remedy, one after the other; whether all of them went well."""
    for command in cause.commands:
        # The kit itself need not be on the PATH.
        program = [sys.executable, "-m", "cli"] if command[0] == "ebpfnet" else command[:1]
        if subprocess.run([*program, *command[1:]], check=False).returncode:
            return False
    return bool(cause.commands)
