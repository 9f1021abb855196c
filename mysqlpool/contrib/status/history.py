"""The last minutes: how many sessions were in use and idle, and how many threads waited.

The only mutable global of this package is ``history`` here. A process notes samples once it has
imported `mysqlpool.urls`, and while it has a session. A project without the page notes none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mysqlpool.aliases.ticker import Ticker
from mysqlpool.pool import clock
from mysqlpool.stats import PoolStats, stats

__all__ = ["INTERVAL", "SPAN", "History", "Level", "Point", "begin", "history", "level_of"]

# Seconds: how far it goes back, and how far two samples are apart.
SPAN, INTERVAL = 300.0, 2.0


@dataclass(frozen=True, slots=True)
class Level:
    """A pool at one moment."""

    in_use: int
    idle: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Sample:
    """All open pools by alias, at a moment in monotonic seconds."""

    at: float
    levels: Mapping[str, Level]


@dataclass(frozen=True, slots=True)
class Point:
    """A pool as it was so many seconds ago."""

    seconds_ago: float
    in_use: int
    idle: int
    waiting: int


def level_of(one: PoolStats) -> Level:
    return Level(one.in_use, one.idle, one.waiting)


class History:
    """Samples of the last `SPAN` seconds, of which one more is noted every `INTERVAL` seconds.

    ``_samples`` is never changed, but exchanged, by the one thread that notes: a reader needs no
    lock.
    """

    def __init__(self) -> None:
        self._samples: tuple[Sample, ...] = ()

    def note(self) -> None:
        """Note what the pools are at this moment."""
        levels = {alias: level_of(one) for alias, one in stats().items()}
        sample = Sample(clock.monotonic(), MappingProxyType(levels))
        self._samples = (*self._samples[-math.ceil(SPAN / INTERVAL) :], sample)

    def points(self, alias: str, now: float, present: Level) -> tuple[Point, ...]:
        """One pool, the oldest point first. The last is of ``now``, when it is ``present``."""
        past = [
            (now - sample.at, level)
            for sample in self._samples
            if now - sample.at <= SPAN and (level := sample.levels.get(alias)) is not None
        ]
        return tuple(
            Point(max(0.0, ago), level.in_use, level.idle, level.waiting)
            for ago, level in [*past, (0.0, present)]
        )

    def forget(self) -> None:
        """In a forked child: what its parent's pools did is not its own."""
        self._samples = ()


history = History()
_ticker = Ticker(INTERVAL, history.note)


def begin() -> None:
    """Note samples from now on. Nothing where that has begun already."""
    _ticker.start()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=history.forget)
