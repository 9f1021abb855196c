"""What the command ``status`` shows of what it saw."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from mysqlpool.conf.event_log import EventLogSettings
from mysqlpool.management.census import Census
from mysqlpool.management.choice import Choice
from mysqlpool.management.processes import Process, Standing
from mysqlpool.management.screen import Line
from mysqlpool.management.status import Server, Status, page_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)
CENSUS = Census("9.7.4", "app@web", 1, 1, 100, 0, True, ())
PROCESS = Process(
    "web-1", 7, "manage.py", "default", NOW, 1.0, Standing.RUNNING, {"in_use": 2, "limit": 6}
)


def lines(processes: list[Process], census: Census = CENSUS) -> list[str]:
    log = EventLogSettings("/var/log/events.log", 1, 1, "DEBUG", 60.0)
    servers = [Server(("default",), "db:3306", census)]
    status = Status(NOW, log, None, processes, servers, Choice(("default",)))
    return [part.text for part in page_of(status) if isinstance(part, Line)]


def test_processes_that_ended_use_nothing_and_are_told_as_ended() -> None:
    assert "default: 1 process, 2 of 6 sessions in use, 0 waiters." in lines([PROCESS])
    ended = replace(PROCESS, standing=Standing.ENDED)
    assert "None of these processes runs any more." in lines([ended])


def test_whether_all_sessions_are_seen_is_said_where_it_is_not_known() -> None:
    assert not any("other accounts" in line for line in lines([]))
    unknown = lines([], replace(CENSUS, sees_all=None))
    assert "It is not known whether app@web sees the sessions of other accounts." in unknown
