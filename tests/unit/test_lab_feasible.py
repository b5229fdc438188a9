"""What the kernel would refuse halfway, or do without a word, is refused with its line before."""

import re

import pytest

from datapath.errors import InvalidInput
from datapath.labs.loader import load
from datapath.labs.model import Lab

ROUTER = """\
title: A router between two
nodes:
  a:
    interfaces:
      eth0: [10.0.0.1/24, "fd00::1/64"]
      eth1: {up: false, addresses: 10.0.7.1/24}
      lone: 10.0.8.1/32
    routes: [ROUTE]
  b:
    interfaces:
      eth0: 10.0.0.2/24
      BR
links:
  - a:eth0 -- b:eth0
  - a:eth1 -- b:eth1
  - a:lone -- b:lone
"""
BRIDGE = "br0: {type: bridge}"
ROUTES_LINE = 8
GOOD_ROUTES = [
    "10.1.0.0/16 via 10.0.0.2",
    "default via fd00::2",
    "fd01::/64 via fe80::2 dev eth0",
    "10.1.0.0/16 via 10.0.9.9 dev eth0 onlink",
    "10.0.9.9/32 dev lone, 10.1.0.0/16 via 10.0.9.9",
    "10.1.0.0/16 via 10.0.0.2, 10.1.0.0/16 via 10.0.0.3 metric 7",
    "10.0.0.0/24 dev eth0 metric 7",
    "fd00::/64 dev eth0",
    "10.0.7.0/24 via 10.0.0.2",  # whose own interface is down
    "10.1.0.0/16 via 10.0.0.1",  # its own address: as if there were none
]
BAD_ROUTES = [
    ("10.1.0.0/16 via 10.0.9.9", "a does not reach the gateway 10.0.9.9 directly"),
    ("10.1.0.0/16 via 10.0.7.2", "a does not reach the gateway 10.0.7.2 directly"),
    ("10.1.0.0/16 via 10.0.8.2", "a does not reach the gateway 10.0.8.2 directly"),
    ("10.1.0.0/16 via 10.0.0.2 dev lone", "the gateway 10.0.0.2 directly over lone"),
    ("default via fd00:1::2", "a does not reach the gateway fd00:1::2 directly"),
    ("10.1.0.0/16 via 169.254.1.1", "a does not reach the gateway 169.254.1.1 directly"),
    ("10.1.0.0/16 via 10.0.9.9, 10.0.9.9/32 dev lone", "does not reach the gateway 10.0.9.9"),
    ("fd01::/64 via fd00::1", "fd00::1 is a's own address"),
    ("fd01::/64 via fe80::2", "fe80::2 may be on any link"),
    ("10.1.0.0/16 dev eth1", "eth1 is down"),
    ("10.1.0.0/16 via 10.0.0.2 src 10.0.0.9", "a has no address 10.0.0.9 to send from"),
    ("10.1.0.0/16 dev eth0, 10.1.0.0/16 dev lone", "there is a route to 10.1.0.0/16 already"),
    ("10.0.0.0/24 dev eth0", "there is a route to 10.0.0.0/24 already"),
]


def lab(routes: str = "", interface: str = BRIDGE) -> Lab:
    routes = ", ".join(f'"{route}"' for route in filter(None, routes.split(", ")))
    return load(ROUTER.replace("ROUTE", routes).replace("BR", interface), "mine.yaml", "mine")


@pytest.mark.parametrize("routes", GOOD_ROUTES)
def test_routes_that_the_kernel_takes(routes: str) -> None:
    assert lab(routes).nodes["a"].routes


