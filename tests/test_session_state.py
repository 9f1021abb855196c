"""No session state reaches the next holder: every kind of it, asked of the real server.

Each row is checked twice. On the driver's own connection it must change what the probe sees, so
that the row is about something real. On a Session the same statements must then lead to a discard,
or to a session on which the probe sees the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import MySQLdb
import pytest
from MySQLdb.connections import Connection

from mysqlpool.errors import SessionStateError
from mysqlpool.session import Session

STATEMENT_TIMEOUT = 1969
MULTI_STATEMENTS_OFF = 1  # of enum_mysql_set_option in mysql_com.h

Act = str | Callable[[Connection], object]


@dataclass(frozen=True)
class State:
    """A kind of state: what a holder does, and a question whose answer shows it."""

    kind: str
    acts: tuple[Act, ...]
    probe: str
    undone: bool = False
    """It costs a statement to take back, and no session."""


def variable(kind: str, name: str, value: str) -> State:
    return State(kind, (f"SET SESSION {name} = {value}",), f"SELECT @@{name}")


def user_variable(kind: str, *acts: str) -> State:
    return State(kind, acts, "SELECT @mine")


def _undone(kind: str, *acts: Act) -> State:
    return State(kind, acts, "SELECT @@in_transaction, @@autocommit", undone=True)


LOCKED = "SELECT IS_USED_LOCK('lock') = CONNECTION_ID()"
WRITE = "UPDATE state.numbers SET number = number"

STATES = [
    user_variable("a user variable", "SET @mine = 1"),
    user_variable("a user variable by SELECT INTO", "SELECT 1 INTO @mine"),
    user_variable("a user variable by assignment", "SELECT @mine := 1"),
    user_variable(
        "a user variable by an assignment in DML", "UPDATE numbers SET number=(@mine:=1)"
    ),
    user_variable("a user variable of a quoted name", "SET @`mine` = 1"),
    user_variable("a user variable by a procedure", "CALL sets(@mine)"),
    user_variable("a second statement", "SELECT 1; SET @mine = 1"),
    user_variable("SET behind a comment", "/* hint */ -- more\n # and more\n SeT @mine = 1"),
    user_variable("a version comment", "/*!50000 SET @mine = 1 */"),
    user_variable("a version comment of MariaDB", "/*M! SET @mine = 1 */"),
    user_variable("a version comment in a SELECT", "SELECT 1 /*! INTO @mine */"),
    user_variable("a string that ends sooner than it seems", "SELECT 'it''s \\'' INTO @mine"),
    user_variable("a compound statement", "BEGIN NOT ATOMIC SET @mine = 1; END"),
    user_variable("an immediate statement", "EXECUTE IMMEDIATE 'SET @mine = 1'"),
    user_variable("a text that fails halfway", "SELECT 1 INTO @mine; SELECT nonsense"),
    variable("the SQL mode", "sql_mode", "'ANSI_QUOTES'"),
    variable("the time zone", "time_zone", "'+05:00'"),
    variable("the isolation level", "tx_isolation", "'SERIALIZABLE'"),
    variable("read only transactions", "tx_read_only", "1"),
    variable("foreign key checks", "foreign_key_checks", "0"),
    variable("unique checks", "unique_checks", "0"),
    variable("the binary log", "sql_log_bin", "0"),
    variable("the limit of rows", "sql_select_limit", "1"),
    variable("safe updates", "sql_safe_updates", "1"),
    variable("automatic NULL", "sql_auto_is_null", "1"),
    variable("the length of GROUP_CONCAT", "group_concat_max_len", "10"),
    variable("the patience for locks", "innodb_lock_wait_timeout", "1"),
    variable("the patience with idle sessions", "wait_timeout", "7"),
    variable("the time limit of statements", "max_statement_time", "3"),
    variable("the language of dates", "lc_time_names", "'de_DE'"),
    variable("the optimizer's switches", "optimizer_switch", "'index_merge=off'"),
    variable("the storage engine", "default_storage_engine", "'Aria'"),
    variable("the kind of completion", "completion_type", "'CHAIN'"),
    variable("the character set of results", "character_set_results", "'latin1'"),
    variable("the collation", "collation_connection", "'utf8mb4_bin'"),
    State("the next automatic number", ("SET insert_id = 99",), "SELECT @@insert_id"),
    State("the clock", ("SET timestamp = 1",), "SELECT UNIX_TIMESTAMP() < 100"),
    State(
        "the numbers of RAND", ("SET rand_seed1 = 1, rand_seed2 = 1",), "SELECT RAND() < 0.00001"
    ),
    State("autocommit by SET", ("SET autocommit = 0",), "SELECT @@autocommit"),
    State("character set by SET NAMES", ("SET NAMES latin1",), "SELECT @@character_set_client"),
    State(
        "character set by the driver",
        (lambda connection: connection.set_character_set("latin1"),),
        "SELECT @@character_set_client",
    ),
    State(
        "the next transaction's isolation level",
        ("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",),
        "START TRANSACTION; UPDATE state.numbers SET number = number + 1;"
        " SELECT trx_isolation_level FROM information_schema.innodb_trx"
        " WHERE trx_mysql_thread_id = CONNECTION_ID()",
    ),
    State("the next transaction is read only", ("SET TRANSACTION READ ONLY",), f"BEGIN; {WRITE}"),
    State("a role", ("SET ROLE clerk",), "SELECT CURRENT_ROLE()"),
    State("another user", (lambda c: c.change_user("visitor", ""),), "SELECT CURRENT_USER()"),
    State("another database", ("USE elsewhere",), "SELECT DATABASE()"),
    State("another database, qualified", ("/**/use `elsewhere`",), "SELECT DATABASE()"),
    State("a database by the driver", (lambda c: c.select_db("elsewhere"),), "SELECT DATABASE()"),
    State(
        "no database",
        ("CREATE DATABASE short", "USE short", "DROP DATABASE short"),
        "SELECT DATABASE()",
    ),
    State(
        "a temporary table",
        ("CREATE TEMPORARY TABLE numbers (other INT)",),
        "SELECT * FROM state.numbers",
    ),
    State(
        "a temporary table that replaces",
        ("CREATE OR REPLACE TEMPORARY TABLE mine (other INT)",),
        "SELECT * FROM state.mine",
    ),
    State("a named lock", ("SELECT GET_LOCK('lock', 0)",), LOCKED),
    State("a named lock, spelled apart", ("SELECT get_lock /* now */ ( 'lock' , 0 )",), LOCKED),
    State("a named lock by a quoted name", ("SELECT `Get_Lock`('lock', 0)",), LOCKED),
    State("a named lock by DO", ("DO GET_LOCK('lock', 0)",), LOCKED),
    State(
        "a named lock by a CTE", ("WITH a AS (SELECT GET_LOCK('lock', 0)) SELECT * FROM a",), LOCKED
    ),
    State("locked tables", ("LOCK TABLES numbers READ",), WRITE),
    State("a global read lock", ("FLUSH TABLES WITH READ LOCK",), WRITE),
    State("tables flushed for export", ("FLUSH TABLES numbers FOR EXPORT",), WRITE),
    State("a backup", ("BACKUP STAGE START",), "BACKUP STAGE START"),
    State("a backup lock", ("BACKUP LOCK numbers",), "ALTER TABLE state.numbers COMMENT 'x'"),
    State("an open handler", ("HANDLER numbers OPEN AS h",), "HANDLER h READ FIRST"),
    State("a prepared statement", ("PREPARE mine FROM 'SELECT 1'",), "EXECUTE mine"),
    State("a profile", ("SET profiling = 1", "SELECT 1"), "SHOW PROFILES"),
    State("a distributed transaction", ("XA START 'mine'",), "SELECT @@in_transaction"),
    State("an ended distributed one", ("XA START 'm'", "XA END 'm'"), "XA ROLLBACK 'm'"),
    State(
        "no more than one statement at a time",
        (lambda c: c.set_server_option(MULTI_STATEMENTS_OFF),),
        "SELECT 1; SELECT 2",
    ),
    _undone("autocommit by the driver", lambda connection: connection.autocommit(False)),
    _undone("autocommit off, and work", lambda c: c.autocommit(False), WRITE),
    _undone("BEGIN", "BEGIN"),
    _undone("BEGIN WORK, and work", "bEgin /* to */ WORK", WRITE),
    _undone("BEGIN by the driver", lambda connection: connection.begin()),
    _undone("START TRANSACTION", "START TRANSACTION", WRITE),
    _undone("a snapshot", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"),
    _undone("a savepoint", "BEGIN", WRITE, "SAVEPOINT s", "ROLLBACK TO SAVEPOINT s"),
    _undone("COMMIT AND CHAIN", "BEGIN", WRITE, "COMMIT AND CHAIN"),
    _undone("ROLLBACK AND CHAIN", "BEGIN", WRITE, "ROLLBACK WORK AND CHAIN NO RELEASE"),
    _undone("a transaction in one text", f"BEGIN; {WRITE}"),
    _undone("a COMMIT that is never reached", "BEGIN; SELECT nonsense; COMMIT"),
]


def do(connection: Connection, act: Act) -> Any:
    """Do it, read every answer, and return the rows of the last one, or the error's number."""
    try:
        if callable(act):
            return act(connection)
        cursor = connection.cursor()
        try:
            cursor.execute(act)
            rows = cursor.fetchall()
            while cursor.nextset():
                rows = cursor.fetchall()
            return rows
        finally:
            cursor.close()
    except (MySQLdb.Error, SessionStateError) as error:
        return error.args[0]


