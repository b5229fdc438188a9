"""A virtual machine: another kernel on this machine's files, with one command to run.

virtme-ng (https://github.com/arighi/virtme-ng) boots the kernel in QEMU. The machine sees the files
of this one, and has a copy of the checkout; what it writes stays in its memory, apart from one
folder that both share. It is emulated, even where KVM would do: what it does takes 10 to 20 times
as long, everywhere alike.

`python -m tests.vm.machine 6.12 COMMAND ...` runs a command so, in the copy, as root.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.hosts import CHECKOUT
from tests.vm.kernels import KERNELS, Kernel

VIRTME = Path(sys.executable).parent / "virtme-run"
MEMORY = "2G"  # and one CPU: emulated, two take twice as long
SLOWNESS = 10
# A machine that starts its services has /dev/net/tun from the start, and bridge netfilter is its
# user's business.
MODULES = ("tun", "br_netfilter")
# Or the first tunnel loads a module that gives every namespace one more interface, for good.
SYSCTL = "net.core.fb_tunnels_only_for_init_net=1"
# As the machine calls them: the folder that it shares, and its checkout, which is in its memory:
# reading from this machine costs it a great deal. Not in /run, of which a lane has its own.
SHARED, COPY = Path("/dev/shm/shared"), Path("/dev/shm/checkout")  # noqa: S108
WRITABLE = ("/etc", "/tmp", "/usr")  # noqa: S108  # it lays memory over these
HIDDEN = ("/run", "/var/cache", "/var/tmp")  # noqa: S108  # and has nothing in these


@dataclass(frozen=True, slots=True)
class Machine:
    """One that was booted, as long as `process` runs; `shared` is the folder, as we call it."""

    process: subprocess.Popen[bytes]
    shared: Path

    def ended(self) -> bool:
        """Whether it is off."""
        return self.process.poll() is not None

    def output(self) -> str:
        """What the command has printed so far."""
        return self._read("output")

    def status(self) -> int | None:
        """What the command returned; None if it has not, or the machine ended before that."""
        text = self._read("status")
        return int(text) if text else None

    def last_words(self, lines: int = 40) -> str:
        """The end of what the kernel and the command had to say."""
        texts = (self._read("console"), self.output())
        return "\n".join(line for text in texts for line in text.splitlines()[-lines:])

    def _read(self, name: str) -> str:
        file = self.shared / name
        return file.read_text(errors="replace") if file.exists() else ""


def missing(kernel: Kernel) -> str:
    """What this machine lacks to boot that kernel, in words; empty if nothing."""
    remedy = "vagrant/provision.sh --vm installs it"
    if kernel.unpacked() is None:
        return f"{kernel} is not here: {remedy}, if apt has it"
    absent = [tool for tool in (str(VIRTME), "qemu-system-x86_64") if not shutil.which(tool)]
    return f"needs {', '.join(absent)}: {remedy}" if absent else ""


@contextmanager
def running(
    kernel: Kernel, command: Sequence[str], shared: Path, seconds: int
) -> Iterator[Machine]:
    """Boot a kernel that is not `missing`, and run a command in a copy of the checkout.

    The machine ends with the command, after `seconds`, or with the body, whatever comes first:
    after `seconds` even if nobody is left to see to it. `shared` is an empty folder.
    """
    folder = kernel.unpacked()
    assert folder, missing(kernel)
    (image,) = (folder / "boot").glob("vmlinuz-*")
    shutil.copytree(CHECKOUT, shared / "checkout", ignore=shutil.ignore_patterns(".*"))
    steps = [
        ["cp", "-a", str(SHARED / "checkout"), str(COPY)],
        ["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"],
        ["modprobe", "--all", *MODULES],
        ["sysctl", "-qw", SYSCTL],
        ["env", "-C", str(COPY), f"EBPFNET_TEST_SLOWNESS={SLOWNESS}", *command],
    ]
    # A shell's, for virtme takes nothing else, and in a file, for it would not fit on the kernel's
    # command line, where virtme puts it.
    (shared / "script").write_text(
        f"exec >{SHARED}/output 2>&1\n"
        f"{' && '.join(map(shlex.join, steps))}\n"
        f"echo $? >{SHARED}/status\n"
    )
    hidden = [
        place
        for place in (folder, Path(sys.prefix))
        if any(place.is_relative_to(each) for each in HIDDEN)
    ]
    argv = [
        *("timeout", "--kill-after=5", str(seconds)),
        *(str(VIRTME), "--kimg", str(image), "--mods=auto", "--user=root"),
        *("--disable-kvm", "--force-9p", "--cpus=1", f"--memory={MEMORY}", "--show-boot-console"),
        *(f"--overlay-rwdir={place}" for place in WRITABLE),
        *(f"--rodir={place}" for place in hidden),
        f"--rwdir={SHARED}={shared}",
        f"--script-sh=sh {SHARED / 'script'}",
    ]
    with (shared / "console").open("wb") as console:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            env={**os.environ, "TMPDIR": str(shared)},  # or virtme leaves files in /tmp
        )
    try:
        yield Machine(process, shared)
    finally:
        process.terminate()  # timeout(1) passes it on to all that it started
        process.wait()


def main(series: str = "", *command: str) -> int:
    """Print what the command prints, as it does so; return what it returns, or 255."""
    kernel = next((each for each in KERNELS if each.series == series), None)
    if kernel is None or not command:
        known = " or ".join(each.series for each in KERNELS)
        print(f"usage: python -m tests.vm.machine {known} COMMAND ...", file=sys.stderr)
        return 2
    if reason := missing(kernel):
        print(reason, file=sys.stderr)
        return 255
    with (
        tempfile.TemporaryDirectory() as folder,
        running(kernel, command, Path(folder), seconds=3600) as machine,
    ):
        printed, ended = 0, False
        while not ended:
            ended = machine.ended()
            output = machine.output()
            print(output[printed:], end="", flush=True)
            printed = len(output)
            time.sleep(0.2)
        status = machine.status()
        if status is None:
            print(machine.last_words(), file=sys.stderr)
        return 255 if status is None else status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
