"""Layer 3 on the way: routers forward, and nobody takes the source for impossible."""

from __future__ import annotations

from collections.abc import Iterator

from datapath.diagnose.causes import Cause
from datapath.diagnose.walk import Walk
from datapath.diagnose.world import Port, World
from datapath.names import inside

_STRICT = "1"


def check(world: World, way: Walk) -> Iterator[Cause]:
    """forwarding-off, reverse-path-filter, local-source, echo-ignored."""
    family = f"ipv{way.target.version}"
    arrivals = [arrival for arrival, _ in way.routers()]
    if way.came_in:
        arrivals.append(Port(way.sender, way.came_in.iif))
    for arrival in arrivals:
        node = arrival.node
        setting = f"net/{family}/conf/{arrival.ifname}/forwarding"
        if node.setting(setting) == "0":
            source = "" if way.came_in else f" from {way.sender.name}"
            dotted = "net.ipv4.ip_forward" if family == "ipv4" else "net.ipv6.conf.all.forwarding"
            yield Cause(
                "forwarding-off",
                node.name,
                f"{node.name} is the router{source} to {way.receiver.name}, "
                f"but does not forward what comes in by {arrival.ifname}",
                inside(node.netns, "sysctl", "-w", f"{dotted}=1"),
            )
    for leg in way.legs:
        yield from _source(way, leg.arrival)
    # The receiver of the answer is asked nothing.
    if way.whole and way.packet.icmp == "echo-request" and not way.goes_on:
        ignored = "ipv4.icmp_echo_ignore_all" if family == "ipv4" else "ipv6.icmp.echo_ignore_all"
        if way.receiver.setting(f"net/{ignored.replace('.', '/')}") == "1":
            yield Cause(
                "echo-ignored",
                way.receiver.name,
                f"{way.receiver.name} answers no ping: net.{ignored} is 1",
                inside(way.receiver.netns, "sysctl", "-w", f"net.{ignored}=0"),
            )


def _source(way: Walk, arrival: Port) -> Iterator[Cause]:
    """What a node that takes the packet in thinks of its source (net/ipv4/fib_frontend.c)."""
    node = arrival.node
    own = [(i, address) for i, address, _ in node.addresses if address.ip == way.source]
    if own:
        if not node.has_set("accept_local", arrival.ifname):
            yield Cause(
                "local-source",
                arrival.where,
                f"{way.source} of {way.sender.name} is an address of {node.name} too, "
                "which drops packets from itself that come in from outside",
                inside(node.netns, "ip", "addr", "del", own[0][1], "dev", own[0][0]),
            )
        return
    if way.source.version != 4:
        return
    back = node.lookup(str(way.source))
    scopes = [f"net/ipv4/conf/{scope}/rp_filter" for scope in (arrival.ifname, "all")]
    # The greater of the two counts (IN_DEV_RPFILTER), and 2, which is loose, is more than strict.
    name = max(scopes, key=node.setting)
    if node.setting(name) == _STRICT and back.ifname and back.ifname != arrival.ifname:
        dotted = name.replace("/", ".")
        yield Cause(
            "reverse-path-filter",
            arrival.where,
            f"{node.name} drops what comes in by {arrival.ifname} from {way.source}, since it "
            f"would answer by {back.ifname}: {dotted} is {_STRICT}",
            inside(node.netns, "sysctl", "-w", f"{dotted}=2"),
        )
