"""Clients: many at once that ask for everything, and one that is slow to read."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from .project.work import BASIC

__all__ = ["KINDS", "REQUESTS", "Answer", "SlowClient", "ask", "ask_again", "load"]

KINDS = (*BASIC, "aread", "awrite", "stream", "astream")
REQUESTS = 240
CLIENTS = 8
SECONDS = 60.0
"""A bound that only proves that something did not hang."""


@dataclass(frozen=True)
class Answer:
    kind: str
    n: int
    status: int
    text: str


def kind_of(n: int) -> str:
    return KINDS[n % len(KINDS)]


def ask(port: int, kind: str, n: int) -> Answer:
    """A request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", f"/{kind}?n={n}", headers={"Connection": "close"})
        response = connection.getresponse()
        return Answer(kind, n, response.status, response.read().decode())
    finally:
        connection.close()


def ask_again(port: int, kind: str, n: int) -> Answer:
    """The same where workers are replaced: one that ends may close what it has not read yet."""
    try:
        return ask(port, kind, n)
    except ConnectionError:
        return ask(port, kind, n)


def load(port: int, count: int = REQUESTS, how: Callable[..., Answer] = ask) -> list[Answer]:
    """All kinds of requests from several clients at once."""
    with ThreadPoolExecutor(CLIENTS) as executor:
        return list(executor.map(lambda n: how(port, kind_of(n), n), range(count)))


class SlowClient:
    """Asks for 5 MB, and reads them at 1 MB/s from start() on; is ``reading`` until the end."""

    PORTION = 50_000
    PER_SECOND = 1_000_000

    def __init__(self, port: int, n: int) -> None:
        self.size = 0
        self.text = b""
        """The beginning."""
        self._gone = False
        self._socket = socket.socket()
        # The system must not take over what the client has not read.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.PORTION)
        self._socket.settimeout(SECONDS)
        self._socket.connect(("127.0.0.1", port))
        request = f"GET /big?n={n} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        self._socket.sendall(request.encode())
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._thread.join(SECONDS)
        self._socket.close()

    def hang_up(self) -> None:
        """Go away in the middle, by a reset: a mere end would leave the server to its timers."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._gone = True

    @property
    def reading(self) -> bool:
        return self._thread.is_alive()

    def _read(self) -> None:
        began = time.monotonic()
        while not self._gone and (portion := self._socket.recv(self.PORTION)):
            self.text = (self.text + portion)[: self.PORTION]
            self.size += len(portion)
            time.sleep(max(0, began + self.size / self.PER_SECOND - time.monotonic()))
