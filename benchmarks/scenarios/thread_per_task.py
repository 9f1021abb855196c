"""A new thread for each task, which is a query: what ASGI servers and many a script do.

A connection that Django holds for its thread is of no use to the next one. Counted is also how
often each connects.
"""

from __future__ import annotations

import threading

from tests.observer import Observer

from ..contestants import REFERENCE, Contestant
from ..results import Result, compare
from ..turns import Stage, column
from .cycle import each

__all__ = ["run"]

CASE = "start, query, release, join"


def run(stage: Stage) -> list[Result]:
    count = stage.amount(30, 3)
    with Observer(stage.server) as observer:
        found = stage.contest(
            "thread_per_task", stage.contestants(), lambda c: block(c, count, observer), 25
        )
    return [
        result
        for unit in ("µs", "connects a task")
        for result in compare("thread_per_task", CASE, unit, column(found, unit), REFERENCE)
    ]


def block(contestant: Contestant, count: int, observer: Observer) -> dict[str, float]:
    in_a_thread(contestant)
    with observer.counting("Connections") as grown:
        microseconds = each(lambda: in_a_thread(contestant), count)
    return {"µs": microseconds, "connects a task": grown[0] / count}


def in_a_thread(contestant: Contestant) -> None:
    errors: list[BaseException] = []

    def target() -> None:
        try:
            contestant.query()
        except BaseException as error:
            errors.append(error)
        finally:
            contestant.release()

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
