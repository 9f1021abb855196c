"""What a session costs, and how it knows what it is: asked of the real server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from MySQLdb.cursors import SSCursor

from mysqlpool.session.session import Session
from tests.helpers import endless, in_thread, rows_of

Connect = Any  # a function that opens a session, closed at the end of the test


@pytest.fixture
def connect(server: Any) -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def open_session(**options: Any) -> Session:
            defaults = {"user": server.user, "password": server.password, "autocommit": True}
            session = Session(host=server.host, port=server.port, **(defaults | options))
            stack.callback(_close, session)
            session.settle()
            return session

        yield open_session


def _close(session: Session) -> None:
    with contextlib.suppress(MySQLdb.OperationalError):  # closed by the test
        session.close()


def run(session: Session, sql: str) -> Any:
    with contextlib.closing(session.cursor()) as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_a_clean_session_costs_no_round_trip(connect: Connect, observer: Any) -> None:
    session = connect()
    run(session, "SELECT 1")
    with observer.counting("Questions", "Com_admin_commands") as sent:
        assert session.restore() is None
        assert not session.readable()
    assert sent == [0, 0]


def test_a_dirty_session_costs_no_round_trip_either(connect: Connect, observer: Any) -> None:
    session = connect()
    session.begin()
    run(session, "SET @a = 1")
    with observer.counting("Questions") as sent:
        assert session.restore() == "SET"
    assert sent == [0]


def test_a_transaction_costs_one_rollback(connect: Connect, observer: Any) -> None:
    session = connect()
    session.begin()
    with observer.counting("Questions", "Com_rollback") as sent:
        assert session.restore() is None
    assert sent == [1, 1]
    assert not session.in_transaction


def test_autocommit_is_restored_after_the_rollback(connect: Connect, observer: Any) -> None:
    """In this order: switching autocommit on would commit."""
    run(connect(), "CREATE DATABASE ended")
    try:
        session = connect(database="ended")
        run(session, "CREATE TABLE rows_ (id INT) ENGINE=InnoDB")
        session.autocommit(False)
        run(session, "INSERT INTO rows_ VALUES (1)")
        with observer.counting("Questions", "Com_rollback", "Com_set_option") as sent:
            assert session.restore() is None
        assert sent == [2, 1, 1]
        assert run(session, "SELECT @@autocommit") == ((1,),)
        assert run(session, "SELECT COUNT(*) FROM rows_") == ((0,),)
    finally:
        run(connect(), "DROP DATABASE ended")


def test_autocommit_off_without_work_costs_no_rollback(connect: Connect, observer: Any) -> None:
    session = connect()
    session.autocommit(False)
    run(session, "SELECT 1")
    session.commit()
    with observer.counting("Com_rollback", "Com_set_option") as sent:
        assert session.restore() is None
    assert sent == [0, 1]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_baseline_without_autocommit_stays_so(connect: Connect, observer: Any, end: str) -> None:
    session = connect(autocommit=False)
    run(session, "SELECT 1")
    getattr(session, end)()
    with observer.counting("Questions") as sent:
        assert session.restore() is None
    assert sent == [0]
    run(session, "SELECT 1")
    with observer.counting("Questions", "Com_rollback") as sent:
        assert session.restore() is None
    assert sent == [1, 1]
    assert not session.get_autocommit()


def test_it_knows_whether_it_is_in_a_transaction(connect: Connect) -> None:
    session = connect()
    seen = []
    for sql in ("SELECT 1", "BEGIN", "SAVEPOINT a", "ROLLBACK TO a", "COMMIT", "START TRANSACTION"):
        run(session, sql)
        seen.append(session.in_transaction)
    assert seen == [False, True, True, True, False, True]
    session.rollback()
    assert not session.in_transaction
    session.autocommit(False)
    assert not session.in_transaction
    run(session, "SELECT 1")
    assert session.in_transaction
    session.autocommit(True)
    assert not session.in_transaction


def test_autocommit_that_does_not_change_ends_no_transaction(connect: Connect) -> None:
    session = connect()
    session.begin()
    session.autocommit(True)
    assert session.in_transaction


def test_a_failed_end_of_a_transaction_ends_none(connect: Connect) -> None:
    session = connect()
    session.begin()
    with pytest.raises(MySQLdb.ProgrammingError):
        run(session, "COMMIT; nonsense")
    assert session.in_transaction


def test_the_setup_is_the_baseline(connect: Connect) -> None:
    session = connect(init_command="SET @a = 1", sql_mode="ANSI", charset="latin1")
    run(session, "SET SESSION lc_time_names = 'de_DE'")
    assert session.dirty == "SET"
    session.settle()
    assert session.restore() is None


def test_a_session_that_was_never_set_up_is_not_for_the_pool(server: Any) -> None:
    with Session(host=server.host, port=server.port, user=server.user) as session:
        assert session.restore() == "not set up"


@pytest.mark.parametrize("left", ["all", "some"])
def test_an_abandoned_server_side_cursor_makes_it_unfit(connect: Connect, left: str) -> None:
    session = connect()
    cursor = session.cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2")
    if left == "some":
        cursor.fetchone()
    assert session.restore() == "error 2014"


def test_a_server_side_cursor_that_was_read_does_no_harm(connect: Connect) -> None:
    session = connect()
    cursor = session.cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2")
    assert len(cursor.fetchall()) == 2
    assert session.restore() is None


def test_results_left_unread_make_it_unfit(connect: Connect) -> None:
    several = connect()
    several.cursor().execute("SELECT 1; SELECT 2")
    assert several.restore() == "unread results"
    stored = connect()
    stored.query("SELECT 1")
    assert stored.restore() == "error 2014"


def test_an_answer_that_nobody_waited_for_makes_it_unfit(connect: Connect) -> None:
    session = connect()
    session.send_query("SELECT 1")
    assert session.restore() == "send_query"


def test_a_session_the_server_closed_is_readable(connect: Connect, observer: Any) -> None:
    session = connect()
    observer.kill(session.thread_id())
    assert session.readable()
    assert not session.check(1)
    assert session.broken


def test_a_statement_that_loses_the_server_breaks_the_session(
    connect: Connect, observer: Any
) -> None:
    session = connect()
    observer.kill(session.thread_id())
    with pytest.raises(MySQLdb.OperationalError):
        run(session, "SELECT 1")
    assert session.broken in ("error 2006", "error 2013")
    assert session.restore() == session.broken


def test_a_server_lost_at_the_rollback_is_a_reason_and_no_error(
    connect: Connect, observer: Any
) -> None:
    session = connect()
    session.begin()
    observer.kill(session.thread_id())
    assert session.restore() in ("error 2006", "error 2013")


def test_a_closed_session_is_unfit(connect: Connect) -> None:
    session = connect()
    session.close()
    assert session.restore() == "disconnected"


def test_a_server_lost_while_rows_were_read_is_not_forgotten(
    connect: Connect, observer: Any
) -> None:
    """The driver does not tell: its next call succeeds. And the socket's number is free."""
    session = connect(database="mysql")
    session.query(rows_of(300, "REPEAT('x', 1000000)"))
    rows = session.use_result()
    rows.fetch_row()
    fd = session.fileno()
    observer.kill(session.thread_id())
    with pytest.raises(MySQLdb.OperationalError):
        rows.fetch_row(0)
    with contextlib.suppress(MySQLdb.OperationalError):
        rows.discard()
    reader, writer = os.pipe()
    try:
        os.dup2(reader, fd)  # what another thread's open() may do at any time
        assert not session.readable()
        assert session.restore() == "disconnected"
    finally:
        for number in {reader, writer, fd}:
            os.close(number)


