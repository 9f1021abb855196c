"""Refusals: whether the server last refused a session for now, and when to ask it again."""

from __future__ import annotations

import math
import random

__all__ = ["Refusals"]

# Seconds between two attempts to connect while the server refuses: at first, and at most. The
# longest one is also how late an attempt can find out that the server is there again.
FIRST_RETRY = 0.05
LAST_RETRY = 0.5


class Refusals:
    """One request at a time asks again, at growing intervals. Times are monotonic.

    The pool's lock guards it.
    """

    def __init__(self) -> None:
        self.count = 0  # since a connect last said anything else
        self.last: Exception | None = None  # of these
        self.until = -math.inf  # when the next attempt may be made

    def refused(self, error: Exception, now: float) -> None:
        self.count += 1
        self.last = error
        self._postpone(now)

    def ended(self) -> bool:
        """Note that a connect was not refused. False if none was refused before."""
        before, self.count, self.last = self.count, 0, None
        return bool(before)

    def may_ask(self, now: float) -> bool:
        """Whether the caller may connect now. A server that refuses is asked by one at a time."""
        if not self.count:
            return True
        if now < self.until:
            return False
        self._postpone(now)
        return True

    def _postpone(self, now: float) -> None:
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self.count, 16))
        self.until = now + longest * random.uniform(0.5, 1.0)
