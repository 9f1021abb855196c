"""The pools of all processes, as the newest statistics in the event log tell of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mysqlpool.conf.event_log import EventLogSettings
from mysqlpool.events.reading import ProcessStatistics, latest_statistics

__all__ = ["Process", "Standing", "processes", "window"]

INTERVALS = 3
"""A process that wrote no statistics for so many intervals is not told of: it has ended, or has no
session."""


class Standing(StrEnum):
    """What has become of a process since it wrote its statistics."""

    RUNNING = "running"
    ENDED = "ended"  # These were its last, it said.
    GONE = "gone"  # There is none of its number any more: it was killed.
    ELSEWHERE = "elsewhere"  # On another machine, or in another container, where one cannot look.


@dataclass(frozen=True, slots=True)
class Process:
    """A process's pool of one alias, as it was ``age`` seconds ago. ``host`` is its machine's name.

    ``figures`` are those of ``PoolStats.as_dict()``, of the histograms without their buckets.
    """

    host: str
    pid: int
    program: str
    alias: str
    time: datetime
    age: float
    standing: Standing
    figures: Mapping[str, Any]

    @property
    def is_running(self) -> bool:
        """Whether it does as far as one knows: one that is elsewhere wrote lately."""
        return self.standing in (Standing.RUNNING, Standing.ELSEWHERE)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        own = {"pid": self.pid, "program": self.program, "alias": self.alias}
        when = {"time": self.time.isoformat(), "age": round(self.age, 3)}
        return {"host": self.host, **own, **when, "standing": str(self.standing), **self.figures}


def window(log: EventLogSettings) -> float:
    """How many seconds back the event log is read."""
    return log.stats_interval * INTERVALS


def processes(
    log: EventLogSettings, now: datetime, aliases: Collection[str] | None = None
) -> list[Process]:
    """Who wrote statistics lately: those that run first, by program, machine, number and alias.

    With ``aliases`` only the pools of those. Raises ``OSError`` for a log that cannot be read.
    """
    if not log.stats_interval:
        return []
    told = latest_statistics(log.filename, window(log))
    found = [_process(one, now) for one in told if aliases is None or one.alias in aliases]

    def place(one: Process) -> tuple[object, ...]:
        return not one.is_running, one.program, one.host, one.pid, one.alias

    return sorted(found, key=place)


def _process(told: ProcessStatistics, now: datetime) -> Process:
    age = max(0.0, (now - told.time).total_seconds())
    return Process(
        told.host, told.pid, told.program, told.alias, told.time, age, _standing(told), told.fields
    )


def _standing(told: ProcessStatistics) -> Standing:
    if told.ended:
        return Standing.ENDED
    return _looked_up(told.pid) if told.is_numbered_here else Standing.ELSEWHERE


def _looked_up(pid: int) -> Standing:
    """Whether there is a process of this number. 0 and below mean groups of processes."""
    if pid < 1:
        return Standing.GONE
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return Standing.GONE
    except PermissionError:  # It is another user's.
        return Standing.RUNNING
    return Standing.RUNNING
