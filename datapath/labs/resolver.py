"""A name server for a lab: knows some names, asks another for the rest (RFC 1035, over UDP).

python3 -m datapath.labs.resolver ADDRESS:PORT NAME=ADDRESS... [UPSTREAM]

Docker has one in each container's namespace, at 127.0.0.11.
"""

from __future__ import annotations

import socket
import sys
from socketserver import BaseRequestHandler, ThreadingUDPServer
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_TTL: Final = 600  # seconds, as Docker's
_DNS: Final = 53
_PATIENCE: Final = 2.0  # seconds for the other's answer
_MOST: Final = 4096  # bytes of an answer


def answered(question: bytes, names: dict[str, str], upstream: str) -> bytes | None:
    """The answer to a message, None for one that deserves none."""
    try:
        asked = dns.message.from_wire(question)
    except dns.exception.DNSException:
        return None
    if asked.flags & dns.flags.QR or len(asked.question) != 1:
        return None
    (wanted,) = asked.question
    address = names.get(wanted.name.to_text(omit_final_dot=True).lower())
    if address is None and upstream:
        return _relayed(question, upstream)
    answer = dns.message.make_response(asked, recursion_available=True)
    if address is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif wanted.rdtype == dns.rdatatype.A:
        answer.answer.append(dns.rrset.from_text(wanted.name, _TTL, "IN", "A", address))
    return answer.to_wire()


def _relayed(question: bytes, upstream: str) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(_PATIENCE)
        try:
            other.connect((upstream, _DNS))
            other.send(question)
            return other.recv(_MOST)
        except OSError:
            return None  # whoever asked us waits in vain, too


def main(where: str, known: list[str]) -> None:
    """Serve until killed."""
    names = dict(each.split("=", 1) for each in known if "=" in each)
    upstream = next((each for each in known if "=" not in each), "")

    class Ask(BaseRequestHandler):
        def handle(self) -> None:
            question, server = self.request
            if answer := answered(question, names, upstream):
                server.sendto(answer, self.client_address)

    host, _, port = where.rpartition(":")
    ThreadingUDPServer((host, int(port)), Ask).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
