"""Transactions that begin with their first statement, on a session of a real server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from MySQLdb.cursors import SSCursor

from mysqlpool.session.block import HARMLESS
from mysqlpool.session.session import Session
from tests.faults.proxy import Answer, Proxy
from tests.helpers import HANG, in_thread

PARENT = "parents_of_blocks"
TABLE = "rows_of_blocks"
TABLES = (
    f"CREATE TABLE {PARENT} (id INT PRIMARY KEY) ENGINE=InnoDB",
    f"INSERT INTO {PARENT} VALUES (1), (2)",
    f"""CREATE TABLE {TABLE} (
        id INT PRIMARY KEY, tiny TINYINT NOT NULL DEFAULT 0, wanted INT NOT NULL,
        word VARCHAR(3) NOT NULL DEFAULT '', born DATE, parent INT NOT NULL DEFAULT 1,
        CONSTRAINT few CHECK (tiny < 100), FOREIGN KEY (parent) REFERENCES {PARENT} (id)
    ) ENGINE=InnoDB""",
    f"INSERT INTO {TABLE} (id, wanted) VALUES (1, 1), (2, 2)",
)

STATEMENTS = {
    1048: f"INSERT INTO {TABLE} (id, wanted) VALUES (9, NULL)",
    1052: f"SELECT id FROM {TABLE} JOIN {PARENT}",
    1054: f"UPDATE {TABLE} SET nothing = 1",
    1062: f"INSERT INTO {TABLE} (id, wanted) VALUES (9, 1), (1, 1)",
    1064: "SELECT * FORM nowhere",
    1136: f"INSERT INTO {TABLE} (id, wanted) VALUES (9)",
    1146: "DELETE FROM no_such_table",
    1242: "SELECT (SELECT 1 UNION SELECT 2)",
    1264: f"UPDATE {TABLE} SET tiny = 1000",
    1292: f"UPDATE {TABLE} SET born = 'yesterday'",
    1364: f"INSERT INTO {TABLE} (id) VALUES (9)",
    1366: f"UPDATE {TABLE} SET wanted = 'many'",
    1406: f"UPDATE {TABLE} SET word = 'long'",
    1451: f"DELETE FROM {PARENT} WHERE id = 1",
    1452: f"UPDATE {TABLE} SET parent = 7",
    1690: f"SELECT 18446744073709551615 + id FROM {TABLE}",
    3819: f"UPDATE {TABLE} SET tiny = 100",
    4025: f"UPDATE {TABLE} SET tiny = 100",
}

ONE_ROW = f"INSERT INTO {TABLE} (id, wanted) VALUES (5, 5)"
KILL = "KILL QUERY CONNECTION_ID()"


@pytest.fixture(autouse=True)
def _tables(server: Any, observer: Any) -> Iterator[None]:
    for sql in TABLES:
        observer.query(sql.replace(PARENT, f"{server.name}.{PARENT}").replace(TABLE, where(server)))
    yield
    observer.query(f"DROP TABLE {where(server)}, {server.name}.{PARENT}")


def where(server: Any) -> str:
    return f"{server.name}.{TABLE}"


@pytest.fixture(params=["fused", "separate"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def session(server: Any, mode: str) -> Iterator[Session]:
    with connected(server, mode) as session:
        yield session


@contextlib.contextmanager
def connected(server: Any, mode: str, **options: Any) -> Iterator[Session]:
    account = {"user": server.user, "password": server.password, "database": server.name}
    where = {"host": server.host, "port": server.port}
    session = Session(**{**where, **account, "autocommit": True, **options})
    session.begin_mode = mode
    session.settle()
    try:
        yield session
    finally:
        with contextlib.suppress(MySQLdb.Error):
            session.close()


def run(session: Session, sql: str, kind: Any = None) -> Any:
    with contextlib.closing(session.cursor(kind)) as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def number_of(error: Any) -> int:
    return int(error.value.args[0])


def is_committed(server: Any, observer: Any, key: int = 5) -> bool:
    return bool(observer.query(f"SELECT 1 FROM {where(server)} WHERE id = {key}"))


def test_each_harmless_error_has_a_statement_here() -> None:
    assert STATEMENTS.keys() == HARMLESS


@pytest.mark.parametrize("number", STATEMENTS)
def test_a_harmless_error_leaves_the_transaction_open(
    session: Session, server: Any, observer: Any, flavour: str, number: int
) -> None:
    if number == {"mariadb": 3819, "mysql": 4025}[flavour]:
        pytest.skip("the other server's number")
    session.autocommit(False)
    run(session, ONE_ROW)
    with observer.counting("Com_set_option") as switched, pytest.raises(MySQLdb.Error) as error:
        run(session, STATEMENTS[number])
        run(session, "SELECT 1")
    assert number_of(error) == number
    assert switched == [0]
    assert not is_committed(server, observer)
    session.rollback()
    session.autocommit(True)
    assert not is_committed(server, observer)
    assert session.restore() is None


@pytest.mark.parametrize("number", STATEMENTS)
def test_a_first_statement_that_fails_begins_the_transaction_all_the_same(
    session: Session, server: Any, observer: Any, flavour: str, number: int
) -> None:
    if number == {"mariadb": 3819, "mysql": 4025}[flavour]:
        pytest.skip("the other server's number")
    session.autocommit(False)
    with pytest.raises(MySQLdb.Error) as error:
        run(session, STATEMENTS[number])
    assert number_of(error) == number
    run(session, ONE_ROW)
    assert not is_committed(server, observer)
    session.commit()
    assert is_committed(server, observer)


@pytest.mark.parametrize("first", [ONE_ROW, KILL], ids=["begun", "not begun"])
def test_after_any_other_error_the_server_is_told_that_autocommit_is_off(
    session: Session, server: Any, observer: Any, first: str
) -> None:
    session.autocommit(False)
    with contextlib.suppress(MySQLdb.OperationalError):
        run(session, first)
    with pytest.raises(MySQLdb.OperationalError) as error:
        run(session, KILL)
    assert number_of(error) == 1317
    run(session, f"UPDATE {TABLE} SET wanted = 7 WHERE id = 1")
    assert run(session, "SELECT @@autocommit") == ((0,),)
    assert not session.get_autocommit()
    session.rollback()
    session.autocommit(True)
    assert run(session, f"SELECT wanted FROM {TABLE} WHERE id = 1") == ((1,),)
    assert session.restore() is None


def test_what_a_deadlock_undid_is_not_half_committed(
    session: Session, server: Any, observer: Any
) -> None:
    """What follows it is a transaction of its own, as with autocommit off; never single commits."""
    with connected(server, "autocommit") as other:
        run(other, "BEGIN")
        run(other, f"UPDATE {TABLE} SET word = 'x', tiny = 1 WHERE id = 2")
        run(other, f"INSERT INTO {TABLE} (id, wanted) VALUES (20, 1), (21, 1), (22, 1)")
        session.autocommit(False)
        run(session, f"UPDATE {TABLE} SET wanted = 10 WHERE id = 1")
        with in_thread(lambda: run(other, f"UPDATE {TABLE} SET wanted = 11 WHERE id = 1")):
            wait_for_lock(observer)
            with pytest.raises(MySQLdb.OperationalError) as error:
                run(session, f"UPDATE {TABLE} SET wanted = 12 WHERE id = 2")
        assert number_of(error) == 1213
        other.rollback()
    run(session, ONE_ROW)
    assert not is_committed(server, observer)
    session.rollback()
    session.autocommit(True)
    assert run(session, f"SELECT id, wanted FROM {TABLE} ORDER BY id") == ((1, 1), (2, 2))


def wait_for_lock(observer: Any) -> None:
    end = time.monotonic() + HANG
    while observer.status("Innodb_row_lock_current_waits") == [0]:
        assert time.monotonic() < end, "nobody waits for a lock"
        time.sleep(0.002)


@contextlib.contextmanager
def answered(server: Any, instead: bytes, *, close: bool) -> Iterator[Session]:
    """A session whose transaction begins with this answer, and perhaps the end of it all."""
    plain = {"host": Proxy.host, "ssl_mode": "DISABLED"}
    with Proxy(server) as proxy, connected(server, "fused", port=proxy.port, **plain) as session:
        session.autocommit(False)
        proxy.answer(Answer(b"START TRANSACTION", instead=instead, close=close))
        yield session


def test_a_statement_that_the_server_left_out_is_an_error(server: Any, observer: Any) -> None:
    """Killed between two statements of one packet it says nothing: there is an answer too few."""
    done = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"
    with answered(server, done, close=False) as session:
        with pytest.raises(MySQLdb.OperationalError) as error:
            run(session, ONE_ROW)
        assert number_of(error) == 1317
        session.rollback()
    assert not is_committed(server, observer)


def test_a_connection_that_ends_between_the_parts_has_done_nothing(
    server: Any, observer: Any
) -> None:
    more_results = b"\x07\x00\x00\x01\x00\x00\x00\x0b\x00\x00\x00"
    with answered(server, more_results, close=True) as session:
        with pytest.raises(MySQLdb.OperationalError) as error:
            run(session, ONE_ROW)
        assert number_of(error) in (2006, 2013)
        assert session.restore() == f"error {number_of(error)}"
    assert not is_committed(server, observer)


def test_a_long_statement_goes_out_by_itself(server: Any, observer: Any, session: Session) -> None:
    """What is sent ahead of it would make it longer than the server may take."""
    session.autocommit(False)
    run(session, f"SELECT LENGTH('{'x' * 20_000}')")
    run(session, ONE_ROW)
    assert not is_committed(server, observer)
    session.rollback()
    assert not is_committed(server, observer)


def test_without_multiple_statements_the_beginning_goes_out_by_itself(
    server: Any, observer: Any
) -> None:
    with (
        connected(server, "fused", multi_statements=False) as session,
        observer.counting("Questions", "Com_begin", "Com_commit") as sent,
    ):
        session.autocommit(False)
        session.savepoint("SAVEPOINT `a`")
        run(session, ONE_ROW)
        session.commit()
    assert sent[:3] == [4, 1, 1]
    assert is_committed(server, observer)


def test_of_several_statements_in_a_text_each_has_its_result(session: Session) -> None:
    session.autocommit(False)
    with contextlib.closing(session.cursor()) as cursor:
        cursor.execute("SELECT 1; SELECT 2")
        assert cursor.fetchall() == ((1,),)
        assert cursor.nextset()
        assert cursor.fetchall() == ((2,),)
        assert cursor.nextset() is None
    session.rollback()


def test_rows_that_are_read_one_by_one_come_from_the_transaction(session: Session) -> None:
    session.autocommit(False)
    run(session, ONE_ROW)
    assert run(session, f"SELECT id FROM {TABLE} ORDER BY id", SSCursor) == ((1,), (2,), (5,))
    session.rollback()
    session.autocommit(False)
    assert run(session, f"SELECT id FROM {TABLE} ORDER BY id", SSCursor) == ((1,), (2,))


def test_what_the_driver_tells_is_of_the_statement(session: Session) -> None:
    session.autocommit(False)
    with contextlib.closing(session.cursor()) as cursor:
        cursor.execute(f"UPDATE {TABLE} SET wanted = 9")
        assert cursor.rowcount == 2
        assert "Rows matched: 2  Changed: 2" in str(session.info())
        session.savepoint("SAVEPOINT `a`")
        cursor.execute(f"INSERT IGNORE INTO {TABLE} (id, wanted) VALUES (1, 1)")
        assert session.warning_count() == 1
        cursor.execute("SHOW WARNINGS")
        assert [row[1] for row in cursor.fetchall()] == [1062]
    session.rollback()


def test_the_words_for_an_error_can_be_asked_for(session: Session) -> None:
    session.autocommit(False)
    run(session, ONE_ROW)
    with pytest.raises(MySQLdb.OperationalError):
        run(session, KILL)
    with contextlib.closing(session.cursor()) as cursor:
        cursor.execute("SHOW ERRORS")
        assert [row[1] for row in cursor.fetchall()] == [1317]
    assert run(session, "SELECT @@autocommit") == ((0,),)  # It was in doubt all the same.
    session.rollback()


@pytest.mark.parametrize(
    "leave",
    [
        "DROP TABLE IF EXISTS no_such_table",
        "SET @a = 1",
        "CREATE TEMPORARY TABLE mine (id INT)",
        "LOCK TABLES rows_of_blocks WRITE",
        "SELECT 1; COMMIT",
        "SAVEPOINT by_hand",
        "ANALYZE TABLE rows_of_blocks",
        "START TRANSACTION READ ONLY",
    ],
)
def test_what_does_more_than_read_and_write_rows_is_done_with_autocommit_off(
    session: Session, leave: str
) -> None:
    session.autocommit(False)
    run(session, "SELECT 1")
    run(session, leave)
    assert not session.get_autocommit()
    assert run(session, "SELECT @@autocommit") == ((0,),)
    session.autocommit(True)
    assert run(session, "SELECT @@autocommit") == ((1,),)


def test_a_dirty_session_begins_as_on_djangos_engine(session: Session) -> None:
    """What made it dirty may be what a transaction begins with, or locks that it would end."""
    run(session, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    session.autocommit(False)
    assert run(session, "SELECT @@autocommit") == ((0,),)
    session.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_one_transaction_after_another_by_hand(
    session: Session, server: Any, observer: Any, end: str
) -> None:
    session.autocommit(False)
    for key in (5, 6):
        getattr(session, end)()
        run(session, f"INSERT INTO {TABLE} (id, wanted) VALUES ({key}, 1)")
        assert not is_committed(server, observer, key)
        getattr(session, end)()
        assert is_committed(server, observer, key) is (end == "commit")
    session.autocommit(True)
    run(session, f"INSERT INTO {TABLE} (id, wanted) VALUES (7, 1)")
    assert is_committed(server, observer, 7)


def test_to_switch_autocommit_on_commits(session: Session, server: Any, observer: Any) -> None:
    session.autocommit(False)
    run(session, ONE_ROW)
    session.autocommit(True)
    assert is_committed(server, observer)


def test_a_release_in_a_transaction_undoes_it(session: Session, server: Any, observer: Any) -> None:
    session.autocommit(False)
    run(session, ONE_ROW)
    assert session.in_transaction
    assert session.restore() is None
    assert session.get_autocommit()
    run(session, f"INSERT INTO {TABLE} (id, wanted) VALUES (6, 6)")
    assert not is_committed(server, observer, 5)
    assert is_committed(server, observer, 6)


def test_a_release_before_the_first_statement_sends_nothing(
    session: Session, observer: Any
) -> None:
    with observer.counting("Questions") as sent:
        session.autocommit(False)
        session.savepoint("SAVEPOINT `a`")
        assert session.restore() is None
    assert sent == [0]