# What an application sends all day. Some of it looks like something in the table above.
CLEAN = [
    "SELECT number FROM numbers WHERE number = 1",
    "(SELECT 1) UNION (SELECT 2)",
    "/* why */ select -- because\n 1 # therefore",
    "SELECT 1;",
    "SELECT 1; SELECT 2",
    "SELECT @@sql_mode, @@SESSION.tx_isolation",
    "SELECT number FROM numbers FOR UPDATE",
    "SELECT 1--1, 4/2, 'a' /* @b */, \"x@y; SET z\", ' \\' @c ;'",
    "SELECT number AS row_count, number AS a_lock, 'GET_LOCK(1)' FROM numbers AS `get_lock`",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "VALUES (1), (2)",
    "INSERT INTO numbers VALUES (2)",
    "INSERT INTO numbers SET number = 3",
    "INSERT INTO numbers SELECT 4",
    "REPLACE INTO numbers VALUES (LAST_INSERT_ID(5))",
    "UPDATE numbers SET number = number + 1 LIMIT 1",
    "DELETE FROM numbers WHERE number > 100 RETURNING number",
    "UPDATE numbers SET number = 1\n;\nUPDATE numbers SET number = 2",
    "SAVEPOINT `s1`",
    "SHOW TABLES",
    "SHOW FULL COLUMNS FROM numbers",
    "DESCRIBE numbers",
    "EXPLAIN SELECT * FROM numbers",
    "EXPLAIN FORMAT=JSON UPDATE numbers SET number = 1",
    "ANALYZE SELECT * FROM numbers",
    "CREATE TABLE made (`set` INT, KEY `k` (`set`)) COMMENT 'mail@example.org; USE x'",
    "CREATE UNIQUE INDEX made_index ON made (`set`)",
    "CREATE OR REPLACE VIEW seen AS SELECT * FROM made",
    "ALTER TABLE made ADD COLUMN more VARCHAR(10) DEFAULT '@'",
    "ALTER TABLE made ALTER COLUMN more SET DEFAULT 'x'",
    "RENAME TABLE made TO made_2, made_2 TO made",
    "TRUNCATE made",
    "CHECK TABLE made",
    "CHECKSUM TABLE made",
    "OPTIMIZE TABLE made",
    "ANALYZE TABLE made",
    "DROP VIEW seen",
    "DROP INDEX made_index ON made",
    "DROP TABLE IF EXISTS made, missing",
    "CREATE SEQUENCE counter",
    "SELECT NEXTVAL(counter)",
    "DROP SEQUENCE counter",
    "DO SLEEP(0)",
    "SET STATEMENT max_statement_time = 10, sort_buffer_size=65536 FOR SELECT @@max_statement_time",
]


