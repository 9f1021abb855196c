"""What lease and release cost, with and without a query between them.

One thread, on the one processor that it shares with the server, so that all that is done counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..contestants import REFERENCE, Contestant
from ..processor import one_processor
from ..results import Result, compare
from ..turns import Stage, column

__all__ = ["run"]

ALONE, QUERY = "lease and release", "with SELECT 1"


def run(stage: Stage) -> list[Result]:
    count = stage.amount(50, 5)
    results = []
    with one_processor(stage.server):
        found = stage.contest("cycle", stage.contestants(), lambda c: block(c, count), 40)
    for case in (ALONE, QUERY):
        # The bare driver holds its connection: without a query it does nothing.
        who = {name: turns for name, turns in found.items() if turns[0][case] > 0}
        results += compare("cycle", case, "µs", column(who, case), REFERENCE)
    return results


def block(contestant: Contestant, count: int) -> dict[str, float]:
    """Microseconds of each kind of cycle, after one that opens the session if it has to."""

    def alone() -> None:
        contestant.lease()
        contestant.release()

    def with_query() -> None:
        contestant.lease()
        contestant.query()
        contestant.release()

    with_query()
    return {ALONE: each(alone, count), QUERY: each(with_query, count)}


def each(work: Callable[[], object], count: int) -> float:
    """Microseconds, by the clock on the wall."""
    started = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - started) / count * 1e6
