"""Seldom: what may happen a thousand times a second is told of once, with how often it was not."""

from __future__ import annotations

import math
import threading

from . import clock
from .locks import under

__all__ = ["Seldom"]


class Seldom:
    """Lets one event through in so many seconds, and counts the others.

    ``_lock`` guards the other two, and is held for moments.
    """

    __slots__ = ("_interval", "_left_out", "_lock", "_until")

    def __init__(self, interval: float = 1.0) -> None:
        self._interval = interval
        self._until = -math.inf
        self._left_out = 0
        self._lock = threading.RLock()

    def left_out(self, *, wanted: bool = True, again: bool = False) -> int | None:
        """How many were left out since the last one that was not; None to leave this one out, too.

        One that is not ``wanted`` is left out, and counted, in any case. One that was left out
        before, and goes on, may be asked for ``again``: it is one event and counted once.
        """
        return under(self._lock, self._admit, wanted, again)

    def _admit(self, wanted: bool, again: bool) -> int | None:
        now = clock.monotonic()
        if not wanted or now < self._until:
            self._left_out += not again
            return None
        before, self._left_out = self._left_out, 0
        self._until = now + self._interval
        return before - again
