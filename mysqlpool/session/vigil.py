"""A wait for the next answer of a packet of several statements, which may never come.

Where KILL QUERY hits the server between two statements, it has said already that more results
follow. Then it executes nothing more and sends nothing more: both servers leave the loop over the
packet's statements as ``thd->killed`` is set, and wait for the next command (dispatch_command() in
sql/sql_parse.cc). The client library, to which more results were promised, refuses any command, so
that the connection itself cannot be asked. And what the library has read ahead cannot be seen from
outside: so whoever waits for the answer waits in the library, and another thread keeps the vigil.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Protocol

from . import sockets
from .link import Link

__all__ = ["Vigil", "Vigils"]


class Vigil:
    """One wait of one link.

    ``lock`` is held for moments by whoever keeps the vigil. While ``is_over`` is false under it,
    the link's thread is in the library, so that the socket is still the link's.
    """

    __slots__ = ("_number", "asleep", "is_over", "link", "lock", "looks", "lost")

    asleep: int
    """How often in a row the server said that its side has nothing to do."""

    is_over: bool
    """Whether an answer, or an error, has come."""

    looks: int
    """How often whoever keeps it has seen it."""

    lost: bool
    """Whether the connection was ended, as no answer will come."""

    def __init__(self, link: Link, number: int) -> None:
        """``number`` is its socket's."""
        self.link = link
        self._number = number
        self.lock = threading.Lock()
        self.asleep = self.looks = 0
        self.is_over = self.lost = False

    def port(self) -> int | None:
        """This side's TCP port, 0 of a Unix socket; None where there is nothing to ask for.

        That is so where it is over, and where something has arrived.
        """
        with self.lock:
            return sockets.own_port(self._number) if self._is_silent() else None

    def end_connection(self) -> None:
        """Have the library give up, unless something has arrived meanwhile."""
        with self.lock:
            if self._is_silent():
                self.lost = True
                with contextlib.suppress(OSError), sockets.duplicate(self._number) as copied:
                    copied.shutdown(socket.SHUT_RDWR)

    def _is_silent(self) -> bool:
        return not self.is_over and not sockets.peek(self._number, 1)


class Vigils(Protocol):
    """Who keeps them."""

    def begin(self, vigil: Vigil) -> None:
        """Keep it until it ends."""

    def end(self, vigil: Vigil) -> None:
        """It is over. Returns when nobody is at work on its socket any more."""
