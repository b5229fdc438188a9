"""Remedies as commands: what --fix may run, and what is for people alone."""

import pytest

from datapath.diagnose.causes import Cause, see


@pytest.mark.parametrize(
    ("remedy", "commands"),
    [
        ("ip -n ns0 link set eth0 up", [["ip", "-n", "ns0", "link", "set", "eth0", "up"]]),
        (
            "ip -n WEB addr del 10.0.0.1/24 dev eth0 && ip -n WEB addr add 10.0.0.2/24 dev eth0",
            [
                ["ip", "-n", "WEB", "addr", "del", "10.0.0.1/24", "dev", "eth0"],
                ["ip", "-n", "WEB", "addr", "add", "10.0.0.2/24", "dev", "eth0"],
            ],
        ),
        ("ip -n 'a && b' link set lo up", [["ip", "-n", "a && b", "link", "set", "lo", "up"]]),
        ("ip addr add ADDRESS/LENGTH dev br0", []),
        ("ip route add 10.0.0.0/8 via GATEWAY", []),
        (see("ebpfnet capture ns0 ns1"), []),
        ("wait two seconds", []),
        ("start the program that reads tun0 in kit's node", []),
    ],
)
def test_commands(remedy: str, commands: list[list[str]]) -> None:
    assert Cause("cause", "where", "sentence", remedy).commands == commands
