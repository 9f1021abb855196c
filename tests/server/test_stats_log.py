"""Processes write their statistics into the event log, and what is read of them is so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from mysqlpool import close_pool, release_connections, stats, stats_log
from mysqlpool.aliases import ticker
from mysqlpool.events import file as logfile
from mysqlpool.events.log import set_event_log
from mysqlpool.events.reading import ProcessStatistics, latest_statistics
from tests.fake_driver import until
from tests.helpers import HANG, ROOT, session_id
from tests.server import Server

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

CLASSES = ["FairQueuePool", "QueuePool", "NullPool", "StaticPool"]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Where this process writes its statistics, several times a second."""
    previous = set_event_log(None)
    logfile.configure(tmp_path / "events.log")
    release_connections()
    close_pool()
    yield tmp_path / "events.log"
    release_connections()
    close_pool()
    stats_log.write_every(0)
    logfile.configure(None)
    set_event_log(previous)


@contextmanager
def alias_with(monkeypatch: pytest.MonkeyPatch, **pool: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        settings = connections["default"].settings_dict
        patch.setitem(settings, "OPTIONS", {**settings["OPTIONS"], "pool": pool})
        yield
        release_connections()
        close_pool()


def told(log: Path, alias: str = "default") -> Callable[[], ProcessStatistics | None]:
    def newest() -> ProcessStatistics | None:
        return next((one for one in latest_statistics(log) if one.alias == alias), None)

    return newest


@pytest.mark.parametrize("name", CLASSES)
def test_the_pool_of_each_class_is_told_of_after_its_first_connect(
    name: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with alias_with(monkeypatch, **{"class": name, "lease": "task"}):
        stats_log.write_every(0.05)
        session_id("default")
        # The first line may have been written in the midst of the connect.
        until(lambda: [one for one in latest_statistics(log) if one.fields["in_use"] == 1])
        found = told(log)()
        assert found is not None
        assert found.fields["connects"] == stats()["default"].connects
        assert (found.pid, found.ended) == (os.getpid(), False)


def test_two_aliases_have_a_line_each_until_their_sessions_are_gone(log: Path) -> None:
    stats_log.write_every(0.05)
    session_id("default")
    session_id("other")
    until(told(log))
    until(told(log, "other"))
    release_connections()
    close_pool()
    assert next(iter(ticker._started)).next_look() == float("inf")


PROGRAM = """
import os, sys
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["mysqlpool"],
    MYSQLPOOL_LOG={"filename": sys.argv[1], "stats_interval": float(sys.argv[2])},
    DATABASES={"default": {
        "ENGINE": "mysqlpool.backends.mysqlpool", "HOST": sys.argv[3], "PORT": sys.argv[4],
        "USER": sys.argv[5], "PASSWORD": sys.argv[6], "OPTIONS": {"pool": {"lease": "task"}},
    }},
)
django.setup()
from django.db import connection
connection.ensure_connection()
"""


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., list[ProcessStatistics]]:
    """Run a program with a pool of its own to its end, and tell what it said of itself."""
    script = tmp_path / "worker.py"

    def run(program: str, interval: float) -> list[ProcessStatistics]:
        script.write_text(PROGRAM + program)
        address = [server.host, str(server.port), server.user, server.password]
        arguments = [str(tmp_path / "events.log"), str(interval), *address]
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", str(script), *arguments],
            capture_output=True,
            text=True,
            timeout=HANG,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return latest_statistics(tmp_path / "events.log")

    return run


def test_a_process_writes_its_last_figures_as_it_ends(
    run: Callable[..., list[ProcessStatistics]],
) -> None:
    [one] = run("connection.close()", 60)
    assert (one.program, one.alias, one.ended) == ("worker.py", "default", True)
    assert one.fields["leases"] == 1


def test_a_process_that_ends_with_a_lease_out_tells_so(
    run: Callable[..., list[ProcessStatistics]],
) -> None:
    [one] = run("", 60)
    assert (one.ended, one.fields["in_use"]) == (True, 1)


def test_with_an_interval_of_0_nothing_is_written(
    run: Callable[..., list[ProcessStatistics]],
) -> None:
    assert run("connection.close()", 0) == []


def test_a_process_is_soon_told_of_however_long_the_interval_is(
    run: Callable[..., list[ProcessStatistics]],
) -> None:
    [one] = run(
        """
import signal, time
from mysqlpool.events.reading import latest_statistics
signal.alarm(20)
while not latest_statistics(sys.argv[1]):
    time.sleep(0.01)
os._exit(0)
""",
        3600,
    )
    assert not one.ended


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_forked_child_tells_of_its_own_sessions_alone(
    run: Callable[..., list[ProcessStatistics]],
) -> None:
    found = run(
        """
import signal, time
from mysqlpool.events.reading import latest_statistics
quiet = os.fork()
if not quiet:
    sys.exit(0)
assert os.waitpid(quiet, 0)[1] == 0
assert {one.pid for one in latest_statistics(sys.argv[1])} <= {os.getpid()}
child = os.fork()
if not child:
    signal.alarm(20)
    connection.ensure_connection()
    while os.getpid() not in {one.pid for one in latest_statistics(sys.argv[1])}:
        time.sleep(0.01)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""",
        0.05,
    )
    assert sorted(one.ended for one in found) == [False, True]
