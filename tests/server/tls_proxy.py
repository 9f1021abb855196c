"""A proxy that ends TLS itself: its clients' connections are encrypted, its own to the server not.

It speaks as much of the protocol as that takes: it offers TLS in the server's greeting, and numbers
the packets of the login so that each side knows nothing of the packet that asks for TLS
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html).
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from .address import Server

SECONDS = 30  # for whatever would block; only bounds a test that fails

CLIENT_SSL = 0x08  # in the second byte of the capabilities
OK, SWITCH, ERROR = 0x00, 0xFE, 0xFF


class TLSProxy(Server):
    """Serves one client, from another thread, within its ``with`` block.

    ``certificate`` are the options by which a server presents one. Accounts have no password.
    """

    def __init__(self, server: Server, certificate: Sequence[str]) -> None:
        key, path = (option.partition("=")[2] for option in certificate)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(path, key)
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SECONDS)
        self._thread = threading.Thread(target=self._serve)
        port: int = self._listener.getsockname()[1]
        super().__init__("127.0.0.1", port, server.user, server.password, server.name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.join(SECONDS)
        self._listener.close()
        assert not self._thread.is_alive(), "the client has not gone"

    def _serve(self) -> None:
        plain, _ = self._listener.accept()
        server = socket.create_connection((self._server.host, self._server.port), SECONDS)
        with plain, server:
            plain.settimeout(SECONDS)
            send(plain, *with_tls(*receive(server)))
            receive(plain)  # It asks for TLS.
            with self._context.wrap_socket(plain, server_side=True) as client:
                log_in(client, server)
                pass_on(client, server)


def receive(side: socket.socket) -> tuple[int, bytearray]:
    """The number and the content of the next packet."""
    header = exactly(side, 4)
    return header[3], exactly(side, int.from_bytes(header[:3], "little"))


def exactly(side: socket.socket, size: int) -> bytearray:
    found = bytearray()
    while len(found) < size:
        more = side.recv(size - len(found))
        if not more:
            raise EOFError("the connection ended within a packet")
        found += more
    return found


def send(side: socket.socket, number: int, content: bytearray) -> None:
    side.sendall(len(content).to_bytes(3, "little") + bytes([number]) + content)


def with_tls(number: int, greeting: bytearray) -> tuple[int, bytearray]:
    """The greeting of a server that offers TLS."""
    end_of_version = greeting.index(0, 1)
    capabilities = end_of_version + 1 + 4 + 8 + 1  # after the session's number and a salt
    greeting[capabilities + 1] |= CLIENT_SSL
    return number, greeting


def log_in(client: socket.socket, server: socket.socket) -> None:
    number, answer = receive(client)
    answer[1] &= ~CLIENT_SSL
    send(server, number - 1, answer)
    while True:
        number, told = receive(server)
        send(client, number + 1, told)
        if told[0] in (OK, ERROR):
            return
        if told[0] == SWITCH:
            number, answer = receive(client)
            send(server, number - 1, answer)


def pass_on(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Until one side has ended."""
    while True:
        ready, _, _ = select.select([client, server], [], [], SECONDS)
        for side in ready:
            data = side.recv(1 << 16)
            while side is client and client.pending():
                data += client.recv(1 << 16)
            if not data:
                return
            (server if side is client else client).sendall(data)
