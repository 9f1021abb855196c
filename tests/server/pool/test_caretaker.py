"""Without traffic: the server's process list says what is closed, and both sides of a fork work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connections

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from tests.fake_driver import until
from tests.helpers import HANG, run_threads, session_id
from tests.server.aliases.test_forks import ends_well, forked, works_on_its_own

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give both aliases options for their pools."""

    def give(**options: Any) -> None:
        for alias in ("default", "other"):
            settings = connections[alias].settings_dict
            given = {**settings["OPTIONS"], "pool": {"lease": "task", **options}}
            monkeypatch.setitem(settings, "OPTIONS", given)

    release_connections()
    close_pool()
    yield give
    release_connections()
    close_pool()


def opened() -> set[int]:
    """Sessions of two aliases, two of each, which are idle then."""

    @auto_close_db
    def both() -> list[int]:
        return [session_id("default"), session_id("other")]

    found = [session_id("default"), session_id("other"), *run_threads(both)[0]]
    release_connections()
    return set(found)


def gone(observer: Any, ids: set[int]) -> bool:
    return not ids & set(observer.sessions())


def caretakers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "mysqlpool-caretaker"]


@pytest.mark.parametrize("limit", [{"max_idle": 1}, {"recycle": 1, "max_idle": None}], ids=str)
def test_sessions_of_two_quiet_pools_are_closed_and_no_thread_is_left(
    limit: dict[str, Any], options: Callable[..., None], observer: Any
) -> None:
    options(**limit)
    ids = opened()
    assert len(ids) == 4
    assert caretakers()
    until(partial(gone, observer, ids))
    until(lambda: not caretakers())
    assert {stats()[alias].idle for alias in ("default", "other")} == {0}


def test_a_lone_long_lease_is_reported(
    options: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    options(leak_after=0.3, max_idle=None)
    session_id("default")
    until(lambda: "lease leaked: alias=default" in caplog.text)
    release_connections()
    assert caplog.text.count("lease leaked") == 1


def test_the_sessions_of_a_removed_alias_go_also_those_of_min_idle(
    options: Callable[..., None], observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options(max_idle=0.5, min_idle=2)
    ids = opened()
    monkeypatch.delitem(connections.settings, "other")
    until(lambda: "other" not in stats())  # It is forgotten with its last session.
    until(lambda: len(ids & set(observer.sessions())) == 2)
    assert session_id("default") in ids


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_in_the_midst_of_upkeep_harm_neither_side(
    options: Callable[..., None], observer: Any
) -> None:
    options(max_idle=0.05)
    for _ in range(10):
        ids = opened()
        time.sleep(0.05)  # so that it is closing about now
        ends_well(forked(works_on_its_own(ids)))
        until(partial(gone, observer, ids))
    assert session_id()


EXIT = """
import os, time
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()
from django.db import connections
for alias in ("default", "other"):
    settings = connections[alias].settings_dict
    settings["OPTIONS"] = {**settings["OPTIONS"], "pool": {"lease": "task", "max_idle": 0.05}}
    settings["NAME"] = None
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
from mysqlpool import release_connections
release_connections()
time.sleep(%s)
print(time.time())
"""


@pytest.mark.parametrize("pause", [0.0, 0.045, 0.05, 0.055])
def test_the_exit_in_the_midst_of_upkeep_is_quick_and_quiet(pause: float) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXIT % pause],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    ended = time.time()
    assert (done.returncode, done.stderr) == (0, "")
    assert ended - float(done.stdout) < 2
