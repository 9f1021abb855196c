"""1 to 256 threads that do short tasks on 10 sessions: three queries, and a release.

Django and the bare driver have a session for each thread. The clients' processor time is that of
this process alone, which the server's and the neighbours' are not in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.observer import Observer

from ..contestants import REFERENCE, Contestant
from ..crowd import work_together
from ..results import Result, compare
from ..turns import Stage, column
from .busy import task

__all__ = ["UNITS", "counting_sessions", "run", "together"]

THREADS = (1, 4, 16, 64, 256)
UNITS = ("tasks/s", "ms, p99", "µs of processor", "sessions")


def run(stage: Stage) -> list[Result]:
    results = []
    with Observer(stage.server) as observer:
        for threads in stage.amount(THREADS, (1, 4)):
            case = f"{threads} threads" if threads > 1 else "1 thread"
            found = stage.contest(
                f"tasks: {case}",
                stage.contestants(),
                partial(
                    together, threads=threads, seconds=stage.seconds_of(0.5), observer=observer
                ),
                5,
            )
            for unit in UNITS:
                results += compare("tasks", case, unit, column(found, unit), REFERENCE)
    return results


def together(
    contestant: Contestant, threads: int, seconds: float, observer: Observer
) -> dict[str, float]:
    """Threads do the task for so long, without a session at their beginning."""
    with counting_sessions(contestant, observer) as peak:
        work = work_together(threads, partial(task, contestant), seconds, leave=contestant.leave)
    return {
        "tasks/s": work.rate,
        "ms, p99": work.percentile(99) * 1000,
        "µs of processor": work.processor * 1e6,
        "sessions": peak[0],
    }


@contextmanager
def counting_sessions(contestant: Contestant, observer: Observer) -> Iterator[list[int]]:
    """Yield what holds, after the block, how many sessions there were at most at once.

    It begins without any but the observer's, as soon as the server has closed the others, and ends
    with none.
    """
    observer.until(lambda: observer.status("Threads_connected") == [1])
    observer.reset_peak()
    peak: list[int] = []
    try:
        yield peak
        peak.append(observer.status("Max_used_connections")[0] - 1)
    finally:
        contestant.close()
