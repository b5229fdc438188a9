"""Baseline bridge-nf: a Linux bridge whose frames visit netfilter, as many hosts have it unasked.

bridge-nf-call-iptables=1 takes each bridged IPv4 packet through the hooks of the IP stack, where
rules can be in its way (filtering.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from datapath.endpoint import Member
from datapath.journal import NETWORK_OWNER, Step
from datapath.kernel.net import sysctl
from datapath.modes import bridge
from datapath.modes.base import NetworkSpec, Station
from datapath.modes.filtering import NONE, Filtering
from datapath.steps.interfaces import SetSysctl
from datapath.variants import Options

_CALL: Final = "net/bridge/bridge-nf-call-iptables"


@dataclass(frozen=True, slots=True)
class BridgeNf:
    """A Mode."""

    name: str = "bridge-nf"
    filtering: Filtering = NONE

    @property
    def summary(self) -> str:
        rules = f", {self.filtering}" if self.filtering else ""
        return f"a Linux bridge, bridge-nf-call-iptables on{rules}"

    @property
    def path(self) -> tuple[Station, ...]:
        *before, host_end, receiver = bridge.MODE.path
        rules = f": {self.filtering}" if self.filtering else ""
        return (*before, Station("host", f"netfilter{rules}"), host_end, receiver)

    def variant(self, options: Options) -> BridgeNf:
        return replace(self, filtering=Filtering.chosen(options))

    def missing(self) -> str:
        if sysctl.read(_CALL) is None:
            return "bridge netfilter (modprobe br_netfilter)"
        return self.filtering.missing()

    def steps(self, network: NetworkSpec, members: Sequence[Member]) -> Iterator[tuple[int, Step]]:
        yield NETWORK_OWNER, SetSysctl(_CALL, "1", before=sysctl.read(_CALL) or "0")
        yield from self.filtering.steps(network)
        yield from bridge.MODE.steps(network, members)


MODE = BridgeNf()
