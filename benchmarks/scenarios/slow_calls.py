"""Threads that wait for something else between two queries, on a few sessions.

Each task is a query, a wait, a query; then the thread gives back what it holds. Each turn starts
with no session, and its threads do one task without a wait before the clock runs. They begin one
after the other, spread over the time of one wait. "Ideal" is a thread that waits for nothing but
its two round trips, as many of them as threads.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

from tests.observer import Observer

from ..contestants import REFERENCE, Contestant
from ..crowd import work_together
from ..results import Result, compare
from ..turns import Stage, column
from .tasks import counting_sessions

__all__ = ["run"]

# threads, milliseconds of the wait
LOADS = ((64, 10), (64, 50), (64, 200), (256, 50))
IDEAL = "ideal"
UNITS = ("tasks/s", "ms, p99", "sessions")


def run(stage: Stage) -> list[Result]:
    results = []
    who = stage.contestants("held", "closed", "peer", "transaction", "task")
    with Observer(stage.server) as observer:
        for threads, wait in stage.amount(LOADS, ((8, 5),)):
            case = f"{threads} threads, {wait} ms"
            measure = partial(
                turn,
                threads=threads,
                wait=wait / 1000,
                seconds=stage.seconds_of(1.0),
                observer=observer,
            )
            found = stage.contest(f"slow_calls: {case}", who, measure, 5)
            rounds = len(found[REFERENCE])
            found[IDEAL] = [ideal(threads, wait / 1000, round_trip_of(observer))] * rounds
            for unit in UNITS:
                results += compare("slow_calls", case, unit, column(found, unit), REFERENCE)
    return results


def turn(
    contestant: Contestant, threads: int, wait: float, seconds: float, observer: Observer
) -> dict[str, float]:
    with counting_sessions(contestant, observer) as peak:
        work = work_together(
            threads,
            partial(task, contestant, wait),
            seconds,
            leave=contestant.leave,
            warm_up=partial(task, contestant, 0.0),
            spread=wait,
        )
    p99 = work.percentile(99) * 1000
    return {"tasks/s": work.rate, "ms, p99": p99, "sessions": peak[0]}


def task(contestant: Contestant, wait: float) -> None:
    contestant.query()
    time.sleep(wait)
    contestant.query()
    contestant.release()


def ideal(threads: int, wait: float, round_trip: float) -> dict[str, float]:
    """No thread waits for a session or the processor: Little's law."""
    seconds = wait + 2 * round_trip
    return {"tasks/s": threads / seconds, "ms, p99": seconds * 1000, "sessions": threads}


def round_trip_of(observer: Observer, count: int = 200) -> float:
    """Seconds that a query takes: the median."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        observer.query("SELECT 1")
        times.append(time.perf_counter() - started)
    return statistics.median(times)
