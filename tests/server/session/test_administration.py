"""What is done for all of the server's sessions leaves nothing in this one: asked of the server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from MySQLdb.connections import Connection

from mysqlpool.session.statements import PLAIN, Classifier
from tests.server import PrivateServer, Server

from .test_state import IN_TRANSACTION, do

classifier = Classifier()

BLOCK = "BEGIN DECLARE a INT; SET @mine = 1; IF a THEN SET a = GET_LOCK('mine', 0); END IF; END"
# In this order, each with what comes before it.
STATEMENTS = [
    "FLUSH STATUS",
    "FLUSH PRIVILEGES",
    "FLUSH LOCAL PRIVILEGES, STATUS",
    "FLUSH LOGS",
    "FLUSH BINARY LOGS, ENGINE LOGS, ERROR LOGS, GENERAL LOGS, SLOW LOGS, RELAY LOGS",
    "FLUSH USER_RESOURCES",
    "FLUSH TABLES",
    "FLUSH NO_WRITE_TO_BINLOG TABLE numbers, `watched` . `more`",
    "CREATE USER 'a'@'%', b@localhost",
    "GRANT SELECT, INSERT (number) ON watched.numbers TO a, b@localhost WITH GRANT OPTION",
    "GRANT ALL ON watched.* TO 'a'@'%'",
    "REVOKE ALL PRIVILEGES, GRANT OPTION FROM `a`@`%`",
    "ALTER USER a WITH MAX_QUERIES_PER_HOUR 3",
    "RENAME USER b@localhost TO c@localhost",
    "CREATE ROLE clerk",
    "GRANT SELECT ON watched.* TO clerk",
    "GRANT clerk TO a",
    "GRANT clerk TO CURRENT_USER()",
    "REVOKE clerk FROM a",
    "DROP ROLE IF EXISTS clerk",
    "DROP USER a, c@localhost",
    "SET GLOBAL sort_buffer_size = 300000, GLOBAL join_buffer_size = 300000",
    "SET @@GLOBAL.sql_mode = 'ANSI', GLOBAL time_zone = '+05:00'",
    "SET GLOBAL foreign_key_checks = OFF, GLOBAL wait_timeout = 7, GLOBAL sql_warnings = ON",
    "SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET GLOBAL TRANSACTION READ ONLY",
    "SET GLOBAL transaction_isolation = DEFAULT, GLOBAL transaction_read_only = DEFAULT",
    "CREATE TRIGGER t BEFORE INSERT ON numbers FOR EACH ROW SET NEW.number = 1, @mine = 2",
    f"CREATE DEFINER = CURRENT_USER TRIGGER u AFTER INSERT ON numbers FOR EACH ROW {BLOCK}",
    "CREATE PROCEDURE p(OUT result INT) SET result = GET_LOCK('mine', 0)",
    f"CREATE PROCEDURE q(INOUT b DECIMAL(5,2)) SQL SECURITY INVOKER COMMENT ';' {BLOCK}",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    "CREATE FUNCTION g(a INT) RETURNS VARCHAR(9) READS SQL DATA BEGIN SET @a = 1; RETURN 1; END",
    "CREATE PROCEDURE r() BEGIN DO 1; END; CREATE PROCEDURE s() BEGIN SET @mine = 1; END; DO 0",
    "ALTER PROCEDURE p COMMENT ';'",
    "ALTER FUNCTION f SQL SECURITY INVOKER",
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2035-01-01' + INTERVAL 1 HOUR DO SET @mine = 1",
    "CREATE EVENT IF NOT EXISTS h ON SCHEDULE AT NOW() + INTERVAL 1 YEAR COMMENT 'a' DO DO 1",
    "CREATE SERVER far FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'a;b')",
    "ALTER SERVER far OPTIONS (HOST 'c')",
    "DROP SERVER far",
]
STATEMENTS_ON = {
    "mariadb": [
        "FLUSH HOSTS, QUERY CACHE, SSL, USER_STATISTICS",
        "CREATE OR REPLACE USER a@'%' IDENTIFIED BY 'b'",
        "SET PASSWORD FOR a = PASSWORD('c')",
        "CREATE OR REPLACE ROLE clerk",
        f"CREATE OR REPLACE PROCEDURE p() {BLOCK}",
    ],
    "mysql": [
        "FLUSH OPTIMIZER_COSTS",
        "CREATE USER a IDENTIFIED BY 'b' PASSWORD EXPIRE NEVER ATTRIBUTE '{\"a\": 1}'",
        "ALTER USER a IDENTIFIED BY 'c' RETAIN CURRENT PASSWORD",
        "ALTER USER a DISCARD OLD PASSWORD",
        "SET PASSWORD FOR a = 'c'",
    ],
}
RENAMED = {"transaction_isolation": "tx_isolation", "transaction_read_only": "tx_read_only"}

# These change by themselves, or with each statement.
RESTLESS = {
    "timestamp",
    "rand_seed1",
    "rand_seed2",
    "error_count",
    "warning_count",
    "in_transaction",
    "last_gtid",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "gtid_executed",
    "pseudo_thread_id",
    "statement_id",
}


@pytest.fixture(scope="module")
def telling_server() -> Iterator[Server]:
    """One whose performance schema tells of locks, and that keeps a binary log."""
    options = ["--performance-schema=ON", "--log-bin=log", "--server-id=1"]
    options += ["--performance-schema-instrument=wait/lock/metadata/sql/mdl=ON"]
    options += ["--log-bin-trust-function-creators=1"]
    with PrivateServer(options) as server:
        yield server


@pytest.fixture
def parameters(telling_server: Server) -> dict[str, Any]:
    names = ("host", "port", "user", "password")
    return {name: getattr(telling_server, name) for name in names} | {"autocommit": True}


@pytest.fixture
def watched(parameters: dict[str, Any]) -> Iterator[Connection]:
    with contextlib.closing(MySQLdb.connect(**parameters)) as connection:
        for sql in (
            "CREATE DATABASE watched",
            "USE watched",
            "CREATE TABLE numbers (number INT)",
            "CREATE TABLE more (number INT)",
        ):
            assert do(connection, sql) == ()
        yield connection
        do(connection, "DROP DATABASE watched")


def global_only(connection: Connection) -> set[str]:
    """The variables that SHOW SESSION VARIABLES tells of and no session has of its own."""
    names = [name for name, _ in do(connection, "SHOW SESSION VARIABLES")]
    return {name for name in names if isinstance(do(connection, f"SELECT @@SESSION.{name}"), int)}


def state(connection: Connection, observer: Connection, ignored: set[str]) -> dict[str, Any]:
    """All that can be asked about a session, by it and by another one."""
    schema = "performance_schema"
    ours = f"(SELECT thread_id FROM {schema}.threads WHERE processlist_id={connection.thread_id()})"
    variables = dict(do(connection, "SHOW SESSION VARIABLES"))
    return {name: value for name, value in variables.items() if name not in ignored} | {
        "who and where": do(connection, "SELECT CURRENT_USER(), CURRENT_ROLE(), DATABASE()"),
        "transaction": do(connection, IN_TRANSACTION),
        "user variables": do(
            observer,
            f"SELECT variable_name FROM {schema}.user_variables_by_thread WHERE thread_id = {ours}",
        ),
        "locks": do(
            observer,
            "SELECT object_type, object_name, lock_type, lock_duration"
            f" FROM {schema}.metadata_locks WHERE owner_thread_id = {ours}",
        ),
        "writes": do(connection, "UPDATE watched.numbers SET number = number"),
    }


def test_it_leaves_the_session_as_it_was(
    watched: Connection, parameters: dict[str, Any], flavour: str
) -> None:
    ignored = RESTLESS | global_only(watched)
    with contextlib.closing(MySQLdb.connect(**parameters)) as observer:
        for sql in STATEMENTS + STATEMENTS_ON[flavour]:
            if flavour == "mariadb":
                for name, former in RENAMED.items():
                    sql = sql.replace(name, former)
            before = state(watched, observer, ignored)
            assert (sql, do(watched, sql)) == (sql, ())
            assert (sql, state(watched, observer, ignored)) == (sql, before)
            assert (sql, classifier.effect(sql.encode())) == (sql, PLAIN)


@pytest.mark.parametrize(
    "sql",
    [
        "FLUSH TABLES WITH READ LOCK",
        "FLUSH TABLES numbers WITH READ LOCK",
        "FLUSH LOCAL TABLES numbers FOR EXPORT",
        "FLUSH TABLES /*! WITH READ LOCK */",
    ],
)
def test_what_takes_a_lock_is_seen_in_the_same_way(
    sql: str, watched: Connection, parameters: dict[str, Any]
) -> None:
    with contextlib.closing(MySQLdb.connect(**parameters)) as observer:
        before = state(watched, observer, RESTLESS)
        do(watched, sql)
        after = state(watched, observer, RESTLESS)
        do(watched, "UNLOCK TABLES")
    assert before["locks"] != after["locks"]
    assert classifier.effect(sql.encode()).dirty


def test_a_global_variable_does_not_reach_the_session(
    watched: Connection, parameters: dict[str, Any]
) -> None:
    """Nearly all of those that both have, each with another value; the others are not clean."""
    ignored = RESTLESS | global_only(watched)
    before = dict(do(watched, "SHOW SESSION VARIABLES"))
    tried = 0
    for name, value in do(watched, "SHOW GLOBAL VARIABLES"):
        for other in others(value):
            sql = f"SET GLOBAL {name} = {other}"
            if name in ignored or classifier.effect(sql.encode()) != PLAIN:
                break
            if do(watched, sql) == ():
                tried += 1
                break
    after = dict(do(watched, "SHOW SESSION VARIABLES"))
    changed = {name for name in after.keys() - ignored if after[name] != before[name]}
    # No session can have one of its own.
    assert changed <= {"max_user_connections"}
    assert tried > 100


def others(value: str) -> list[str]:
    if value in ("ON", "OFF"):
        return ["OFF" if value == "ON" else "ON"]
    if value.isdigit():
        return [str(int(value) + 1), str(int(value) * 2), str(int(value) // 2)]
    return ["'MEMORY'", "latin1", "'+03:00'", "'ANSI'", "'de_DE'", "'MIXED'", "''", "1", "2"]
