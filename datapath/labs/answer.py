"""A web server that answers with a node's name and who asked: what NAT changed becomes visible.

python3 -m datapath.labs.answer NAME PORT
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def main(name: str, port: int) -> None:
    """Serve until killed."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = f"{name} was asked by {self.client_address[0]}\n".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    ThreadingHTTPServer(("", port), Answer).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
