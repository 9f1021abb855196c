"""What goes over the wire between an application and its server, counted. TLS has to be off."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.faults.proxy import Link, Proxy, Way

__all__ = ["PLAIN", "Traffic", "Wire"]

PLAIN = {"ssl_mode": "DISABLED"}

# A packet has its length in three bytes, a number, and what it is about. One of the greatest length
# is continued in the next. Requests begin with a byte that names the command.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
_HEADER, _GREATEST = 4, 0xFFFFFF
_COMMANDS = {
    0x01: "QUIT",
    0x02: "INIT_DB",
    0x03: "QUERY",
    0x0E: "PING",
    0x11: "CHANGE_USER",
    0x1B: "SET_OPTION",
    0x1F: "RESET_CONNECTION",
}


@dataclass
class Traffic:
    """What went by within a block."""

    requests: list[str] = field(default_factory=list)
    """The requests' commands, in their order; of a query its text."""
    round_trips: int = 0
    """How often the server answered before more was asked."""


class Wire(Proxy):
    """A proxy that counts. One connection through it does something at a time."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self._traffic = Traffic()
        self._coming: dict[Link, bytearray] = {}
        self._asked = False

    @contextmanager
    def counting(self) -> Iterator[Traffic]:
        """Yield what is filled until the block ends.

        The last answer has passed when the application has it, so nothing is counted late.
        """
        self._traffic = Traffic()
        yield self._traffic
        self._traffic = Traffic()

    async def _deliver(self, link: Link, target: socket.socket, data: bytes, way: Way) -> None:
        if way is Way.TO_SERVER:
            self._asked = True
            self._read_requests(link, data)
        elif self._asked:
            self._asked = False
            self._traffic.round_trips += 1
        await super()._deliver(link, target, data, way)

    def _read_requests(self, link: Link, data: bytes) -> None:
        coming = self._coming.setdefault(link, bytearray())
        coming += data
        while len(coming) >= _HEADER:
            length = int.from_bytes(coming[:3], "little")
            assert length < _GREATEST, "a request of more than one packet"
            if len(coming) < _HEADER + length:
                return
            packet = bytes(coming[_HEADER : _HEADER + length])
            if coming[3] == 0:  # What has another number answers the server, as in a login.
                self._traffic.requests.append(_told(packet))
            del coming[: _HEADER + length]


def _told(packet: bytes) -> str:
    command = _COMMANDS.get(packet[0], f"command {packet[0]}")
    return packet[1:].decode("utf-8", "replace") if command == "QUERY" else command
