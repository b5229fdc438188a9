"""A lane: what a killed test process started does not outlive it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support import hosts
from tests.support.inventory import SESSION_VARIABLE

# As labs start processes: apart from whoever starts them.
KILLED = """
import os, signal, subprocess
from tests.support import lane
lane.enter()
process = subprocess.Popen(["sleep", "63.5"], start_new_session=True)
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_started_ends_with_it() -> None:
    environment = {name: each for name, each in os.environ.items() if name != SESSION_VARIABLE}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED],
        capture_output=True,
        text=True,
        cwd=hosts.CHECKOUT,
        env=environment,
        timeout=30,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert hosts.until(lambda: not Path("/proc", killed.stdout.strip(), "cmdline").exists())
