"""Limits of time for calls of the client library that have none.

COM_CHANGE_USER is sent and answered in one call, which waits as long as the network lets it. The
caretaker's thread ends the connection when the time is over, up to 50 milliseconds later.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from types import TracebackType

from mysqlpool.pool import caretaker, clock
from mysqlpool.session.sockets import duplicate

__all__ = ["Limit", "Limits"]


class Limits:
    """The limits of one alias that are in force. The caretaker knows it weakly."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.running: dict[Limit, None] = {}

    def next_look(self) -> float:
        """When the first limit is over; for the caretaker."""
        return min((limit.end for limit in list(self.running)), default=math.inf)

    def tidy(self, now: float) -> None:
        """End the connections whose time is over; for the caretaker."""
        for limit in list(self.running):
            if now >= limit.end:
                limit.enforce()


class Limit:
    """In this block the connection with this socket ends when so many seconds have passed.

    Then the library's call fails as for a connection that was lost, and the block raises
    `TimeoutError`, also where it came to its end all the same: the connection is of no use. Raises
    `OSError` for a socket that is gone.

    Whoever gets ``_claim`` decides, and closes the duplicate: either the block is over in time, or
    the connection is shut down. It is the duplicate that is shut down, because the number of the
    driver's socket may be another's by then.
    """

    def __init__(self, limits: Limits, number: int, seconds: float) -> None:
        self._limits = limits
        self._number = number
        self._claim = threading.Lock()
        self.end = clock.monotonic() + seconds

    def __enter__(self) -> None:
        self._socket = duplicate(self._number)
        try:
            self._limits.running[self] = None
            caretaker.watch(self._limits)
        except BaseException:
            self._ends_in_time()
            raise

    def enforce(self) -> None:
        """Shut the connection down, unless the block is over."""
        self._limits.running.pop(self, None)
        if self._claim.acquire(blocking=False):
            with self._socket, contextlib.suppress(OSError):  # It may have been lost already.
                self._socket.shutdown(socket.SHUT_RDWR)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if not self._ends_in_time() and (error is None or isinstance(error, Exception)):
            raise TimeoutError from error

    def _ends_in_time(self) -> bool:
        self._limits.running.pop(self, None)
        if self._claim.acquire(blocking=False):
            self._socket.close()
            return True
        return False