@pytest.fixture
def parameters(server: Any) -> Iterator[dict[str, Any]]:
    """How to connect to a database with a table, and with a role, a user and a procedure about."""
    parameters = {
        "host": server.host,
        "port": server.port,
        "autocommit": True,
        "charset": "utf8mb4",
    }
    parameters |= {"user": server.user, "password": server.password}
    with MySQLdb.connect(**parameters) as admin:
        for sql in (
            "CREATE DATABASE state",
            "CREATE DATABASE elsewhere",
            "CREATE TABLE state.numbers (number INT) ENGINE=InnoDB",
            "INSERT INTO state.numbers VALUES (1)",
            "CREATE PROCEDURE state.sets(OUT result INT) SET result = 1",
            "CREATE ROLE clerk",
            "CREATE USER visitor IDENTIFIED BY ''",
        ):
            assert not isinstance(do(admin, sql), int), sql
        yield parameters | {"database": "state"}
        for sql in (
            "DROP DATABASE IF EXISTS state",
            "DROP DATABASE elsewhere",
            "DROP ROLE clerk",
            "DROP USER visitor",
        ):
            assert not isinstance(do(admin, sql), int), sql


def answer(connection: Connection, state: State) -> Any:
    return do(connection, state.probe)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.kind)
def test_state_never_reaches_the_next_holder(state: State, parameters: dict[str, Any]) -> None:
    with MySQLdb.connect(**parameters) as bare:
        baseline = answer(bare, state)
    with MySQLdb.connect(**parameters) as bare:
        for act in state.acts:
            do(bare, act)
        assert answer(bare, state) != baseline, "the row shows no state at all"
    with Session(**parameters) as session:
        session.settle()
        for act in state.acts:
            do(session, act)
        reason = session.restore()
        assert (reason is None) == state.undone
        assert not state.undone or answer(session, state) == baseline


