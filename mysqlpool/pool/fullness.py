"""Fullness: whether the server said that it is full, and when to ask it again."""

from __future__ import annotations

import math
import random

__all__ = ["Fullness"]

# Seconds between two attempts to connect to a full server: at first, and at most.
FIRST_RETRY = 0.05
LAST_RETRY = 0.5


class Fullness:
    """One request at a time asks a full server again, at growing intervals. Times are monotonic.

    The pool's lock guards it.
    """

    def __init__(self) -> None:
        self.refusals = 0  # since a connect last said anything else
        self.until = -math.inf  # when the next attempt may be made

    def refused(self, now: float) -> None:
        self.refusals += 1
        self._postpone(now)

    def ended(self) -> bool:
        """Note that a connect was not refused for fullness. False if none was refused before."""
        before, self.refusals = self.refusals, 0
        return bool(before)

    def may_ask(self, now: float) -> bool:
        """Whether the caller may connect now. A full server is asked by one at a time."""
        if not self.refusals:
            return True
        if now < self.until:
            return False
        self._postpone(now)
        return True

    def _postpone(self, now: float) -> None:
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self.refusals, 16))
        self.until = now + longest * random.uniform(0.5, 1.0)
