"""COM_CHANGE_USER takes back what a text of constants assigned, and the text names all of that.

Asked for every variable that the server at hand lets a session set.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from MySQLdb.connections import Connection

from mysqlpool.session.assignments import assigned
from tests.server import Server

# They change by themselves, from one statement to the next or from one session to another.
RESTLESS = {
    "timestamp",
    "pseudo_thread_id",
    "rand_seed1",
    "rand_seed2",
    "statement_id",
    "warning_count",
    "error_count",
}
# Another value of most variables is one of these.
VALUES = [
    "ON",
    "OFF",
    "latin1",
    "latin1_bin",
    "utf8mb4_bin",
    "utf8mb4_general_ci",
    "de_DE",
    "+05:00",
    "MEMORY",
    "MyISAM",
    "ANSI_QUOTES",
    "STATE",
    "NONE",
    "SERIALIZABLE",
    "ALL",
    "FORCED",
    "STATEMENT",
    "MINIMAL",
    "EVENTUAL",
    "STRICT",
    "TREE",
    "JSON",
    "DOTALL",
    "NULLS_EQUAL",
    "FILTERED",
    "innodb",
    "admin",
    "basic",
    "COPY",
    "SINGLE_PREC_HB",
    "big5",
]


@pytest.fixture
def parameters(server: Server) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "autocommit": True,
    }


@pytest.fixture
def connection(parameters: dict[str, Any]) -> Iterator[Connection]:
    with contextlib.closing(MySQLdb.connect(**parameters)) as connection:
        yield connection


def rows(connection: Connection, sql: str) -> Any:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(sql)
        found = cursor.fetchall()
        while cursor.nextset():
            pass
        return found


def variables(connection: Connection) -> dict[str, str]:
    return dict(rows(connection, "SHOW SESSION VARIABLES"))


def start_again(connection: Connection, server: Server) -> dict[str, str]:
    connection.change_user(server.user, server.password, "")
    return variables(connection)


def differences(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in after if after[name] != before.get(name)} - RESTLESS


def others(value: str) -> Iterator[str]:
    """Literals that may be legal where this value is."""
    if re.fullmatch(r"-?\d+", value):
        number = int(value)
        yield from map(str, (number + 1, number * 2, number + 4096, number - 1, number // 2))
    if re.fullmatch(r"-?\d+\.\d+", value):
        yield from map(str, (float(value) + 1, float(value) / 2))
    if "=" in value:
        flag, _, state = value.partition(",")[0].partition("=")
        yield f"'{flag}={'off' if state == 'on' else 'on'}'"
    yield from ("1", "0", "2", *(f"'{word}'" for word in VALUES))


def changed(connection: Connection, name: str, before: dict[str, str]) -> tuple[str, set[str]]:
    """Give the variable another value; the statement, and what differs now."""
    for value in others(before[name]):
        sql = f"SET SESSION {name} = {value}"
        if assigned(sql.encode()) is None:
            continue
        with contextlib.suppress(MySQLdb.Error):
            rows(connection, sql)
            if found := differences(before, variables(connection)):
                return sql, found
    return "", set()


def canonical(names: set[str]) -> set[str]:
    """What `assigned` calls these variables."""
    return {one for name in names for one in assigned(f"SET {name} = 1".encode()) or {name}}


def test_what_is_told_as_constants_is_named_and_taken_back(
    connection: Connection, server: Server
) -> None:
    baseline = start_again(connection, server)
    tried = 0
    for name in sorted(baseline):
        sql, found = changed(connection, name, baseline)
        if not found:
            continue
        tried += 1
        named = {one.partition(".")[0] for one in assigned(sql.encode()) or ()}
        assert (sql, canonical(found) - named) == (sql, set())
        assert (sql, differences(baseline, start_again(connection, server))) == (sql, set())
    # A hundred is less than either server has, and more than by chance.
    assert tried > 100


@pytest.mark.parametrize(
    ("told", "left"),
    [
        pytest.param("profiling = 1", "SHOW PROFILES", marks=pytest.mark.mariadb),
        pytest.param(
            "optimizer_trace = 'enabled=on'",
            "SELECT query FROM information_schema.optimizer_trace",
            marks=pytest.mark.mysql,
        ),
    ],
)
def test_what_leaves_more_than_a_value_is_no_text_of_constants(
    told: str, left: str, connection: Connection, server: Server
) -> None:
    """COM_CHANGE_USER leaves it, so a session that carried it would hand it on."""
    rows(connection, f"SET {told}")
    rows(connection, "SELECT 1")
    start_again(connection, server)
    assert rows(connection, left)
    assert assigned(f"SET {told}".encode()) is None


def test_user_variables_are_taken_back(connection: Connection, server: Server) -> None:
    sql = "SET @a = 1, @`B` := 'x', @\"c\" = .5, @'d e' = TRUE; SET @e = NULL"
    rows(connection, sql)
    assert rows(connection, "SELECT @a, @b, @c, @`d e`")[0][:2] == (1, "x")
    start_again(connection, server)
    assert rows(connection, "SELECT @a, @b, @c, @`d e`") == ((None,) * 4,)
    assert assigned(sql.encode()) == frozenset({"@a", "@b", "@c", "@d e", "@e"})


def test_what_a_commit_does_is_more_than_a_value(connection: Connection) -> None:
    """With CHAIN a transaction is open after it."""
    rows(connection, "SET SESSION completion_type = 'CHAIN'")
    rows(connection, "BEGIN")
    rows(connection, "COMMIT")
    with pytest.raises(MySQLdb.OperationalError, match="1568"):
        rows(connection, "SET TRANSACTION READ ONLY")
    assert assigned(b"SET SESSION completion_type = 'CHAIN'") is None


TEXTS = [
    "SET sql_mode = \"ANSI\", @a = 'x''y'",
    "SET @a = 'it''s', @b = 1, SESSION wait_timeout = 77",
    'SET @a = "x", wait_timeout = 77',
    "SET NAMES latin1 COLLATE latin1_bin, wait_timeout = 77",
    'SET NAMES "latin1"',
    "SET CHARACTER SET latin1; SET @a = 1",
    "SET SESSION TRANSACTION READ ONLY, ISOLATION LEVEL SERIALIZABLE",
    "SET time_zone = SYSTEM, sql_notes = OFF, @b = NULL, @a = 1 -- 2\n, sql_warnings = ON",
    "SET max_join_size = 1000, wait_timeout = -1",
]


@pytest.mark.parametrize("mode", ["", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI"])
@pytest.mark.parametrize("sql", TEXTS)
def test_in_each_mode_no_more_changes_than_the_text_names(
    sql: str, mode: str, connection: Connection
) -> None:
    rows(connection, f"SET sql_mode = '{mode}'")
    before = variables(connection)
    with contextlib.suppress(MySQLdb.Error):
        rows(connection, sql)
    found = canonical(differences(before, variables(connection)))
    found |= {f"@{name}" for name in "ab" if rows(connection, f"SELECT @{name}") != ((None,),)}
    names = assigned(sql.encode())
    assert names is not None
    assert found <= names


@pytest.mark.parametrize("scope", ["@@", "", "@@SESSION."])
def test_two_at_signs_without_a_scope_mean_the_next_transaction(
    scope: str, connection: Connection, flavour: str
) -> None:
    name = {"mariadb": "tx_isolation", "mysql": "transaction_isolation"}[flavour]
    sql = f"SET {scope}{name} = 'SERIALIZABLE'"
    rows(connection, sql)
    of_the_session = variables(connection)[name] == "SERIALIZABLE"
    assert of_the_session == (scope != "@@")
    assert (assigned(sql.encode()) is not None) == of_the_session
