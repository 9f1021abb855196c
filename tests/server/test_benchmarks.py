"""Each scenario of the benchmarks runs, and its results have their shape. Not a word of times.

What they count instead of timing is looked at, too: it is the same on any machine.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.contestants import CLOSED, DRIVER, HELD, POOLED, SESSIONS, TASK, TRANSACTION
from benchmarks.results import Result, Spread, from_json
from benchmarks.scenarios import SCENARIOS
from tests.helpers import HANG, ROOT

NAMES = [name for name in SCENARIOS if name != "requests" or shutil.which("wrk")]
EVERYBODY = {DRIVER, HELD, CLOSED, POOLED, TRANSACTION, TASK}
POOLS = (POOLED, TRANSACTION, TASK)


@pytest.fixture(scope="module")
def document() -> Mapping[str, Any]:
    """What one run of all prints, on a server of its own: others' sessions would be counted."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DATABASE_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks", *NAMES, "--quick", "--json"],
        cwd=ROOT,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=9 * HANG,
    )
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def results(document: Mapping[str, Any]) -> list[Result]:
    return from_json(document)


def medians(results: list[Result], scenario: str, case: str, unit: str) -> dict[str, float]:
    return {
        result.contestant: result.spread.median
        for result in results
        if (result.scenario, result.case, result.unit) == (scenario, case, unit)
    }


@pytest.mark.long
def test_the_conditions_are_told_with_the_results(document: Mapping[str, Any]) -> None:
    assert document["machine"]["processors"] >= 1
    assert len(document["machine"]["load"]) == 3
    assert document["versions"]["server"].startswith(os.environ["MYSQLPOOL_SERVER"])
    assert document["versions"]["Django"]
    assert document["date"].startswith("20")
    assert str(ROOT) not in json.dumps(document)


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_has_results_of_all_its_turns(name: str, results: list[Result]) -> None:
    mine = [result for result in results if result.scenario == name]
    tables: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in mine:
        tables[result.case, result.unit].append(result)
    assert tables
    for table in tables.values():
        (reference,) = (one for one in table if one.contestant == one.reference)
        assert reference.ratio in (None, Spread(1, 1, 1))
        assert len({one.contestant for one in table}) == len(table) > 1
        assert {len(one.samples) for one in table} == {len(reference.samples)}
        assert all(math.isfinite(value) and value >= 0 for r in table for value in r.samples)


@pytest.mark.parametrize(
    "name", ["calls", "cycle", "busy", "thread_per_task", "reconnect", "tasks"]
)
def test_nobody_is_left_out(name: str, results: list[Result]) -> None:
    assert {result.contestant for result in results if result.scenario == name} == EVERYBODY


def test_calls_are_the_same_at_each_turn(results: list[Result]) -> None:
    counted = [r for r in results if (r.scenario, r.unit) == ("calls", "calls")]
    assert {len({*r.samples}) for r in counted} == {1}
    task = medians(results, "calls", "task", "calls")
    assert 0 < task[DRIVER] < task[HELD] < task[TRANSACTION] < task[CLOSED]


def test_a_new_thread_for_each_task_connects_anew_without_a_pool(results: list[Result]) -> None:
    connects = medians(results, "thread_per_task", "start, query, release, join", "connects a task")
    assert {name: round(connects[name]) for name in (DRIVER, HELD, CLOSED)} == {
        DRIVER: 1,
        HELD: 1,
        CLOSED: 1,
    }
    assert [connects[name] for name in POOLS] == [0, 0, 0]


def test_a_session_that_was_killed_while_idle_fails_no_task_of_a_pool(
    results: list[Result],
) -> None:
    failed = medians(results, "reconnect", "killed while idle", "failed tasks")
    assert (failed[HELD], failed[CLOSED]) == (1, 0)
    assert [failed[name] for name in POOLS] == [0, 0, 0]
    amid = medians(results, "reconnect", "killed amid a task", "failed tasks")
    assert (amid[HELD], amid[TASK], amid[TRANSACTION]) == (1, 1, 0)


def test_pools_keep_their_limit_and_others_have_a_session_for_each_thread(
    results: list[Result],
) -> None:
    assert medians(results, "tasks", "4 threads", "sessions")[HELD] == 4
    for result in results:
        if result.unit == "sessions" and result.contestant in POOLS:
            assert max(result.samples) <= SESSIONS


def test_round_trips_are_counted(results: list[Result]) -> None:
    empty = medians(results, "latency", "empty", "round trips")
    assert (empty[HELD], empty[TRANSACTION], empty[TASK]) == (3, 0, 0)


@pytest.mark.skipif("requests" not in NAMES, reason="wrk is not installed: apt-get install wrk")
def test_no_request_fails(results: list[Result]) -> None:
    for case in ("gunicorn", "uvicorn"):
        failed = medians(results, "requests", case, "failed requests")
        assert failed == dict.fromkeys(failed, 0)
        assert min(medians(results, "requests", case, "requests/s").values()) > 0
