"""A lane: a machine of its own for a test process, so that several may run side by side.

What the kit and the tests touch is private to the process and its children: network namespace,
mounts, /run, /sys as its namespace sees it, bpffs and /etc/netns. Common to all lanes are processes
and BPF objects, which the inventory tells apart, and the switches of /proc/sys/kernel and
/sys/kernel.
What a killed process leaves in its lane goes with it; what it started and cannot end any more is
ended by a warden, who waits for that.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from tests.support.bpf_objects import PINS
from tests.support.inventory import SESSION_VARIABLE

# Of linux/sched.h. A private mount namespace alone would leave the host's links to all.
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000

FILES = Path("/etc/netns")  # of namespaces by their names, which several lanes may use

OUTSIDE = Path("/run/outside")  # the network namespace that the lane was entered from

# Kills, once a process has ended, all that carry a mark in their environment: processes of labs
# outlive whoever starts them.
_WARDEN = """
import os, select, signal, sys
mark, watched = sys.argv[1].encode(), int(sys.argv[2])
select.select([watched], [], [])
alive = True
while alive:
    alive = False
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/environ", "rb") as file:
                if mark in file.read().split(bytes(1)):
                    os.kill(int(number), signal.SIGKILL)
                    alive = True
        except OSError:
            pass
"""


def enter() -> None:
    """Move the calling thread, and whatever it starts from now on, to a new lane. Needs root.

    Raises OSError or CalledProcessError where the kernel refuses.
    """
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    OUTSIDE.touch()
    _mount("--no-canonicalize", "--bind", f"/proc/{os.getpid()}/fd/{outside}", str(OUTSIDE))
    os.close(outside)
    # /sys/class/net lists the links of the namespace that sysfs was mounted in: /sys anew, and in
    # it what else was there.
    fresh = Path("/run/sys")
    fresh.mkdir()
    _mount("-t", "sysfs", "sysfs", str(fresh))
    mounted = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    below = [point for point in mounted if point.startswith("/sys/") and point != str(PINS)]
    for point in below:
        if not any(point.startswith(f"{other}/") for other in below):
            _mount("--move", point, f"/run{point}")
    subprocess.run(["umount", "--recursive", "--lazy", "/sys"], check=True)
    _mount("--move", str(fresh), "/sys")
    fresh.rmdir()
    _mount("-t", "bpf", "bpf", str(PINS))
    FILES.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(FILES))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _post_warden()


def _post_warden() -> None:
    session = os.environ.setdefault(SESSION_VARIABLE, str(os.getpid()))
    itself = os.pidfd_open(os.getpid())
    os.set_inheritable(itself, True)
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _WARDEN, f"{SESSION_VARIABLE}={session}", str(itself)],
        {name: value for name, value in os.environ.items() if name != SESSION_VARIABLE},
        file_actions=[(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)],
        setsid=True,
    )
    os.close(itself)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
