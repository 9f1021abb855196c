"""Waiter: one thread's place in the queue for a lease."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .holders import Owner, Where
    from .records import Record

__all__ = ["Waiter"]


class Waiter:
    """A thread queued for a lease since ``since`` (monotonic seconds).

    ``record`` is set, under the pool's lock, by whoever serves it. To be woken says nothing: the
    waiter looks for itself whether it was served, whether its time is over, or whether there is
    something to tidy up.
    """

    __slots__ = ("gate", "owner", "record", "serial", "since", "where")

    def __init__(self, owner: Owner, where: Where, since: float) -> None:
        self.owner = owner
        self.where = where
        self.since = since
        self.record: Record | None = None
        self.serial = 0
        # A lock that is taken is the cheapest event there is: threading.Event has two inside.
        self.gate = threading.Lock()
        self.gate.acquire()

    def park(self, seconds: float) -> None:
        """Sleep until woken, at most ``seconds``."""
        self.gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """End the present or the next ``park()``. Takes no lock: finalizers call it."""
        with contextlib.suppress(RuntimeError):  # It was woken already; once is enough.
            self.gate.release()
