"""The machine's whole inventory, and what differs between two of them.

The machine is what the caller can reach: in a lane (lane.py), that is the lane.

This is the independent judge of "nothing is left behind": it shares no code with what it judges,
and asks the kernel itself. It needs root.
"""

import hashlib
import os
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import bpf_objects, network_state

Entry = Mapping[str, str]
Inventory = Mapping[str, Mapping[str, Entry]]  # category -> what it is -> attribute -> value
Ignore = Callable[[str, str, Entry], bool]  # of a category, what it is, and its attributes

# Set by whoever runs the tests. Children inherit it and keep it when they are orphaned: this is how
# a process is known to descend from a test session.
SESSION_VARIABLE = "EBPFNET_TEST_SESSION"

NAMESPACES = Path("/run/netns")
OWN_STATE = Path("/run/ebpfnet")
# What appears and goes with the doings of others, or is listed elsewhere.
NOT_LISTED_IN_RUN = {
    str(NAMESPACES),  # these are the category "namespace"
    *("/run/systemd", "/run/udev", "/run/user", "/run/log"),  # a file per unit, link, login, boot
    "/run/xtables.lock",  # iptables makes it at its first use, and keeps it
}
SYSCTLS_THAT_MOVE = {
    "nf_conntrack_count",  # everybody's connections
    "tcp_fastopen_key",  # drawn at random when the first listener wants one
}
PF_KTHREAD = 0x00200000  # linux/sched.h


def take() -> Inventory:
    """All there is now. The caller's network namespace is the host, others go by their names.

    Raises CalledProcessError if a tool fails, OSError if not root.
    """
    inventory: dict[str, dict[str, Entry]] = {
        "process": dict(_processes()),  # first, while no tool of ours is running
        "namespace": dict(_namespaces()),
        "mount": dict(_mounts()),
        "sysctl": dict(_sysctls()),
        "run": dict(_run_files()),
        "pin": dict(bpf_objects.pins()),
    }
    places = {f" in {name}": NAMESPACES / name for name in inventory["namespace"]}
    # Opened here, for its name means the namespace of whichever thread reads it.
    host = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    places[""] = Path(f"/proc/self/fd/{host}")
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            states = list(pool.map(network_state.read, places.values()))
    finally:
        os.close(host)
    for place, state in zip(places, states, strict=True):
        for category, entries in state.items():
            inventory.setdefault(category, {}).update(
                {f"{key}{place}": entry for key, entry in entries.items()}
            )
    return inventory | _bpf_objects(inventory)


def difference(before: Inventory, after: Inventory, ignore: Ignore | None = None) -> list[str]:
    """A line for each thing that came (+), went (-) or changed (~), sorted by category."""
    lines = []
    for category in sorted({*before, *after}):
        old, new = before.get(category, {}), after.get(category, {})
        for key in sorted({*old, *new}):
            was, now = old.get(key), new.get(key)
            if was == now or (ignore and ignore(category, key, now or was or {})):
                continue
            if was is not None and now is not None:
                sign = "~"
                details = [
                    f"{name} {was.get(name, '(none)')} -> {now.get(name, '(none)')}"
                    for name in {**was, **now}
                    if was.get(name) != now.get(name)
                ]
            else:
                sign = "-" if now is None else "+"
                details = [f"{name} {value}" for name, value in (now or was or {}).items()]
            text = ": ".join(filter(None, [f"{sign} {category} {key}", ", ".join(details)]))
            lines.append(textwrap.shorten(text, 240, placeholder=" ..."))
    return lines


def not_ours(category: str, _key: str, entry: Entry) -> bool:
    """Whether it is a process that does not descend from this test session."""
    return category == "process" and entry["session"] != os.environ.get(SESSION_VARIABLE, "")


def left_behind(
    before: Inventory, ignore: Ignore | None = not_ours, patience: float = 3.0
) -> list[str]:
    """What still differs from `before` after `patience` seconds; returns at once when nothing does.

    The kernel takes namespaces, the far ends of their veths, and BPF objects apart after the call
    that removes them has returned.
    """
    deadline = time.monotonic() + patience
    while lines := difference(before, take(), ignore):
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return lines


def _processes() -> Iterator[tuple[str, Entry]]:
    """Every process by number, apart from kernel threads and zombies, which hold nothing."""
    entries: dict[str, dict[str, str]] = {}
    parents: dict[str, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except PermissionError:
            variables = []  # closed even to root, so not of ours
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since
        if state != "Z" and not int(fields[5]) & PF_KTHREAD:
            parents[folder.name] = fields[0]
            entries[folder.name] = {
                "command": command.replace("\0", " ").strip(),
                "started": fields[18],  # in clock ticks after boot
                "session": dict(line.partition("=")[::2] for line in variables).get(
                    SESSION_VARIABLE, ""
                ),
            }
    # What a process sets in its own environment shows only in children that execute a program.
    entries[str(os.getpid())]["session"] = os.environ.get(SESSION_VARIABLE, "")
    for number, entry in entries.items():
        ancestor = number
        while not entry["session"] and (ancestor := parents.get(ancestor, "")) in entries:
            entry["session"] = entries[ancestor]["session"]
        yield number, entry


def _bpf_objects(inventory: Inventory) -> Inventory:
    """Those that pins, interfaces, and processes of this session hold."""
    held = bpf_objects.Held()
    held.add_pins(inventory["pin"].values())
    for number, entry in inventory["process"].items():
        if not not_ours("process", number, entry):
            held.add_process(number)
    for entry in inventory["attachment"].values():
        held.programs |= {int(identity) for identity in entry["programs"].split()}
    for category in ("link", "filter"):
        for entry in inventory[category].values():
            held.programs |= {int(v) for name, v in entry.items() if name.endswith("prog.id")}
    return held.categories()


def _namespaces() -> Iterator[tuple[str, Entry]]:
    for path in NAMESPACES.glob("*"):
        yield path.name, {"inode": str(path.stat().st_ino)}


def _mounts() -> Iterator[tuple[str, Entry]]:
    depths: Counter[str] = Counter()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        _, _, device, root, point, *options = mount.split()
        if point == str(NAMESPACES):
            continue  # `ip netns add` makes it at its first use, and keeps it
        depths[point] += 1
        yield (
            f"{point} #{depths[point]}",  # one may cover another
            {
                "type": source.split()[0],
                "device": device,
                "root": root,
                "options": " ".join(options),
            },
        )


def _sysctls() -> Iterator[tuple[str, Entry]]:
    """Each folder of network settings, as "net/ipv4/conf/eth0"."""
    for folder, _, names in os.walk("/proc/sys/net"):
        settings = {}
        for name in {*names} - SYSCTLS_THAT_MOVE:
            try:
                settings[name] = " ".join(Path(folder, name).read_text().split())
            except OSError:
                continue  # write-only, without a value yet, or its interface has gone since
        yield folder.removeprefix("/proc/sys/"), settings


def _run_files() -> Iterator[tuple[str, Entry]]:
    """The names of all files, also of namespaces' own, and what is in those that the kit keeps."""
    for folder, folders, names in os.walk("/run"):
        folders[:] = [name for name in folders if f"{folder}/{name}" not in NOT_LISTED_IN_RUN]
        for path in {Path(folder, name) for name in {*folders, *names}}:
            if path.is_relative_to(OWN_STATE) and path.is_file():
                yield str(path), {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            elif str(path) not in NOT_LISTED_IN_RUN:
                yield str(path), {}
    for path in Path("/etc/netns").rglob("*"):
        yield str(path), {}
