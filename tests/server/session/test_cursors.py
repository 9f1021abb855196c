"""A session's cursors answer as the driver's own, and the session learns of their errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import MySQLdb
import pytest
from MySQLdb.cursors import SSCursor

from mysqlpool.session.session import Session
from tests.helpers import error_of, rows_of

Connect = Any  # a function that opens a connection, closed at the end of the test


@pytest.fixture
def connect(server: Any) -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def open_one(kind: Any = Session, **options: Any) -> Any:
            account = {"user": server.user, "password": server.password, "autocommit": True}
            one = kind(host=server.host, port=server.port, **account, **options)
            stack.callback(_close, one)
            return one

        yield open_one


def _close(one: Any) -> None:
    with contextlib.suppress(MySQLdb.OperationalError):
        one.close()


def _scrolled(cursor: Any, *args: Any) -> Any:
    cursor.execute("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3")
    cursor.scroll(*args)
    return cursor.fetchall()


CALLS: dict[str, Callable[[Any], Any]] = {
    "mogrify": lambda cursor: cursor.mogrify("SELECT %s, %s", [1, "it's"]),
    "scroll": lambda cursor: _scrolled(cursor, 2),
    "scroll to": lambda cursor: _scrolled(cursor, 1, "absolute"),
    "scroll in no such way": lambda cursor: _scrolled(cursor, 1, "sideways"),
    "call of no procedure": lambda cursor: cursor.callproc("mysql.no_such_procedure", [1]),
    "fetchone of nothing": lambda cursor: cursor.fetchone(),
    "fetchmany of nothing": lambda cursor: cursor.fetchmany(2),
    "iteration over nothing": list,
}


@pytest.mark.parametrize("what", CALLS)
def test_a_call_is_answered_as_by_the_drivers_own_cursor(connect: Connect, what: str) -> None:
    session, plain = connect(), connect(MySQLdb.connect)
    session.settle()
    answers = []
    for one in (session, plain):
        with contextlib.closing(one.cursor()) as cursor:
            try:
                answers.append(CALLS[what](cursor))
            except MySQLdb.Error as error:
                answers.append((type(error), error.args))
    assert answers[0] == answers[1]
    assert session.broken is None


def _one_by_one(cursor: Any) -> None:
    while cursor.fetchone() is not None:
        pass


def _some_by_some(cursor: Any) -> None:
    while cursor.fetchmany(10):
        pass


@pytest.mark.parametrize("read", [_one_by_one, _some_by_some, list])
def test_a_session_that_is_killed_while_its_rows_are_read_is_broken(
    connect: Connect, observer: Any, read: Callable[[Any], Any]
) -> None:
    session = connect(cursorclass=SSCursor)
    session.settle()
    cursor = session.cursor()
    cursor.execute(rows_of(1000, "n, REPEAT('x', 50000)"))
    observer.kill(session.number)
    observer.until(lambda: session.number not in observer.sessions())
    assert isinstance(error_of(lambda: read(cursor)), MySQLdb.Error)
    assert session.broken is not None


def test_a_session_that_is_killed_before_a_procedure_is_called_is_broken(
    connect: Connect, observer: Any
) -> None:
    session = connect()
    session.settle()
    observer.kill(session.number)
    observer.until(lambda: session.number not in observer.sessions())
    with contextlib.closing(session.cursor()) as cursor:
        assert isinstance(error_of(lambda: cursor.callproc("x")), MySQLdb.Error)
    assert session.broken is not None
