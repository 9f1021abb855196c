"""What the page tells, of one moment: of this process's pools, and of other processes'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mysqlpool.conf.event_log import event_log_settings
from mysqlpool.errors import Holder
from mysqlpool.events.reading import ProcessStatistics, latest_statistics
from mysqlpool.pool import clock
from mysqlpool.stats import PoolStats, holders, stats, waiting_seconds

from .history import Point, history, level_of

__all__ = ["PoolReport", "Processes", "Report", "report"]


@dataclass(frozen=True, slots=True)
class PoolReport:
    """One pool. ``waiting_seconds`` is for how long there have been waiters without a break."""

    alias: str
    stats: PoolStats
    waiting_seconds: float
    holders: tuple[Holder, ...]
    points: tuple[Point, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.stats.as_dict(),
            "waiting_seconds": self.waiting_seconds,
            "holders": [asdict(one) for one in self.holders],
            "history": [asdict(one) for one in self.points],
        }


@dataclass(frozen=True, slots=True)
class Processes:
    """What other processes said of their pools in the event log, within three of its intervals.

    ``error`` tells why the log could not be read.
    """

    interval: float
    found: tuple[ProcessStatistics, ...] = ()
    error: str | None = None

    def as_dicts(self) -> list[dict[str, Any]]:
        return [
            {
                "time": one.time.isoformat(timespec="milliseconds"),
                "host": one.host,
                "pid": one.pid,
                "program": one.program,
                "alias": one.alias,
                **one.fields,
            }
            for one in self.found
        ]


@dataclass(frozen=True, slots=True)
class Report:
    """The pools of this process by alias, and others' if there is an event log with statistics."""

    time: datetime
    pid: int
    pools: tuple[PoolReport, ...]
    others: Processes | None = None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON. Times are seconds."""
        return {
            "time": self.time.isoformat(timespec="milliseconds"),
            "pid": self.pid,
            "pools": {one.alias: one.as_dict() for one in self.pools},
            "processes": None if self.others is None else self.others.as_dicts(),
        }


def report() -> Report:
    """Look at everything. Opens no pool, and leases nothing."""
    return Report(datetime.now(UTC), os.getpid(), tuple(_pools()), _others())


def _pools() -> Iterator[PoolReport]:
    waited, held, now = waiting_seconds(), holders(), clock.monotonic()
    for alias, one in sorted(stats().items()):
        yield PoolReport(
            alias,
            one,
            waited.get(alias, 0.0),
            held.get(alias, ()),
            history.points(alias, now, level_of(one)),
        )


def _others() -> Processes | None:
    log = event_log_settings()
    if log is None or not log.stats_interval:
        return None
    try:
        told = latest_statistics(log.filename, 3 * log.stats_interval)
    except OSError as error:
        return Processes(log.stats_interval, error=error.strerror)
    own = os.getpid()
    found = tuple(
        one for one in told if not (one.ended or (one.pid == own and one.is_numbered_here))
    )
    return Processes(log.stats_interval, found)
