"""Where to capture: an interface of a node, and what cannot be seen there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datapath import modes, names
from datapath.errors import EbpfnetError, InvalidInput, NotFound
from datapath.journal import home
from datapath.kernel.net import links, netns
from datapath.kernel.net.netns import Netns
from datapath.network import Network
from datapath.network import names as networks

# Modes whose frames skip the receiver's host end, and which way they go instead.
_SKIPS_HOST_END = {
    "tc-peer": "bpf_redirect_peer takes them straight into the namespace",
    "sockmap": "bpf_redirect_peer takes them straight into the namespace, and what local sockets "
    "send one another is no packet at all",
    "xdp": "XDP takes and gives frames before any capture",
}


@dataclass(frozen=True, slots=True)
class Place:
    """An interface in a namespace; `label` is how frames are marked: "ns0:eth0"."""

    node: Netns
    ifname: str

    @property
    def label(self) -> str:
        """The name of it in output and files."""
        return f"{self.node.name}:{self.ifname}"


def place(text: str) -> Place:
    """NODE:IFNAME, or NODE for the only interface that it has beside lo.

    Raises InvalidInput for a node with several, NotFound.
    """
    node_text, colon, ifname = text.rpartition(":")
    if not colon:
        node_text = ifname
    node = names.node(node_text)
    if colon:
        netns.run_inside(node.path, lambda: links.get(ifname))
        return Place(node, ifname)
    found = [
        link.name for link in netns.run_inside(node.path, links.all_links) if link.name != "lo"
    ]
    if len(found) != 1:
        there = ", ".join(found) or "none but lo"
        raise InvalidInput(
            f"{node.name} has no single interface to capture at: {there}",
            remedy=f"name one: {node.name}:IFNAME",
        )
    return Place(node, found[0])


def places(words: Sequence[str]) -> tuple[list[Place], str]:
    """Places, each once, and a filter, as typed one after the other: NODE [IFNAME] ... [FILTER].

    An interface may follow its node as a word of its own; the last word is a filter where it is
    neither. Raises as `place`.
    """
    found: dict[tuple[int, str], Place] = {}  # by inode, for a node has several names
    rest = list(words)
    while rest:
        word = rest.pop(0)
        try:
            names.node(word.rpartition(":")[0] or word)
        except NotFound:
            if found and not rest:
                return list(found.values()), word
            raise
        if ":" not in word and rest and _has_interface(word, rest[0]):
            word = f"{word}:{rest.pop(0)}"
        one = place(word)
        found.setdefault((one.node.inode, one.ifname), one)
    return list(found.values()), ""


def _has_interface(node: str, ifname: str) -> bool:
    inside = netns.run_inside(names.node(node).path, links.all_links)
    return any(link.name == ifname for link in inside)


def advice(wanted: Place) -> tuple[str, Place] | None:
    """What cannot be seen at a place and where it can; None where all passes.

    That is so at the host end of an endpoint whose frames skip it.
    """
    for name in networks():
        if home(name) != wanted.node.inode:
            continue
        try:
            with Network(name) as network:
                reason = _SKIPS_HOST_END.get(modes.by_id(network.mode).name)
                endpoint = next(
                    (e for e in network.endpoints() if e.host_ifname == wanted.ifname), None
                )
        except EbpfnetError:
            continue  # of another version, or on its way out
        if reason and endpoint:
            pod = Place(names.node(endpoint.netns), endpoint.ifname)
            return (
                f"frames to {endpoint.netns} do not pass {wanted.ifname}: {reason}; "
                f"capturing at {pod.label} too",
                pod,
            )
    return None
