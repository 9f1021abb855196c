"""Threads that queue for a session: FairQueuePool and SQLAlchemy's QueuePool.

The pools alone, on a driver that sends nothing. A p99 is that of all leases, so it hides starvation
where a few threads get nearly all of them: look at the turns and the longest wait, too.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy.pool import Pool, QueuePool

from mysqlpool.pool import FairQueuePool

from ..contestants import PATIENCE
from ..crowd import work_together
from ..results import Result, compare
from ..turns import Stage, column

__all__ = ["run"]

# threads, sessions, milliseconds that a lease lasts
GRID = [
    (4, 8, 1.0),
    (8, 8, 1.0),
    (16, 8, 1.0),
    (64, 8, 5.0),
    (64, 8, 0.5),
    (64, 2, 1.0),
    (8, 2, 0.0),
]
KINDS: Mapping[str, type[Any]] = {"QueuePool": QueuePool, "FairQueuePool": FairQueuePool}
UNITS = ("leases/s", "ms, p50", "ms, p99", "ms, longest", "turns, most by fewest")


class Session:
    def rollback(self) -> None: ...

    def commit(self) -> None: ...

    def close(self) -> None: ...


def run(stage: Stage) -> list[Result]:
    results = []
    for threads, size, hold in stage.amount(GRID, [(4, 2, 1.0), (4, 8, 1.0)]):
        case = f"{threads} on {size}, {hold:g} ms"
        ways = {
            name: partial(contend, make(kind, size), threads, hold / 1000, stage.seconds_of(0.5))
            for name, kind in KINDS.items()
        }
        found = stage.turns(f"contention: {case}", ways, 5)
        for unit in UNITS:
            results += compare("contention", case, unit, column(found, unit), "QueuePool")
    return results


def make(kind: type[Any], size: int) -> Pool:
    sizes = {"pool_size": size, "max_overflow": 0, "timeout": PATIENCE}
    pool: Pool = kind(Session, reset_on_return=None, **sizes)
    return pool


def contend(pool: Pool, threads: int, hold: float, seconds: float) -> dict[str, float]:
    """Let threads lease, hold and return; a task's time is the wait for its lease."""
    waits: list[float] = []

    def task() -> None:
        asked = time.perf_counter()
        connection = pool.connect()
        waits.append(time.perf_counter() - asked)
        try:
            if hold:
                time.sleep(hold)
        finally:
            connection.close()

    work = work_together(threads, task, seconds)
    waited = sorted(wait * 1000 for wait in waits)
    return {
        "leases/s": work.rate,
        "ms, p50": waited[len(waited) // 2],
        "ms, p99": waited[len(waited) * 99 // 100],
        "ms, longest": waited[-1],
        "turns, most by fewest": max(work.turns) / min(work.turns),
    }
