"""One direction of the way between two nodes, as far as it has been walked; see walking."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from datapath.diagnose.causes import Cause
from datapath.diagnose.firewall import Packet
from datapath.diagnose.overlay import Crossing
from datapath.diagnose.segment import Segment
from datapath.diagnose.world import Node, Port
from datapath.kernel.net.state import Lookup

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Leg:
    """From one node's interface to the next node's: `way` has every interface between them."""

    out: Port
    arrival: Port
    way: list[Port]
    hop: Address  # whom the sender of this leg asks the neighbour table for
    segment: Segment

    @property
    def asks(self) -> bool:
        """Whether the sender has to know a MAC: not where a device has one end and no other."""
        return self.out.link.arp


@dataclass(slots=True)
class Walk:
    """One direction: what `packet` is, and from whom to whom it goes.

    `under` has the ways of the packets that tunnels on the way put around it. Where a router
    translates addresses one way ends and another begins: `goes_on` of the one, and `came_in` of
    the other, the packet as it came to the router.
    """

    sender: Node
    receiver: Node
    packet: Packet
    legs: list[Leg] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    under: list[Walk] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    impostor: Node | None = None  # that answers in the receiver's place, since it has the address
    goes_on: bool = False
    came_in: Packet | None = None
    taps: list[Port] = field(default_factory=list)  # where it ends: nobody sees what is behind

    @property
    def source(self) -> Address:
        """The packet's."""
        return self.packet.saddr

    @property
    def target(self) -> Address:
        """The packet's destination, an address of the receiver."""
        return self.packet.daddr

    @property
    def whole(self) -> bool:
        """Whether it leads to the receiver."""
        return self.sender is self.receiver or bool(
            self.legs and self.legs[-1].arrival.node is self.receiver
        )

    def lookup(self, node: Node, arrival: str = "") -> Lookup:
        """What a node makes of the packet, which may depend on its source (`ip rule`).

        The sender of what begins a conversation chooses the source by the route, so not there.
        """
        source = str(self.source)
        answers = self.packet.state == "established"
        if node is not self.sender and arrival:
            return node.lookup(str(self.target), source, arrival)
        own = answers and self.source in [address.ip for _, address, _ in node.addresses]
        return node.lookup(str(self.target), source if own else "")

    def routers(self) -> list[tuple[Port, Port]]:
        """The interfaces by which each node on the way takes the packet in and sends it on."""
        return [
            (before.arrival, after.out)
            for before, after in zip(self.legs, self.legs[1:], strict=False)
        ]

    def all(self) -> list[Walk]:
        """It, and every way under it."""
        return [self, *(each for way in self.under for each in way.all())]
