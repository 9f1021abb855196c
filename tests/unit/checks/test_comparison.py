"""What the checks make of a project's settings and of a server's answers, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import DatabaseError, OperationalError

from mysqlpool.checks import comparison
from mysqlpool.checks.entries import servers_of_alias
from mysqlpool.checks.facts import gather
from mysqlpool.checks.workers import Workers

from .project import entry

QUEUE = Workers("Celery", 2, 4)


def test_who_puts_tasks_into_a_queue_is_somebody_though_nobody_knows_who(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(comparison, "task_queues", lambda: iter([QUEUE]))
    others, queue = comparison.demand_found().workers
    assert queue is QUEUE
    assert (others.processes, others.threads) == (None, None)
    (tmp_path / "gunicorn.conf.py").write_text("workers = 3\n")
    assert [one.processes for one in comparison.demand_found().workers] == [3, 2]


@pytest.mark.parametrize(
    ("server", "is_remote"),
    [
        ("/run/mysqld.sock", False),
        (("localhost", 3306), False),
        (("127.0.0.2", 3306), False),
        (("::1", 3306), False),
        (("192.0.2.1", 3306), True),
        (("db", 3306), True),
    ],
)
def test_a_server_is_remote_where_somebody_can_be_on_the_way(server: Any, is_remote: bool) -> None:
    assert comparison._is_remote(server) is is_remote


def test_an_alias_whose_hosts_are_refused_is_on_no_server(
    databases: dict[str, dict[str, Any]],
) -> None:
    databases["default"] = {**entry(), "HOST": []}
    assert servers_of_alias("default") == ()


class Server:
    """A connection, and its cursor: it answers with one value, or by an error."""

    def __init__(self, error: BaseException, refused: str) -> None:
        self.error, self.refused = error, refused

    def cursor(self) -> Server:
        return self

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def execute(self, sql: str) -> None:
        if self.refused in sql:
            raise self.error

    def fetchall(self) -> Iterator[tuple[str, ...]]:
        yield ("7", "7")


def test_what_an_account_may_not_ask_is_not_known() -> None:
    refusal = OperationalError(1142, "SELECT command denied")
    server: Any = Server(refusal, "SHOW CREATE USER")
    assert gather(server).by_the_hour is None
    assert gather(server).max_connections == 7


@pytest.mark.parametrize(
    "error", [OperationalError(2013, "Lost"), OperationalError("no number"), DatabaseError(0, "")]
)
def test_a_connection_that_is_lost_meanwhile_is_an_error(error: DatabaseError) -> None:
    if error.args[0] == 0:  # So mysqlclient says of one that was closed on this side.
        error.__cause__ = MySQLdb.InterfaceError(0, "")
    server: Any = Server(error, "SHOW CREATE USER")
    with pytest.raises(type(error)) as caught:
        gather(server)
    assert caught.value is error
