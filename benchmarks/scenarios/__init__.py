"""The scenarios, each a module with ``run(stage)``, which returns its results."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from ..results import Result
from ..turns import Stage

__all__ = ["SCENARIOS", "run"]

# In the order in which they run: those that ask little of the machine first.
SCENARIOS: Mapping[str, str] = MappingProxyType(
    {
        "calls": "Python calls of a lease, a statement, a release and a request, counted",
        "statements": "what it costs to tell what a statement does to its session",
        "cycle": "lease and release, with and without a query",
        "busy": "three queries in a row, in one thread",
        "thread_per_task": "a new thread for each task",
        "reconnect": "what a session costs that the server has killed",
        "contention": "threads that queue for a session, on a driver that sends nothing",
        "latency": "blocks of the ORM over a path that takes its time",
        "tasks": "1 to 256 threads on 10 sessions",
        "scale": "1,000 threads against 10 on the same sessions",
        "slow_calls": "threads that wait for something else between two queries",
        "requests": "requests under gunicorn and uvicorn, driven by wrk",
    }
)


def run(name: str, stage: Stage) -> list[Result]:
    """Run the scenario of this name."""
    results: list[Result] = importlib.import_module(f"{__name__}.{name}").run(stage)
    return results