def test_no_statement_is_dirty_without_need(parameters: dict[str, Any], observer: Any) -> None:
    with Session(**parameters) as session:
        session.settle()
        for sql in CLEAN:
            assert isinstance(do(session, sql), tuple), sql
            with observer.counting("Questions") as sent:
                assert (sql, session.restore()) == (sql, None)
            assert sent == [0], sql


# What these tell of is the holder's own doing, and no reason to discard a session after each
# INSERT. So that nobody is told of another's, they are not answered as the first of a lease.
@pytest.mark.parametrize(
    "question",
    [
        "SELECT LAST_INSERT_ID()",
        "SELECT `last_insert_id` ()",
        "SELECT @@identity",
        "SELECT @@last_insert_id",
        "SELECT FOUND_ROWS()",
        "SELECT ROW_COUNT()",
        "SHOW WARNINGS",
        "/**/ show count(*) errors",
        "SELECT @@SESSION . warning_count",
    ],
)
def test_no_holder_is_told_of_anothers_statement(
    question: str, parameters: dict[str, Any], observer: Any
) -> None:
    with Session(**parameters) as session:
        session.settle()
        do(session, "SELECT 1 / 0")
        assert not isinstance(do(session, question), str)
        assert session.restore() is None
        cursor = session.cursor()
        with (
            observer.counting("Questions") as sent,
            pytest.raises(SessionStateError, match="earlier statement"),
        ):
            cursor.execute(question)
        assert sent == [0]
        cursor.execute("SELECT 1 / 0")
        cursor.execute(question)


def test_settings_for_one_statement_end_with_it(parameters: dict[str, Any]) -> None:
    """Also where the statement is killed for lasting too long, which is what they are for."""
    with Session(**parameters) as session:
        session.settle()
        sleep = "SET STATEMENT max_statement_time=0.01 FOR SELECT SLEEP(9)"
        assert do(session, sleep) == STATEMENT_TIMEOUT
        do(session, "SET STATEMENT max_statement_time=0.01 FOR SELECT nonsense")
        assert session.restore() is None
        assert do(session, "SELECT @@max_statement_time") == ((0.0,),)
