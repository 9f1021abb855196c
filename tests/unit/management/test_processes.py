"""Who wrote statistics lately, and what has become of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mysqlpool.conf.event_log import EventLogSettings
from mysqlpool.events import machine
from mysqlpool.management.processes import Process, Standing, processes, window
from mysqlpool.stats import PoolStats
from tests.helpers import HANG


def ended_pid() -> int:
    """The number of a process that has ended."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(HANG)
    return done.pid


def line(
    pid: int,
    alias: str = "default",
    age: float = 1.0,
    *,
    ended: bool = False,
    host: str | None = None,
    space: str | None = None,
) -> str:
    fields = {**PoolStats(pool_size=5).as_dict(), "program": "web", "ended": ended}
    fields["pid_space"] = space or machine.pid_space()
    moment = datetime.now(UTC) - timedelta(seconds=age)
    said: dict[str, Any] = {
        "time": moment.isoformat(timespec="microseconds"),
        "host": host or machine.host(),
        "pid": pid,
        "alias": alias,
        "event": "statistics",
        "fields": fields,
    }
    return json.dumps(said) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> EventLogSettings:
    return EventLogSettings(str(tmp_path / "events.log"), 10_000_000, 5, "DEBUG", 10)


def found(log: EventLogSettings, *lines: str, aliases: tuple[str, ...] | None = None) -> Any:
    Path(log.filename).write_text("".join(lines))
    return processes(log, datetime.now(UTC), aliases)


def test_each_process_tells_of_each_alias_once_and_what_runs_comes_first(
    log: EventLogSettings,
) -> None:
    own, gone = os.getpid(), ended_pid()
    told: list[Process] = found(
        log,
        line(own, age=9),
        line(gone),
        line(own, "other"),
        line(os.getppid(), ended=True),
        line(own),
    )
    assert {(one.pid, one.alias, one.standing) for one in told} == {
        (own, "default", Standing.RUNNING),
        (own, "other", Standing.RUNNING),
        (gone, "default", Standing.GONE),
        (os.getppid(), "default", Standing.ENDED),
    }
    assert [one.is_running for one in told] == [True, True, False, False]
    assert all(one.age < 9 for one in told), "the newest line counts"
    assert (told[0].program, told[0].figures["limit"]) == ("web", 5)


@pytest.mark.parametrize("where", [{"host": "web-2"}, {"space": "another"}])
def test_a_process_of_another_machine_or_container_is_not_taken_for_gone(
    where: dict[str, Any], log: EventLogSettings
) -> None:
    gone = ended_pid()
    told: list[Process] = found(
        log, line(gone), line(gone, **where), line(os.getppid(), ended=True, **where)
    )
    standings = {Standing.ELSEWHERE, Standing.GONE, Standing.ENDED}
    assert {one.standing for one in told} == standings
    assert (told[0].standing, told[0].is_running) == (Standing.ELSEWHERE, True)
    assert told[0].as_dict()["host"] == where.get("host", machine.host())


def test_who_was_silent_for_three_intervals_is_left_out(log: EventLogSettings) -> None:
    assert window(log) == 30
    assert [one.alias for one in found(log, line(1, "old", 31), line(1, "new", 29))] == ["new"]


def test_another_users_process_runs(log: EventLogSettings, monkeypatch: Any) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", refuse)
    assert found(log, line(4711))[0].standing is Standing.RUNNING


@pytest.mark.parametrize("pid", [-1, 0, 2**70])
def test_a_number_that_no_process_can_have_is_gone(pid: int, log: EventLogSettings) -> None:
    assert [one.standing for one in found(log, line(pid))] == [Standing.GONE]


def test_other_aliases_are_left_out_where_some_are_wanted(log: EventLogSettings) -> None:
    told = found(log, line(1, "default"), line(1, "other"), aliases=("other",))
    assert [one.alias for one in told] == ["other"]


def test_there_is_nothing_where_no_statistics_are_written(log: EventLogSettings) -> None:
    Path(log.filename).write_text(line(1))
    assert processes(replace(log, stats_interval=0), datetime.now(UTC)) == []


def test_a_log_that_is_not_there_yet_tells_of_nobody(log: EventLogSettings) -> None:
    assert processes(log, datetime.now(UTC)) == []


def test_a_process_is_told_in_json(log: EventLogSettings) -> None:
    told = found(log, line(os.getpid()))[0].as_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert {"pid", "program", "alias", "age", "standing", "in_use", "limit"} <= told.keys()
