"""A path to a server that takes its time: ``python -m benchmarks.slow_path HOST PORT MS``.

It is a process of its own, so that it does not compete with the contenders for the interpreter's
lock. It prints the port on which it listens, and goes on until its input ends, as it does when its
owner has ended in whatever way. MS is what is added to a round trip, in milliseconds: half of it
each way.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.server import Server

__all__ = ["slow_path"]

CHUNK = 1 << 16


@contextmanager
def slow_path(server: Server, milliseconds: float) -> Iterator[int]:
    """In this block such a path is there; yields its port on 127.0.0.1."""
    command = [sys.executable, "-m", "benchmarks.slow_path", server.host, str(server.port)]
    with subprocess.Popen(
        [*command, str(milliseconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def main() -> None:
    host, port, milliseconds = sys.argv[1:]
    door = socket.create_server(("127.0.0.1", 0))
    print(door.getsockname()[1], flush=True)
    address, delay = (host, int(port)), float(milliseconds) / 2000
    threading.Thread(target=let_in, args=(door, address, delay), daemon=True).start()
    sys.stdin.read()


def let_in(door: socket.socket, address: tuple[str, int], delay: float) -> None:
    while True:
        client, _ = door.accept()
        server = socket.create_connection(address)
        for source, target in ((client, server), (server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=pass_on, args=(source, target, delay), daemon=True).start()


def pass_on(source: socket.socket, target: socket.socket, delay: float) -> None:
    """Deliver each chunk so much later. A request is one here, and so is its answer."""
    with suppress(OSError):  # One side is gone.
        while data := source.recv(CHUNK):
            time.sleep(delay)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
