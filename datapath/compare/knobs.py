"""Settings of the machine that change what is measured: set alike for every mode, and put back.

They are steps of the lab's journal, so that they are put back whatever happens.
"""

from __future__ import annotations

from typing import Final

from datapath.kernel.net import sysctl
from datapath.steps.interfaces import SetOffloads, SetSysctl

_SYSCTLS: Final = {
    "net/bridge/bridge-nf-call-iptables": "0",  # 1: every bridged frame visits iptables
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
    # 1, 2: a route lookup for each source address. New namespaces inherit both.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "kernel/bpf_stats_enabled": "0",  # 1: two readings of the clock around each program
}
# What the lab has by the way that it is built.
_FIXED: Final = {
    "GRO": "on at every veth end (that is what gives them NAPI)",
    "other offloads": "as the kernel sets them, or as the mode needs them",
    "STP": "off",
    "MTU": "1500",
}


def sysctls() -> list[SetSysctl]:
    """Those that this kernel has, with what they are now."""
    return [
        SetSysctl(name, value, before)
        for name, value in _SYSCTLS.items()
        if (before := sysctl.read(name)) is not None
    ]


def gro(netns: str, ifname: str) -> SetOffloads:
    """GRO on at a veth end of the lab ("" = the host's namespace), with which it goes."""
    return SetOffloads(netns, ifname, {"rx-gro": True}, before={})


def stated() -> dict[str, str]:
    """Every knob, for people: what it is set to, and what it was."""
    return {
        step.name.replace("/", "."): f"{step.value} (was {step.before})" for step in sysctls()
    } | _FIXED
