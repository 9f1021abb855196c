"""Python calls, counted: no noise. Each contestant is alone in a process, as in a project.

Lease, statement and release are those of a task; a request is one of `benchmarks.site`, by Django's
WSGI handler with the middleware that the contestant's users set. What a lease has to do at all
may fall to its first statement, so look at their sum, the task. The request's processor time is
measured beside it, which is not free of noise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

from ..contestants import REFERENCE, Contestant
from ..results import Result, compare
from ..turns import Stage, column

__all__ = ["run"]

CASES = ("lease", "statement", "release", "task", "request")


def run(stage: Stage) -> list[Result]:
    ways = {
        one.name: partial(in_its_process, one, stage.amount(300, 3)) for one in stage.contestants()
    }
    found = stage.turns("calls", ways, 3)
    results = []
    for case in CASES:
        results += compare("calls", case, "calls", column(found, case), REFERENCE)
    return results + compare(
        "calls", "request", "µs of processor", column(found, "processor"), REFERENCE
    )


def in_its_process(contestant: Contestant, requests: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.counting", str(requests)]
    environ = {
        **os.environ,
        **contestant.server.environ(),
        "BENCHMARKS_CONTESTANT": contestant.key,
        "PYTHONHASHSEED": "0",
    }
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    counted: dict[str, Any] = json.loads(done.stdout)
    return counted
