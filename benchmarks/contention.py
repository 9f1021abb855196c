"""Threads x sessions under contention: FairQueuePool and SQLAlchemy's QueuePool side by side.

The pools alone, on a driver that sends nothing; so it needs no server. The runs of the two
alternate. A p99 is that of all leases, so it hides starvation where a few threads get nearly all
of them: look at the turns and the longest wait too.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy.pool import Pool, QueuePool

from mysqlpool.pool import FairQueuePool

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


class Session:
    def rollback(self) -> None: ...

    def commit(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Result:
    """One run: leases a second, milliseconds waited, and how many turns threads got."""

    throughput: float
    p50: float
    p99: float
    longest: float
    fewest: int
    most: int


def run(pool: Pool, threads: int, hold: float, seconds: float) -> Result:
    """Have threads lease, hold for ``hold`` seconds and return, until the time is over."""
    waits: list[list[float]] = [[] for _ in range(threads)]
    barrier = threading.Barrier(threads + 1)
    over = threading.Event()

    def work(mine: list[float]) -> None:
        barrier.wait()
        while not over.is_set():
            asked = time.perf_counter()
            with closing(pool.connect()):
                mine.append(time.perf_counter() - asked)
                if hold:
                    time.sleep(hold)

    workers = [threading.Thread(target=work, args=(mine,)) for mine in waits]
    for worker in workers:
        worker.start()
    barrier.wait()
    begun = time.perf_counter()
    time.sleep(seconds)
    over.set()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - begun
    return summary(waits, took)


def summary(waits: list[list[float]], took: float) -> Result:
    all_waits = sorted(wait * 1000 for mine in waits for wait in mine)
    turns = [len(mine) for mine in waits]
    return Result(
        throughput=len(all_waits) / took,
        p50=all_waits[len(all_waits) // 2],
        p99=all_waits[len(all_waits) * 99 // 100],
        longest=all_waits[-1],
        fewest=min(turns),
        most=max(turns),
    )


def middle(results: list[Result]) -> Result:
    """The median of each figure over the rounds."""
    return Result(
        *(
            statistics.median(values)
            for values in zip(*(vars(r).values() for r in results), strict=True)
        )
    )


def make(kind: type[Any], size: int) -> Pool:
    pool: Pool = kind(Session, pool_size=size, max_overflow=0, timeout=60, reset_on_return=None)
    return pool


def main(argv: Sequence[str]) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks contention", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="of each pair (default 3)")
    options = parser.parse_args(argv)
    table = Table(title=f"{options.rounds} rounds of {options.seconds} s each, medians")
    headings = (
        "threads",
        "sessions",
        "hold ms",
        "pool",
        "leases/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "turns",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "pool" else "right")
    for threads, size, hold in GRID:
        results: dict[type[Any], list[Result]] = {FairQueuePool: [], QueuePool: []}
        for _ in range(options.rounds):
            for kind, found in results.items():
                found.append(run(make(kind, size), threads, hold / 1000, options.seconds))
        for kind, found in results.items():
            add_row(table, (threads, size, hold), kind, middle(found))
    Console(width=110).print(table)
    return 0


def add_row(table: Table, load: tuple[int, int, float], kind: type[Any], result: Result) -> None:
    first = kind is FairQueuePool
    table.add_row(
        *(str(number) if first else "" for number in load),
        kind.__name__,
        f"{result.throughput:,.0f}",
        f"{result.p50:.2f}",
        f"{result.p99:.2f}",
        f"{result.longest:.2f}",
        f"{result.fewest:.0f} to {result.most:.0f}",
        end_section=not first,
    )
