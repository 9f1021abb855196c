"""``python -m benchmarks.counting REQUESTS``: the Python calls of one contestant, as JSON.

`benchmarks.site` tells which one. What is counted are calls of Python functions and of those in C.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from django.test import RequestFactory

from .site import application, contestant

__all__: list[str] = []

ENVIRON: dict[str, Any] = RequestFactory().get("/").environ
REPEAT = 10  # The least counts: now and then one does what is due after some time.
BLOCKS = 5  # of requests, whose processor time is looked at


def main() -> None:
    for _ in range(50):  # Until caches are filled, and what is imported late is there.
        task_calls()
        request()
    found = {
        **min((task_calls() for _ in range(REPEAT)), key=lambda parts: parts["task"]),
        "request": min(calls(request) for _ in range(REPEAT)),
        "processor": processor(int(sys.argv[1])),
    }
    print(json.dumps(found))
    contestant.close()


def task_calls() -> dict[str, int]:
    parts = {
        "lease": calls(contestant.lease),
        "statement": calls(contestant.query),
        "release": calls(contestant.release),
    }
    return {**parts, "task": sum(parts.values())}


def request() -> None:
    environ = {**ENVIRON, "wsgi.input": io.BytesIO()}
    response = application(environ, start_response)
    body = b"".join(response)
    response.close()
    assert body == b"1", body


def start_response(*arguments: Any) -> Any:
    """What a WSGI server has, which sends the head."""


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, in Python and in C, but for what an empty one costs."""
    return counted(work) - counted(lambda: None)


def counted(work: Callable[[], object]) -> int:
    count = 0

    def called(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def processor(requests: int) -> float:
    """Microseconds of processor of this thread for a request: the median of some blocks."""
    blocks = []
    for _ in range(BLOCKS):
        started = time.thread_time()
        for _ in range(requests):
            request()
        blocks.append((time.thread_time() - started) / requests * 1e6)
    return statistics.median(blocks)


if __name__ == "__main__":
    main()
