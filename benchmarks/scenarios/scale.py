"""1,000 threads against 10 on the same 10 sessions: what a thread more costs a pool.

Django's own engine would take 1,000 sessions, which no server of a usual size gives it. Each pool
is compared with itself at 10 threads.
"""

from __future__ import annotations

from functools import partial

from ..contestants import Contestant
from ..crowd import work_together
from ..results import Result, compare
from ..turns import Stage, column
from .busy import task

__all__ = ["run"]

FEW = 10


def run(stage: Stage) -> list[Result]:
    many, seconds = stage.amount(1000, 40), stage.seconds_of(1.0)
    results = []
    for contestant in stage.contestants("transaction", "task", "peer"):
        ways = {
            f"{threads:,} threads": partial(turn, contestant, threads, seconds)
            for threads in (FEW, many)
        }
        found = stage.turns(f"scale: {contestant.name}", ways, 5)
        for unit in ("µs", "µs of processor"):
            samples = column(found, unit)
            results += compare("scale", contestant.name, unit, samples, f"{FEW} threads")
        with contestant.on_stage():
            contestant.close()
    return results


def turn(contestant: Contestant, threads: int, seconds: float) -> dict[str, float]:
    """What a task costs in all, and this process's processor."""
    with contestant.on_stage():
        work = work_together(threads, partial(task, contestant), seconds, leave=contestant.leave)
    return {
        "µs": 1e6 / work.rate,
        "µs of processor": work.processor * 1e6,
    }