@pytest.mark.parametrize(("routes", "words"), BAD_ROUTES)
def test_routes_that_the_kernel_would_not_take(routes: str, words: str) -> None:
    where = rf"mine.yaml:{ROUTES_LINE}: nodes.a.routes\[\d\]: "
    with pytest.raises(InvalidInput, match=where + f".*{re.escape(words)}"):
        lab(routes)


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        ("br0: {type: bridge, ports: [t]}\n      t: {type: tun}", "t is a tun, which cannot be"),
        (
            "br0: {type: bridge, ports: [br1]}\n      br1: {type: bridge}",
            "br1 is a bridge, which cannot be a port",
        ),
        (
            "br0: {type: bridge, addresses: ['fd00::3/64', 'fd00::3/128']}",
            "an address stands there twice",
        ),
        ("br0: {type: bridge, addresses: '::1/128'}", "::1 cannot be an interface's own address"),
        (
            "m0: {type: macvlan, parent: t}\n      t: {type: tun}",
            "b:t is a tun, which carries no frames",
        ),
        (
            "m0: {type: macvlan, parent: eth0}\n      br0: {type: bridge, ports: eth0}",
            "b:eth0 is a port of br0, which takes all that comes in there",
        ),
        (
            "m0: {type: macvlan, parent: br0}\n      br0: {type: bridge, ports: m0}",
            "m0 is a port of br0, and would stand on itself",
        ),
        (
            "m0: {type: macvlan, parent: eth0, mtu: 1501}",
            "its MTU of 1501 is more than that of b:eth0, 1500",
        ),
        (
            "v0: {type: vxlan, id: 1, local: 10.0.0.2, remote: 'fd00::9'}",
            "10.0.0.2 and fd00::9 are one IPv4, the other IPv6",
        ),
        ("v0: {type: vxlan, id: 1, local: 224.0.0.1}", "224.0.0.1 is a group's address"),
        ("v0: {type: vxlan, id: 1, remote: 'ff02::1'}", "ff02::1 is a group's address"),
        (
            "br0: {type: bridge, ports: t, addresses: 'fd00::9/64'}\n"
            "      t: {type: tap, mtu: 999}",
            "IPv6 does without an interface with an MTU of 999",
        ),
        (
            "m0: {type: macvlan, parent: eth0}\n"
            "      m1: {type: macvlan, parent: eth0, mode: passthru}",
            "b:eth0 has another macvlan, and one with mode passthru has it to itself",
        ),
        ("t: {type: tap, mtu: 65522}", "a tap has an MTU of at most 65521"),
        (
            "m: {type: macvlan, parent: t, addresses: 'fd00::9/64'}\n      t: {type: tap, mtu: 99}",
            "IPv6 does without an interface with an MTU of 99",
        ),
        ("br0: {type: bridge, mtu: 1279, addresses: 'fd00::3/64'}", "IPv6 does without"),
    ],
)
def test_interfaces_that_the_kernel_would_not_make(interface: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=rf"mine.yaml:12: nodes.b.interfaces.*{words}"):
        lab(interface=interface)


def test_a_links_mtu_counts_for_ipv6() -> None:
    text = ROUTER.replace("ROUTE", "").replace("BR", BRIDGE)
    text = text.replace("- a:eth0 -- b:eth0", "- {ends: a:eth0 -- b:eth0, mtu: 1000}")
    with pytest.raises(InvalidInput, match=r"mine.yaml:5: nodes.a.interfaces.eth0: IPv6 does"):
        load(text, "mine.yaml", "mine")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "title: A router between two",
            r'title: "\e[31mA"',
            r"mine.yaml:1: title: '\\x1b' is a control character",
        ),
        ("title: A router between two", r'title: "A\0"', r"'\\x00' is a control character"),
        ("  b:\n", "    commands: \"'' a\"\n  b:\n", "nodes.a.commands: there is no command"),
        (
            *("  b:\n", '    sysctls: {net.ipv4.ip_forward: "1\\n0"}\n  b:\n'),
            *(r"nodes.a.sysctls.net.ipv4.ip_forward: a sysctl has a single line",),
        ),
        (
            *("  b:\n", "    sysctls: {net.//.kernel.panic: 1}\n  b:\n"),
            *("no sysctl of a network namespace",),
        ),
        (
            *("  b:\n", "    sysctls: {net.ipv6.conf.all.disable_ipv6: 1}\n  b:\n"),
            *("mine.yaml:5: nodes.a.interfaces.eth0: a sysctl takes IPv6 from eth0",),
        ),
        (
            "  b:\n",
            "    neighbours: 'fd00::9 proxy dev eth1'\n"
            "    sysctls: {net.ipv6.conf.eth1.disable_ipv6: 1}\n  b:\n",
            "mine.yaml:9: nodes.a.neighbours: a sysctl takes IPv6 from eth1",
        ),
        (
            "      lone: 10.0.8.1/32\n",
            "      lone:\n      v: {type: vxlan, id: 1, local: 'fd00::1'}\n"
            "    fdb: 02:00:00:00:00:09 dev v dst 10.0.0.9\n",
            "nodes.a.fdb: 10.0.0.9 is of another family than the tunnel v",
        ),
        (
            *("- a:eth0 -- b:eth0", "- {ends: a:eth0 -- b:eth0, rate: 1001gbit}"),
            *(r"links\[0\].rate: '1001gbit' is not a rate: at most 1000gbit",),
        ),
    ],
)
def test_values_that_no_tool_takes(old: str, new: str, words: str) -> None:
    text = ROUTER.replace("ROUTE", "").replace("BR", BRIDGE)
    assert old in text
    with pytest.raises(InvalidInput, match=words):
        load(text.replace(old, new, 1), "mine.yaml", "mine")
