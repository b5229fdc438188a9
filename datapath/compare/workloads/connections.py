"""The two ends of workload tcp_crr, each run as a program of its own, with no package around it.

connections.py server ADDRESS PORT             answers each connection's byte with one, for ever
connections.py client ADDRESS PORT SECONDS     makes connections; how long each took, as JSON
"""

import json
import socket
import sys
import time


def serve(address: tuple[str, int]) -> None:
    """Answer each connection's byte with one, and close it, for ever."""
    with socket.create_server(address, backlog=16) as listener:
        while True:
            connection, _ = listener.accept()
            connection.recv(1)
            connection.send(b"x")
            connection.close()


def connect(address: tuple[str, int], seconds: float) -> list[int]:
    """Nanoseconds from making a socket to the other end's closing, for each connection."""
    taken = []
    start = time.perf_counter_ns()
    end = start + seconds * 1e9
    while start < end:
        connection = socket.socket()
        connection.connect(address)
        connection.send(b"x")
        while connection.recv(1):
            pass
        connection.close()
        now = time.perf_counter_ns()
        taken.append(now - start)
        start = now
    return taken


if __name__ == "__main__":
    role, host, port, *rest = sys.argv[1:]
    if role == "server":
        serve((host, int(port)))
    print(json.dumps(connect((host, int(port)), float(rest[0]))))