@pytest.mark.parametrize("converters", [None, {}], ids=["the driver's converters", "none"])
def test_a_read_only_transaction_that_was_asked_for_leaves_the_session_fit(
    connect: Connect, converters: dict[Any, Any] | None
) -> None:
    """Whatever an engine does with the numbers that it reads."""
    options = {} if converters is None else {"conv": converters}
    session = connect(database="mysql", **options)
    session.query("START TRANSACTION READ ONLY")
    with pytest.raises(MySQLdb.OperationalError) as caught:
        session.query("DELETE FROM mysql.help_relation WHERE help_topic_id = 0")
    assert caught.value.args[0] == 1792
    assert session.restore() is None
    assert session.failure is None


def test_a_cursor_tells_of_a_server_lost_while_rows_were_read(
    connect: Connect, observer: Any
) -> None:
    session = connect(database="mysql")
    cursor = session.cursor(SSCursor)
    cursor.execute(rows_of(300, "REPEAT('x', 1000000)"))
    cursor.fetchone()
    observer.kill(session.thread_id())
    with pytest.raises(MySQLdb.OperationalError):
        cursor.fetchall()
    assert session.broken in ("error 2006", "error 2013")


def test_a_killed_statement_leaves_the_session_usable(connect: Connect, observer: Any) -> None:
    session = connect()
    number = session.thread_id()
    running = "SELECT 1 FROM information_schema.processlist WHERE id = %s AND command = 'Query'"

    def kill() -> None:
        observer.until(lambda: bool(observer.query(running, number)))
        observer.query(f"KILL QUERY {number}")

    with in_thread(kill), pytest.raises(MySQLdb.OperationalError, match="1317"):
        run(session, f"SELECT {endless()}")
    assert session.restore() is None
    assert run(session, "SELECT 1") == ((1,),)


