"""What a session costs that the server has killed: while it was idle, and amid a task.

A task is two queries and a release. Its session is killed before the first query, or between the
two. Counted are the tasks that fail until one succeeds, and the time from the first one's beginning
to the end of the one that succeeds.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import MySQLdb
from django.db import Error

from tests.observer import Observer

from ..contestants import REFERENCE, Contestant
from ..results import Result, compare
from ..turns import Stage, column

__all__ = ["run"]

IDLE, AMID = "killed while idle", "killed amid a task"
NO_SUCH_THREAD = 1094  # ER_NO_SUCH_THREAD
ATTEMPTS = 10  # tasks in a row after which something is wrong


def run(stage: Stage) -> list[Result]:
    results = []
    with Observer(stage.server) as observer:
        for case in (IDLE, AMID):
            found = stage.contest(
                f"reconnect: {case}",
                stage.contestants(),
                partial(block, observer=observer, amid=case == AMID),
                20,
            )
            for unit in ("failed tasks", "µs"):
                results += compare("reconnect", case, unit, column(found, unit), REFERENCE)
    return results


def block(contestant: Contestant, observer: Observer, *, amid: bool) -> dict[str, float]:
    session = contestant.query("SELECT CONNECTION_ID()")
    contestant.release()
    if not amid:
        kill(observer, session)
    failed, pause, started = 0, 0.0, time.perf_counter()
    while True:
        try:
            first = contestant.query("SELECT CONNECTION_ID()")
            if amid and not failed and not pause:
                paused = time.perf_counter()
                kill(observer, first)
                pause = time.perf_counter() - paused
            contestant.query()
        except (Error, MySQLdb.Error):
            failed += 1
            assert failed < ATTEMPTS, f"{contestant.name}: no task succeeds any more"
        else:
            return {
                "failed tasks": failed,
                "µs": (time.perf_counter() - started - pause) * 1e6,
            }
        finally:
            contestant.release()


def kill(observer: Observer, session: Any) -> None:
    """Have the server close it. Without a pool it is closing it already, or has done so."""
    try:
        observer.query(f"KILL {session:d}")
    except MySQLdb.OperationalError as error:
        if error.args[0] != NO_SUCH_THREAD:
            raise
    observer.until(lambda: session not in observer.sessions())
