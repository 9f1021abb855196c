"""What the page tells, of one moment: of this process's pools, and of other processes'."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mysqlpool.errors import Holder
from mysqlpool.pool import clock
from mysqlpool.stats import PoolStats, holders, stats, waiting_seconds

from .history import Point, history, level_of

__all__ = ["PoolReport", "Report", "report"]


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
class Report:
    """The pools by alias, in the order of DATABASES' aliases' names."""

    time: datetime
    pid: int
    pools: tuple[PoolReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON. Times are seconds."""
        return {
            "time": self.time.isoformat(timespec="milliseconds"),
            "pid": self.pid,
            "pools": {one.alias: one.as_dict() for one in self.pools},
        }


def report() -> Report:
    """Look at everything. Opens no pool, and leases nothing."""
    return Report(datetime.now(UTC), os.getpid(), tuple(_pools()))


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
