"""Statistics in the event log: what a line holds, and when there is one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mysqlpool import PoolStats, stats_log
from mysqlpool.aliases import ticker
from mysqlpool.events import file as logfile
from mysqlpool.events.log import set_event_log
from mysqlpool.events.reading import latest_statistics
from tests.fake_driver import FakeDriver, fair_pool, lease_and_return
from tests.helpers import json_lines


@pytest.fixture(autouse=True)
def no_event_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ticker, "_started", {})
    previous = set_event_log(None)
    yield
    stats_log.write_every(0)
    logfile.configure(None)
    set_event_log(previous)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Any:
    pools = {"default": fair_pool(FakeDriver(), 3), "other": fair_pool(FakeDriver())}

    def stats() -> dict[str, PoolStats]:
        return {alias: PoolStats(**pool.figures()) for alias, pool in pools.items()}

    monkeypatch.setattr(stats_log, "stats", stats)
    return pools["default"]


def test_a_line_has_the_figures_of_a_pool_without_the_buckets(pool: Any, tmp_path: Path) -> None:
    logfile.configure(tmp_path / "events.log")
    lease_and_return(pool)
    lease = pool.lease()
    stats_log._write()
    lease.give_back()
    default, other = latest_statistics(tmp_path / "events.log")
    assert (default.alias, other.alias) == ("default", "other")
    fields = default.fields
    assert {
        "in_use": 1,
        "idle": 0,
        "limit": 3,
        "leases": 2,
        "connects": 1,
    }.items() <= fields.items()
    assert fields["utilisation"] == round(1 / 3, 6)
    assert fields["wait"].keys() == {"count", "seconds", "p50", "p95", "p99"}
    wanted = "waiting pool_size max_overflow waits timeouts refused connect_errors discards"
    assert set(wanted.split()) <= fields.keys()
    [line, _] = json_lines(tmp_path / "events.log")
    assert (line["level"], line["logger"]) == ("INFO", "mysqlpool.pool")
    assert len(str(line)) < 3000


def test_ordinary_loggers_get_it_as_any_other_event_of_its_level(
    pool: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logfile.configure(tmp_path / "events.log")
    stats_log._write()
    assert caplog.records == []
    with caplog.at_level("INFO", "mysqlpool"):
        stats_log._write()
    assert [vars(record)["event"] for record in caplog.records] == ["statistics"] * 2


def test_without_an_event_log_nothing_is_told(pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "mysqlpool"):
        stats_log._write()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("argv", "program"),
    [
        (["manage.py", "runserver"], "manage.py"),
        (["/srv/venv/bin/gunicorn", "site.wsgi"], "gunicorn"),
        (["/srv/venv/lib/python3/site-packages/celery/__main__.py"], "celery"),
        (["-c"], "-c"),
        ([""], Path(sys.executable).name),
        ([], Path(sys.executable).name),
    ],
)
def test_the_program_is_told_without_its_folder_and_arguments(
    argv: list[str], program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert stats_log._program() == program


def test_another_interval_takes_the_place_of_the_first_and_0_ends_it() -> None:
    stats_log.write_every(60)
    [first] = ticker._started
    stats_log.write_every(30)
    [second] = ticker._started
    assert second is not first
    stats_log.write_every(0)
    assert not ticker._started


def test_the_last_figures_are_written_only_where_there_were_any(pool: Any, tmp_path: Path) -> None:
    logfile.configure(tmp_path / "events.log")
    stats_log._write_last()
    assert latest_statistics(tmp_path / "events.log") == []
    stats_log.write_every(60)
    stats_log._write_last()
    assert [one.ended for one in latest_statistics(tmp_path / "events.log")] == [True, True]


def test_the_last_figures_are_the_last(pool: Any, tmp_path: Path) -> None:
    """Nothing is written after them by a tick that was under way."""
    logfile.configure(tmp_path / "events.log")
    stats_log.write_every(60)
    stats_log._write_last()
    stats_log._tick()
    assert [one.ended for one in latest_statistics(tmp_path / "events.log")] == [True, True]


def test_the_exit_does_not_wait_for_a_log_that_hangs(
    pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_log, "PATIENCE", 0.01)
    logfile.configure(tmp_path / "events.log")
    stats_log.write_every(60)
    with stats_log._lock:
        stats_log._write_last()
    assert latest_statistics(tmp_path / "events.log") == []
