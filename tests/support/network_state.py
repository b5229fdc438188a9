"""What one network namespace holds: links, addresses, routes, qdiscs, filters, firewall rules, ...

Read through iproute2, nft, iptables-legacy and ethtool's ioctl; needs root.
"""

import ctypes
import errno
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.support import bpf_objects

MOVES_BY_ITSELF = {
    # Bridges and their ports run these down all the time.
    *("hello_timer", "tcn_timer", "topology_change_timer", "gc_timer"),
    *("hold_timer", "message_age_timer", "forward_delay_timer"),
    *("valid_life_time", "preferred_life_time", "expires"),  # run down too
    "tentative",  # an IPv6 address is so until duplicate detection is done
}

# Numbers of linux/ethtool.h, linux/sockios.h and linux/sched.h.
SIOCETHTOOL = 0x8946
ETHTOOL_GSTRINGS, ETHTOOL_GSSET_INFO, ETHTOOL_GFEATURES = 0x1B, 0x37, 0x3A
ETH_SS_FEATURES, ETH_GSTRING_LEN = 4, 32
CLONE_NEWNET = 0x40000000


def read(namespace: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Category -> what it is -> attribute -> value. The calling thread stays in the namespace.

    Empty if there is no such namespace any more. Raises CalledProcessError if a tool fails.
    """
    if not _enter(namespace):
        return {}
    links = _json("ip", "-j", "-d", "link")
    features = _features([link["ifname"] for link in links])
    addresses = [
        {**address, "local": f"{address['local']}/{address['prefixlen']}", "dev": link["ifname"]}
        for link in _json("ip", "-j", "addr")
        for address in link["addr_info"]
    ]
    neighbours = [
        *(row for row in _json("ip", "-j", "neigh") if "PERMANENT" in row["state"]),
        *({**row, "is": "proxy"} for row in _json("ip", "-j", "neigh", "show", "proxy")),
    ]
    fdb = [row for row in _json("bridge", "-j", "fdb") if row["state"] in ("permanent", "static")]
    routes = _json("ip", "-j", "-d", "route", "show", "table", "all")
    rules = [
        {**rule, "family": family}
        for family in ("inet", "inet6")
        for rule in _json("ip", "-j", "-d", "-f", family, "rule")
    ]
    qdiscs = _json("tc", "-j", "qdisc")
    return {
        "link": _listed(({**link, **features[link["ifname"]]} for link in links), "ifname"),
        "address": _listed(addresses, "local", "dev"),
        "neighbour": _listed(neighbours, "dst", "dev", "is"),
        "fdb": _listed(fdb, "mac", "ifname", "vlan", "dst", "master", "flags"),
        "vlan": _listed(_json("bridge", "-j", "vlan"), "ifname"),
        "route": _listed(routes, "dst", "from", "gateway", "dev", "table", "metric", "type"),
        "rule": _listed(rules, "priority", "family", "src", "dst", "iif", "oif", "fwmark", "table"),
        "qdisc": _listed(qdiscs, "kind", "handle", "dev", "parent"),
        "filter": _listed(_filters(qdiscs), "kind", "dev", "hook", "chain", "pref", "handle"),
        "attachment": {
            f"{hook} of {link['ifname']}": entry
            for link in links
            for hook, entry in bpf_objects.attached(link["ifindex"])
        },
        "firewall": dict(_firewall()),
    }


def _enter(namespace: Path) -> bool:
    """Move this thread there; False if the namespace is gone, or the file never was one."""
    try:
        fd = os.open(namespace, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET) == 0:
            return True
        if (error := ctypes.get_errno()) == errno.EINVAL:
            return False
        raise OSError(error, os.strerror(error), str(namespace))
    finally:
        os.close(fd)


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def _json(*argv: str) -> list[Any]:
    """The rows that a tool of iproute2 lists; some print nothing at all for none."""
    return list(json.loads(_output(*argv) or "[]"))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of decoded JSON as ("outer.inner", text), without what moves by itself."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name not in MOVES_BY_ITSELF:
                yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{path}.{index}")
    else:
        yield path, " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _listed(rows: Iterable[dict[str, Any]], *identity: str) -> dict[str, dict[str, str]]:
    """Rows under what identifies them, the first without its name: "10.1.0.1/24 dev veth1"."""
    entries = {}
    for row in rows:
        flat = dict(_flat(row))
        first, *others = [(name, value) for name in identity if (value := flat.pop(name, ""))]
        entries[" ".join([first[1], *map(" ".join, others)])] = flat
    return entries


def _filters(qdiscs: list[Any]) -> Iterator[dict[str, Any]]:
    """Those on clsact and ingress qdiscs."""
    for qdisc in qdiscs:
        hooks = {"clsact": ("ingress", "egress"), "ingress": ("ingress",)}.get(qdisc["kind"], ())
        for hook in hooks:
            for row in _json("tc", "-j", "filter", "show", "dev", qdisc["dev"], hook):
                # A row without options is the heading of the filters that share a priority.
                if options := row.get("options"):
                    handle = options.get("handle", "")
                    yield {**row, "dev": qdisc["dev"], "hook": hook, "handle": handle}


def _firewall() -> Iterator[tuple[str, dict[str, str]]]:
    """Each rule as its tool prints it, without counters, and how often it is there."""
    rules: Counter[str] = Counter()
    if shutil.which("nft"):
        blocks = ["nft"]
        for line in map(str.strip, _output("nft", "--stateless", "list", "ruleset").splitlines()):
            if line == "}":
                blocks.pop()
            elif line:
                rules[" / ".join([*blocks, line.removesuffix(" {")])] += 1
                if line.endswith(" {"):
                    blocks.append(line.removesuffix(" {"))
    for tool in filter(shutil.which, ("iptables-legacy-save", "ip6tables-legacy-save")):
        table = ""
        for line in _output(tool).splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith((":", "-")):
                rule = line.partition(" [")[0]  # a chain's counters
                rules[f"{tool.removesuffix('-save')} / {table} / {rule}"] += 1
    for rule, times in rules.items():
        yield rule, {"times": str(times)}


def _features(ifnames: list[str]) -> dict[str, dict[str, str]]:
    """What `ethtool -k` shows, by the kernel's names: {"veth0": {"rx-gro": "on", ...}, ...}."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:

        def ask(ifname: str, request: bytes, room: int) -> bytes:
            """The answer's `room` bytes, which follow the request."""
            buffer = ctypes.create_string_buffer(request, len(request) + room)
            ifreq = struct.pack("16sP16x", ifname.encode(), ctypes.addressof(buffer))
            fcntl.ioctl(control, SIOCETHTOOL, ifreq)
            return buffer.raw[len(request) :]

        # The names are the same for every interface.
        sets = struct.pack("IIQ", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES)
        (count,) = struct.unpack("I", ask("lo", sets, 4))
        strings = struct.pack("III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count)
        names = [
            name.rstrip(b"\0").decode()
            for (name,) in struct.iter_unpack(
                f"{ETH_GSTRING_LEN}s", ask("lo", strings, count * ETH_GSTRING_LEN)
            )
        ]
        blocks = (count + 31) // 32
        request = struct.pack("II", ETHTOOL_GFEATURES, blocks)
        features: dict[str, dict[str, str]] = {}
        for ifname in ifnames:
            try:
                answer = list(struct.iter_unpack("4I", ask(ifname, request, blocks * 16)))
            except OSError:
                features[ifname] = {}  # the interface has gone since
                continue
            features[ifname] = {}
            for bit, name in enumerate(names):
                if not name:
                    continue  # a number that is no longer in use
                available, requested, active, _ = (
                    word >> bit % 32 & 1 for word in answer[bit // 32]
                )
                # What is requested in vain comes on by itself once nothing stands in its way.
                vain = " (requested on)" if available and requested and not active else ""
                features[ifname][name] = ("on" if active else "off") + vain
    return features