def test_a_reason_holds_no_value(connect: Connect) -> None:
    session = connect()
    with pytest.raises(MySQLdb.Error):
        run(session, "hunter2 is the password")
    assert session.restore() == "a statement that was not recognised"
    session = connect()
    run(session, "SET @hunter2 = 'hunter2'")
    assert session.restore() == "SET"


def test_a_check_costs_one_statement_and_leaves_no_trace(connect: Connect, observer: Any) -> None:
    session = connect(autocommit=False)
    with observer.counting("Questions") as sent:
        assert session.check(10)
        assert session.restore() is None
    assert sent == [1]
    assert run(session, "SELECT 1") == ((1,),)


def test_text_is_read_as_the_server_reads_it(connect: Connect) -> None:
    """A backslash is an ordinary character for this server, and the string ends before INTO."""
    session = connect(init_command="SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
    run(session, r"SELECT '\' INTO @a -- '")
    assert session.dirty == "a user variable"
    session = connect(init_command="SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
    with contextlib.closing(session.cursor()) as cursor:
        cursor.execute("SELECT %s", ("\\' @a \\",))
        assert cursor.fetchall() == (("\\' @a \\",),)
    assert session.dirty is None


def test_where_a_backslash_may_be_half_a_character_it_is_in_doubt(connect: Connect) -> None:
    session = connect(charset="gbk")
    session.query(b"SELECT '\xbf\x5c' INTO @a -- '")
    assert session.dirty
    session = connect(charset="gbk")
    run(session, "SELECT 'plain'")
    assert session.dirty is None


def test_statements_may_be_text_or_bytes_or_a_bytearray(connect: Connect) -> None:
    session = connect()
    for sql in ("SET @a = 1", b"SET @a = 1", bytearray(b"SET @a = 1")):
        session.settle()
        session.query(sql)
        assert session.dirty == "SET"


@pytest.mark.filterwarnings("ignore:The reconnect parameter:DeprecationWarning")
def test_a_reconnect_by_the_driver_makes_it_dirty(connect: Connect) -> None:
    session = connect()
    session.ping()
    assert session.dirty is None
    session.ping(True)
    assert session.dirty == "ping with reconnect"
