"""A task that never waits: three queries in a row, then what the thread holds is given back.

One thread, on the one processor that it shares with the server, so that all that is done counts.
"""

from __future__ import annotations

from ..contestants import REFERENCE, Contestant
from ..processor import one_processor
from ..results import Result, compare
from ..turns import Stage
from .cycle import each

__all__ = ["run", "task"]


def run(stage: Stage) -> list[Result]:
    count = stage.amount(20, 3)
    with one_processor(stage.server):
        found = stage.contest("busy", stage.contestants(), lambda c: block(c, count), 60)
    return compare("busy", "three queries and a release", "µs", found, REFERENCE)


def block(contestant: Contestant, count: int) -> float:
    """Microseconds a task, after one that opens the session if it has to."""
    task(contestant)
    return each(lambda: task(contestant), count)


def task(contestant: Contestant) -> None:
    for _ in range(3):
        contestant.query()
    contestant.release()
