"""A lane: a machine of its own for a test process, so that several may run side by side.

What the kit and the tests touch is private to the process and its children: network namespace,
mounts, /run, /sys as its namespace sees it, bpffs and /etc/netns. Common to all lanes are processes
and BPF objects, which the inventory tells apart, and the switches of /proc/sys/kernel and
/sys/kernel.
What a killed process leaves in its lane goes with it.
"""

import ctypes
import os
import subprocess
from pathlib import Path

from tests.support.bpf_objects import PINS

# Of linux/sched.h. A private mount namespace alone would leave the host's links to all.
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000

FILES = Path("/etc/netns")  # of namespaces by their names, which several lanes may use

OUTSIDE = Path("/run/outside")  # the network namespace that the lane was entered from


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


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
