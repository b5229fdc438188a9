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
        # What they print (sysctl the setting, attach a table) is no part of the diagnosis.
        done = subprocess.run([*program, *command[1:]], stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            return False
    return bool(cause.commands)
