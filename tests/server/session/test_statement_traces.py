"""Statements that look harmless and are not, and the reverse: asked of the real server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from MySQLdb.connections import Connection

from mysqlpool.session.statements import USER_VARIABLE, Classifier, Effect
from tests.server import PrivateServer, Server

classifier = Classifier()
OURS = "WHERE processlist_id = CONNECTION_ID()"
INSTRUMENTED = f"SELECT instrumented FROM performance_schema.threads {OURS}"


def rows(connection: Connection, sql: str) -> Any:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def parameters(server: Server) -> dict[str, Any]:
    names = ("host", "port", "user", "password")
    return {name: getattr(server, name) for name in names} | {"autocommit": True}


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    connection = MySQLdb.connect(**parameters(server))
    yield connection
    with contextlib.suppress(MySQLdb.Error):  # killed by the test
        connection.close()


@pytest.fixture(scope="module")
def telling_server() -> Iterator[Server]:
    """One whose performance schema tells of threads, and that keeps a binary log."""
    options = ["--performance-schema=ON", "--log-bin=log", "--server-id=1"]
    with PrivateServer(options) as server:
        yield server


@pytest.fixture
def watched(telling_server: Server) -> Iterator[Connection]:
    with contextlib.closing(MySQLdb.connect(**parameters(telling_server))) as connection:
        rows(connection, "CREATE DATABASE watched")
        rows(connection, "USE watched")
        rows(connection, "CREATE TABLE numbers (number INT)")
        yield connection
        rows(connection, "DROP DATABASE watched")


@pytest.mark.mysql
@pytest.mark.parametrize("rest", ["1", "nonsense"])
def test_a_hint_that_sets_the_timestamp_stops_the_clock(rest: str, connection: Connection) -> None:
    """The server takes back the moment at which the statement began, as a moment."""
    sql = f"SELECT /*+ SET_VAR(timestamp = 1) */ {rest}"
    with contextlib.suppress(MySQLdb.OperationalError):
        rows(connection, sql)
    before = rows(connection, "SELECT NOW(6)")
    rows(connection, "DO SLEEP(0.01)")
    assert rows(connection, "SELECT NOW(6)") == before
    assert classifier.effect(sql.encode()).dirty == "SET_VAR"


@pytest.mark.mysql
def test_other_hints_are_taken_back(connection: Connection) -> None:
    sql = "SELECT /*+ SET_VAR(insert_id = 9) SET_VAR(sql_mode = 'ANSI') */ 1"
    asked = "SELECT @@insert_id, @@sql_mode"
    before = rows(connection, asked)
    rows(connection, sql)
    assert rows(connection, asked) == before
    assert classifier.effect(sql.encode()).dirty is None


@pytest.mark.mariadb
@pytest.mark.parametrize("kind", ["DATABASE", "SCHEMA"])
def test_a_database_that_is_replaced_is_no_longer_selected(
    kind: str, connection: Connection
) -> None:
    sql = f"CREATE OR REPLACE {kind} replaced"
    rows(connection, sql)
    try:
        rows(connection, "USE replaced")
        rows(connection, sql)
        assert rows(connection, "SELECT DATABASE()") == ((None,),)
    finally:
        rows(connection, "DROP DATABASE replaced")
    assert classifier.effect(sql.encode()).dirty == "CREATE"


THREADS = "performance_schema.threads"
OFF = "SET instrumented = 'NO' WHERE processlist_id = CONNECTION_ID()"


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE ({THREADS}) {OFF}",
        f"UPDATE watched.numbers RIGHT JOIN {THREADS} ON TRUE {OFF}",
        pytest.param(f"ANALYZE UPDATE {THREADS} {OFF}", marks=pytest.mark.mariadb),
        pytest.param(f"WITH a AS (SELECT 1) UPDATE {THREADS}, a {OFF}", marks=pytest.mark.mysql),
    ],
)
def test_an_update_may_switch_the_instruments_of_this_thread_off(
    sql: str, watched: Connection
) -> None:
    assert rows(watched, INSTRUMENTED) == (("YES",),)
    rows(watched, sql)
    assert rows(watched, INSTRUMENTED) == (("NO",),)
    assert classifier.effect(sql.encode()).dirty == "UPDATE"


USER_VARIABLES = {
    "mariadb": "SELECT variable_name FROM information_schema.user_variables",
    "mysql": "SELECT variable_name FROM performance_schema.user_variables_by_thread",
}


@pytest.mark.parametrize(
    "sql", ["SELECT @nobodys", "SELECT 1 FROM numbers WHERE number = @nobodys", "DO @nobodys"]
)
def test_to_read_an_unknown_user_variable_leaves_nothing(
    sql: str, watched: Connection, flavour: str
) -> None:
    rows(watched, sql)
    assert rows(watched, USER_VARIABLES[flavour]) == ()
    assert classifier.effect(sql.encode()) == Effect(reads=USER_VARIABLE, rows=True)


@pytest.mark.parametrize(
    "sql", ["INSERT INTO numbers VALUES (@nobodys)", "REPLACE INTO numbers SELECT @nobodys"]
)
def test_to_write_what_an_unknown_user_variable_holds_leaves_it_behind(
    sql: str, watched: Connection, flavour: str
) -> None:
    """Where there is a binary log. Its value is NULL, but it is there."""
    rows(watched, sql)
    assert rows(watched, USER_VARIABLES[flavour]) == (("nobodys",),)
    assert classifier.effect(sql.encode()).dirty == USER_VARIABLE


@pytest.mark.parametrize("whom", ["{}", "CONNECTION {}", "CONNECTION_ID()", "(SELECT {})"])
def test_who_kills_the_own_connection_is_told_so_by_no_disconnect(
    whom: str, connection: Connection, flavour: str
) -> None:
    sql = f"KILL {whom.format(connection.thread_id())}"
    with pytest.raises(MySQLdb.OperationalError) as caught:
        rows(connection, sql)
    assert caught.value.args[0] == {"mariadb": 1927, "mysql": 1317}[flavour]
    with pytest.raises(MySQLdb.OperationalError) as caught:
        rows(connection, "SELECT 1")
    assert caught.value.args[0] in (2006, 2013)
    assert classifier.effect(sql.encode()).dirty == "KILL"


def test_who_kills_the_own_statement_goes_on(connection: Connection) -> None:
    sql = "KILL QUERY CONNECTION_ID()"
    with pytest.raises(MySQLdb.OperationalError, match="1317"):
        rows(connection, sql)
    assert rows(connection, "SELECT 1") == ((1,),)
    assert classifier.effect(sql.encode()).dirty is None


@pytest.mark.parametrize(
    "asked",
    [
        "LAST_INSERT_ID /* */ ()",
        "`LAST_INSERT_ID`()",
        "`last_insert_id` /**/ ( )",
        "@@`identity`",
        "@@session.`identity`",
        '@@session."identity"',
        "@@session/**/.identity",
        "@@local . last_insert_id",
    ],
)
def test_the_last_id_is_asked_for_in_many_spellings(asked: str, connection: Connection) -> None:
    rows(connection, "DO LAST_INSERT_ID(77)")
    sql = f"SELECT {asked}"
    assert rows(connection, sql) == ((77,),)
    assert classifier.effect(sql.encode()).reads
