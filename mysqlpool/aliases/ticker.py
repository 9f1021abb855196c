"""Ticker: something is done at intervals, as long as this process has sessions to tell of.

The caretaker's thread does it, which lives only while something is due. So leases and returns pay
nothing for it, and a process that has no session has no thread.

The only mutable global here is ``_started``, the tickers that were started and not stopped. Each
change is one insertion or removal, which is atomic, so there is no lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mysqlpool.pool import caretaker, clock
from mysqlpool.scopes import auto_close_db

from . import forks

__all__ = ["Ticker", "connected"]

_started: dict[Ticker, None] = {}


class Ticker:
    """Calls ``tick()`` about every ``interval`` seconds while a pool of any alias has a session.

    The first time is ``first`` seconds after the start, or an interval. Where it came due while
    there was no session, it is called soon after the next connect. It is called in the caretaker's
    thread, which others need: it has to be short. What it raises is logged as ``upkeep_failed``,
    and it is called again after the interval.

    A forked child has the same tickers, for its own sessions, and begins anew. None ticks any more
    once the interpreter exits. Raises ``ValueError`` for an interval that is not positive.
    """

    alias = None  # for the caretaker's log: it is no pool's

    def __init__(
        self, interval: float, tick: Callable[[], None], first: float | None = None
    ) -> None:
        if not 0 < interval < math.inf:
            raise ValueError(f"an interval is a positive number of seconds, not {interval!r}")
        self._interval = interval
        self._first = interval if first is None else first
        self._tick = tick
        self._begin()

    def _begin(self) -> None:
        self._due = clock.monotonic() + self._first

    def start(self) -> None:
        """Tick from now on. Does nothing to one that does already."""
        if self not in _started:
            self._begin()
            _started[self] = None
        caretaker.watch(self)

    def stop(self) -> None:
        """Tick no more. A tick that has begun goes on to its end."""
        _started.pop(self, None)

    def next_look(self) -> float:
        """When the next tick is due; for the caretaker."""
        return self._due if self in _started and forks.any_open() else math.inf

    def tidy(self, now: float) -> None:
        """Tick; for the caretaker."""
        try:
            self._tick()
        finally:
            self._due = clock.monotonic() + self._interval


def connected() -> None:
    """Have the caretaker look after the tickers, as there is a session: after a connect."""
    for ticker in list(_started):
        caretaker.watch(ticker)


def _start_afresh(inherited: bool) -> None:
    """In a forked child: each begins anew."""
    for ticker in list(_started):
        ticker._begin()


forks.when_forked(_start_afresh)

# What a tick leases is released, and so is what a handler of the project's does that keeps records
# in a database: nobody else would, in the caretaker's thread.
caretaker.work_within(auto_close_db)
