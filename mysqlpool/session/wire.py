"""The way to the server, as its socket shows it without the driver.

The driver owns the socket. To look at it sends nothing and reads nothing away.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from time import monotonic, sleep

from . import answers, sockets
from .answers import Arrived

__all__ = ["NO_ANSWER", "Wire"]

NO_ANSWER = "no answer in time"

# Seconds between two looks at an answer of which a part has arrived.
_BETWEEN_LOOKS = 0.001


class Wire:
    """The open socket that has a number now. Another one may have the same number later."""

    __slots__ = ("_socket", "_tell", "look", "number", "watch")

    number: int
    """The socket's, as long as it `is_there`."""

    look: Callable[[], object]
    """Tells in one system call whether the socket can be read, or was closed."""

    watch: sockets.Watch
    """Its ``poll()`` waits for that."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._tell = sockets.way_to_tell(number)
        self._socket = self._tell(number)
        self.look = sockets.look(number)
        self.watch = sockets.watch(number)

    def is_there(self) -> bool:
        """Whether the socket still has its number.

        False where it was closed; and where `sockets.addresses` tells, also where it was reset.
        """
        return self._tell(self.number) == self._socket

    def tune(self, keepalive: bool, user_timeout: float | None) -> None:
        """Set the socket's options: see `sockets.tune`."""
        sockets.tune(self.number, keepalive, user_timeout)

    def has_tls_record(self) -> bool:
        """Whether what can be read looks like TLS."""
        return answers.looks_like_tls(sockets.peek(self.number, 2))

    def unread(self) -> int:
        """How many bytes can be read now, of those that are looked at for an answer."""
        return len(sockets.peek(self.number, answers.LONGEST)) if self.look() else 0

    def await_answer(self, before: int, end: float, *, compressed: bool) -> str | None:
        """Wait until an answer can be read without waiting; else tell why it cannot be read.

        It is not waited for longer than until ``end``, in monotonic seconds. ``before`` bytes were
        there before it was asked for. The library would wait for the rest of an answer without an
        end. Of a connection that is over it reads what there is, which may tell why.
        """
        while events := self.watch.poll(max(0, ceil((end - monotonic()) * 1000))):
            found = sockets.peek(self.number, answers.LONGEST)
            if not found or sockets.is_over(events):
                return None
            there = answers.arrived(found, before, compressed=compressed)
            if there is Arrived.WHOLE:
                return None
            if there is Arrived.NONSENSE:
                return "garbage"
            if not self.is_there():  # It was reset, which select() does not tell.
                return None
            if monotonic() >= end:
                break
            sleep(_BETWEEN_LOOKS)
        return NO_ANSWER
