"""No session state reaches the next holder: every kind of it, asked of the real server.

Each row is checked twice. On the driver's own connection it must change what the probe sees, so
that the row is about something real. On a Session the same statements must then lead to a discard,
or to a session on which the probe sees the baseline.

A row is in words that MariaDB and MySQL both understand where there are such words; else each has
one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import MySQLdb
import pytest
from MySQLdb.connections import Connection

from mysqlpool.errors import SessionStateError
from mysqlpool.session.session import Session
from tests.helpers import endless, identified
from tests.server import PrivateServer, Server

TIMEOUTS = {"mariadb": 1969, "mysql": 3024}
MULTI_STATEMENTS_OFF = 1  # of enum_mysql_set_option in mysql_com.h

Act = str | Callable[[Connection], object]


@dataclass(frozen=True)
class State:
    """A kind of state: what a holder does, and a question whose answer shows it."""

    kind: str
    acts: tuple[Act, ...]
    probe: Act
    undone: bool = False
    """It costs a statement to take back, and no session."""

    from_elsewhere: bool = False
    """Only another connection can see it: that asks, while this one is open."""


def mariadb(state: State) -> Any:
    """A row in words that only MariaDB understands."""
    return pytest.param(state, marks=pytest.mark.mariadb)


def mysql(state: State) -> Any:
    return pytest.param(state, marks=pytest.mark.mysql)


def variable(kind: str, name: str, value: str) -> State:
    return State(kind, (f"SET SESSION {name} = {value}",), f"SELECT @@{name}")


def user_variable(kind: str, *acts: str) -> State:
    return State(kind, acts, "SELECT @mine")


def transaction(connection: Connection) -> object:
    """Whether one is open, which no variable tells on MySQL, and whether each statement is one."""
    return do(connection, IN_TRANSACTION), do(connection, "SELECT @@autocommit")


def _undone(kind: str, *acts: Act) -> State:
    return State(kind, acts, transaction, undone=True)


# Error 1568 inside a transaction.
IN_TRANSACTION = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
ISOLATION = "SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"


MYSQL_COLLATION = "default_collation_for_utf8mb4", "'utf8mb4_general_ci'"
MYSQL_TRACKED = "session_track_transaction_info", "'STATE'"
MYSQL_TEMPORARY = "internal_tmp_mem_storage_engine", "'MEMORY'"
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
    mariadb(user_variable("a version comment of MariaDB", "/*M! SET @mine = 1 */")),
    user_variable("a version comment in a SELECT", "SELECT 1 /*! INTO @mine */"),
    user_variable("a string that ends sooner than it seems", "SELECT 'it''s \\'' INTO @mine"),
    mariadb(user_variable("a compound statement", "BEGIN NOT ATOMIC SET @mine = 1; END")),
    mariadb(user_variable("an immediate statement", "EXECUTE IMMEDIATE 'SET @mine = 1'")),
    user_variable("a text that fails halfway", "SELECT 1 INTO @mine; SELECT nonsense"),
    variable("the SQL mode", "sql_mode", "'ANSI_QUOTES'"),
    variable("the time zone", "time_zone", "'+05:00'"),
    mysql(user_variable("an explanation", "EXPLAIN FORMAT=JSON INTO @mine SELECT 1")),
    mysql(user_variable("a user variable by TABLE", "TABLE numbers LIMIT 1 INTO @mine")),
    user_variable("diagnostics", "SELECT 1", "GET DIAGNOSTICS @mine = NUMBER"),
    State(
        "the isolation level", ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",), ISOLATION
    ),
    mariadb(variable("the isolation level as a variable", "tx_isolation", "'SERIALIZABLE'")),
    mysql(variable("the isolation level as a variable", "transaction_isolation", "'SERIALIZABLE'")),
    State("read only transactions", ("SET SESSION TRANSACTION READ ONLY",), WRITE),
    mariadb(variable("read only transactions as a variable", "tx_read_only", "1")),
    mysql(variable("read only transactions as a variable", "transaction_read_only", "1")),
    variable("foreign key checks", "foreign_key_checks", "0"),
    variable("unique checks", "unique_checks", "0"),
    variable("the binary log", "sql_log_bin", "0"),
    variable("the limit of rows", "sql_select_limit", "1"),
    variable("safe updates", "sql_safe_updates", "1"),
    variable("automatic NULL", "sql_auto_is_null", "1"),
    variable("the length of GROUP_CONCAT", "group_concat_max_len", "10"),
    variable("the patience for locks", "innodb_lock_wait_timeout", "1"),
    variable("the patience with idle sessions", "wait_timeout", "7"),
    mariadb(variable("the time limit of statements", "max_statement_time", "3")),
    mysql(variable("the time limit of statements", "max_execution_time", "3")),
    variable("the language of dates", "lc_time_names", "'de_DE'"),
    variable("the optimizer's switches", "optimizer_switch", "'index_merge=off'"),
    variable("the storage engine", "default_storage_engine", "'MEMORY'"),
    variable("the kind of completion", "completion_type", "'CHAIN'"),
    variable("the character set of results", "character_set_results", "'latin1'"),
    variable("the collation", "collation_connection", "'utf8mb4_bin'"),
    mysql(variable("the collation of utf8mb4", *MYSQL_COLLATION)),
    mysql(variable("what is tracked of the schema", "session_track_schema", "0")),
    mysql(variable("which variables are tracked", "session_track_system_variables", "'*'")),
    mysql(variable("whether a change is tracked", "session_track_state_change", "1")),
    mysql(variable("which transactions are tracked", "session_track_gtids", "'OWN_GTID'")),
    mysql(variable("what of a transaction is tracked", *MYSQL_TRACKED)),
    mysql(variable("the secondary engine", "use_secondary_engine", "'FORCED'")),
    mysql(variable("the engine of temporary tables", *MYSQL_TEMPORARY)),
    mysql(variable("encrypted tables", "default_table_encryption", "1")),
    mysql(variable("tables need a primary key", "sql_require_primary_key", "1")),
    mysql(variable("invisible primary keys", "sql_generate_invisible_primary_key", "1")),
    mysql(variable("the age of statistics", "information_schema_stats_expiry", "0")),
    mysql(variable("the depth of a recursion", "cte_max_recursion_depth", "7")),
    mysql(variable("the memory of a connection", "connection_memory_limit", "3000000")),
    mysql(variable("prepared transactions stay", "xa_detach_on_prepare", "0")),
    mysql(
        variable(
            "the name of the next transaction",
            "gtid_next",
            f"'{'a' * 8}{'-aaaa' * 3}-{'a' * 12}:1'",
        )
    ),
    mysql(State("a variable by two signs", ("SET @@SESSION.sql_mode = ''",), "SELECT @@sql_mode")),
    mysql(
        State(
            "a variable of the driver's",
            ("SET LOCAL pseudo_replica_mode = 1",),
            "SELECT @@pseudo_replica_mode",
        )
    ),
    mysql(
        State(
            "a variable that lasts",
            ("SET PERSIST group_concat_max_len = 77",),
            "SELECT @@GLOBAL.group_concat_max_len",
        )
    ),
    mysql(
        State(
            "a variable that will last",
            ("SET PERSIST_ONLY max_connections = 77",),
            "SELECT COUNT(*) FROM performance_schema.persisted_variables",
        )
    ),
    State(
        "a variable of all and one of its own",
        ("SET GLOBAL group_concat_max_len = 78, SESSION group_concat_max_len = 79",),
        "SELECT @@SESSION.group_concat_max_len",
    ),
    mariadb(
        State(
            "a variable of all that reaches this session",
            ("SET GLOBAL server_id = 77",),
            "SELECT @@SESSION.server_id",
        )
    ),
    mariadb(
        State(
            "a variable behind a password",
            ("SET PASSWORD FOR CURRENT_USER() = '', SESSION group_concat_max_len = 79",),
            "SELECT @@SESSION.group_concat_max_len",
        )
    ),
    user_variable("a user variable behind a procedure", "CREATE PROCEDURE p() DO 1; SET @mine = 1"),
    user_variable(
        "a user variable behind a procedure with a block",
        "CREATE PROCEDURE p() BEGIN DO 1; END; SET @mine = 1",
    ),
    user_variable(
        "a user variable between names that look like a block",
        "CREATE PROCEDURE p() SELECT 1 AS begin; SET @mine = 1; SELECT 1 AS end",
    ),
    State(
        "a named lock by the schedule of an event",
        ("CREATE EVENT e ON SCHEDULE EVERY GET_LOCK('lock', 0) DAY DO DO 0",),
        LOCKED,
    ),
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
    mysql(State("all roles", ("SET ROLE ALL",), "SELECT CURRENT_ROLE()")),
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
    mariadb(
        State(
            "a temporary table that replaces",
            ("CREATE OR REPLACE TEMPORARY TABLE mine (other INT)",),
            "SELECT * FROM state.mine",
        )
    ),
    mysql(
        State(
            "a table that waits for its transaction",
            ("CREATE TABLE waits (number INT COMMENT ';') START TRANSACTION",),
            "SELECT 1",
        )
    ),
    State("a named lock", ("SELECT GET_LOCK('lock', 0)",), LOCKED),
    State("a named lock, spelled apart", ("SELECT get_lock /* now */ ( 'lock' , 0 )",), LOCKED),
    State("a named lock by a quoted name", ("SELECT `Get_Lock`('lock', 0)",), LOCKED),
    State("a named lock by DO", ("DO GET_LOCK('lock', 0)",), LOCKED),
    State(
        "a named lock by a CTE", ("WITH a AS (SELECT GET_LOCK('lock', 0)) SELECT * FROM a",), LOCKED
    ),
    State(
        "several named locks",
        ("SELECT GET_LOCK('other', 0), GET_LOCK('lock', 0)", "SELECT RELEASE_LOCK('other')"),
        LOCKED,
    ),
    State("locked tables", ("LOCK TABLES numbers READ",), WRITE),
    State("a global read lock", ("FLUSH TABLES WITH READ LOCK",), WRITE),
    State("tables flushed for export", ("FLUSH TABLES numbers FOR EXPORT",), WRITE),
    State("tables of one name under a read lock", ("FLUSH TABLES numbers WITH READ LOCK",), WRITE),
    mariadb(State("a backup", ("BACKUP STAGE START",), "BACKUP STAGE START")),
    mariadb(
        State("a backup lock", ("BACKUP LOCK numbers",), "ALTER TABLE state.numbers COMMENT 'x'")
    ),
    mysql(
        State(
            "a lock for a backup",
            ("LOCK INSTANCE FOR BACKUP",),
            "ALTER TABLE state.numbers COMMENT 'x'",
            from_elsewhere=True,
        )
    ),
    State("an open handler", ("HANDLER numbers OPEN AS h",), "HANDLER h READ FIRST"),
    State("a prepared statement", ("PREPARE mine FROM 'SELECT 1'",), "EXECUTE mine"),
    State("a profile", ("SET profiling = 1", "SELECT 1"), "SHOW PROFILES"),
    mariadb(
        State(
            "a trace of the optimizer, with a statement's text",
            ("SET STATEMENT optimizer_trace = 'enabled=on' FOR SELECT 1",),
            "SELECT query FROM information_schema.optimizer_trace",
        )
    ),
    State("a distributed transaction", ("XA START 'mine'",), IN_TRANSACTION),
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

# What only the performance schema tells, which is off in the server of the run.
THREADS = "performance_schema.threads"
OURS = "WHERE processlist_id = CONNECTION_ID()"
STATES_OF_THE_THREAD = [
    State(
        "its instruments",
        (f"UPDATE {THREADS} SET instrumented = 'NO' {OURS}",),
        f"SELECT instrumented FROM {THREADS} {OURS}",
    ),
    mysql(
        State(
            "its resource group",
            ("SET RESOURCE GROUP slow",),
            f"SELECT resource_group FROM {THREADS} {OURS}",
        )
    ),
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
    "SELECT @@sql_mode, @@SESSION.wait_timeout",
    "SELECT number FROM numbers FOR UPDATE",
    "SELECT 1--1, 4/2, 'a' /* @b */, \"x@y; SET z\", ' \\' @c ;'",
    "SELECT number AS row_count, number AS a_lock, 'GET_LOCK(1)' FROM numbers AS `get_lock`",
    "WITH a AS (SELECT 1) SELECT * FROM a",
    "INSERT INTO numbers VALUES (2)",
    "INSERT INTO numbers SET number = 3",
    "INSERT INTO numbers SELECT 4",
    "REPLACE INTO numbers VALUES (LAST_INSERT_ID(5))",
    "UPDATE numbers SET number = number + 1 LIMIT 1",
    "DELETE FROM numbers WHERE number > 100",
    "UPDATE numbers SET number = 1\n;\nUPDATE numbers SET number = 2",
    "SAVEPOINT `s1`",
    "SHOW TABLES",
    "SHOW FULL COLUMNS FROM numbers",
    "DESCRIBE numbers",
    "EXPLAIN SELECT * FROM numbers",
    "EXPLAIN FORMAT=JSON UPDATE numbers SET number = 1",
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
    "DO SLEEP(0)",
]
CLEAN_ON = {
    "mariadb": [
        "SELECT @@SESSION.tx_isolation",
        "VALUES (1), (2)",
        "DELETE FROM numbers WHERE number > 100 RETURNING number",
        "ANALYZE SELECT * FROM numbers",
        "CREATE SEQUENCE counter",
        "SELECT NEXTVAL(counter)",
        "DROP SEQUENCE counter",
        "SET STATEMENT max_statement_time = 10, sort_buffer_size=65536 FOR SELECT 1",
    ],
    "mysql": [
        "SELECT @@SESSION.transaction_isolation",
        "TABLE numbers ORDER BY number LIMIT 1",
        "(TABLE numbers) UNION (VALUES ROW(1), ROW(2))",
        "VALUES ROW(1), ROW(2)",
        "INSERT INTO numbers TABLE numbers",
        "INSERT INTO numbers (number) VALUES (1), (2) AS new ON DUPLICATE KEY UPDATE number = 3",
        "SELECT number FROM numbers FOR SHARE SKIP LOCKED",
        "SELECT number FROM numbers FOR UPDATE OF numbers NOWAIT",
        "SELECT t.a FROM JSON_TABLE('[1]', '$[*]' COLUMNS (a INT PATH '$')) AS t",
        "SELECT number, ROW_NUMBER() OVER w FROM numbers WINDOW w AS (ORDER BY number)",
        "SELECT _utf8mb4'a@b' COLLATE utf8mb4_0900_ai_ci, X'4D', N'@c'",
        "EXPLAIN ANALYZE SELECT * FROM numbers",
        "EXPLAIN FORMAT=TREE SELECT * FROM numbers",
        "SELECT /*+ MAX_EXECUTION_TIME(10000) */ number FROM numbers",
        "SELECT /*+ SET_VAR(sort_buffer_size = 65536) SET_VAR(sql_mode = '') */ 1",
        "UPDATE /*+ SET_VAR(foreign_key_checks = OFF) */ numbers SET number = 1",
        "INSERT /*+ SET_VAR(unique_checks = OFF) */ INTO numbers VALUES (7)",
        "SELECT /*+ RESOURCE_GROUP(slow) */ 1",
        "SELECT /*+ NO_INDEX_MERGE(numbers) QB_NAME(a) */ * FROM numbers",
        "CREATE TABLE wide (a JSON, b INT AS (a->'$.b'), c INT CHECK (c > 0), KEY ((b + 1)))",
        "SELECT a->>'$.b' FROM wide",
        "ALTER TABLE wide ADD COLUMN d INT INVISIBLE, ALGORITHM=INSTANT",
        "ALTER TABLE wide ALTER INDEX functional_index INVISIBLE",
        "ANALYZE TABLE wide UPDATE HISTOGRAM ON d WITH 4 BUCKETS",
        "DROP TABLE wide",
    ],
}


SET_UP = [
    "CREATE DATABASE state",
    "CREATE DATABASE elsewhere",
    "CREATE TABLE state.numbers (number INT) ENGINE=InnoDB",
    "INSERT INTO state.numbers VALUES (1)",
    "CREATE PROCEDURE state.sets(OUT result INT) SET result = 1",
    "CREATE ROLE clerk",
    "GRANT clerk TO CURRENT_USER()",
    f"CREATE USER visitor {identified('')}",
]
SET_UP_ON = {"mariadb": [], "mysql": ["CREATE RESOURCE GROUP slow TYPE = USER"]}
CLEAN_UP = [
    "DROP DATABASE IF EXISTS state",
    "DROP DATABASE elsewhere",
    "DROP ROLE clerk",
    "DROP USER visitor",
    "SET GLOBAL group_concat_max_len = DEFAULT",
    "SET GLOBAL server_id = DEFAULT",
]
CLEAN_UP_ON = {
    "mariadb": [],
    "mysql": ["RESET PERSIST", "DROP RESOURCE GROUP slow FORCE"],
}


@pytest.fixture
def parameters(server: Server, flavour: str) -> Iterator[dict[str, Any]]:
    with prepared(server, flavour) as parameters:
        yield parameters


@contextmanager
def prepared(server: Server, flavour: str) -> Iterator[dict[str, Any]]:
    """How to connect to a database with a table, and with a role, a user and a procedure about."""
    parameters = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "autocommit": True,
        "charset": "utf8mb4",
    }
    with MySQLdb.connect(**parameters) as admin:
        for sql in SET_UP + SET_UP_ON[flavour]:
            assert not isinstance(do(admin, sql), int), sql
        try:
            yield parameters | {"database": "state"}
        finally:
            for sql in CLEAN_UP + CLEAN_UP_ON[flavour]:
                assert not isinstance(do(admin, sql), int), sql


def answer(connection: Connection, state: State, parameters: dict[str, Any]) -> Any:
    if not state.from_elsewhere:
        return do(connection, state.probe)
    with MySQLdb.connect(**parameters, init_command="SET lock_wait_timeout = 1") as other:
        return do(other, state.probe)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.kind)
def test_state_never_reaches_the_next_holder(state: State, parameters: dict[str, Any]) -> None:
    assert_real_and_taken_back(state, parameters)


@pytest.fixture(scope="module")
def instrumented_server() -> Iterator[Server]:
    with PrivateServer(["--performance-schema=ON"]) as server:
        yield server


@pytest.mark.parametrize("state", STATES_OF_THE_THREAD, ids=lambda state: state.kind)
def test_the_state_of_the_servers_thread_never_reaches_the_next_holder(
    state: State, instrumented_server: Server, flavour: str
) -> None:
    with prepared(instrumented_server, flavour) as parameters:
        assert_real_and_taken_back(state, parameters)


@pytest.mark.mysql
@pytest.mark.parametrize("sql", ["1", "(SELECT 1 UNION SELECT 2)"])
def test_a_resource_group_for_one_statement_ends_with_it(
    sql: str, instrumented_server: Server, flavour: str
) -> None:
    """Also where the statement fails."""
    with prepared(instrumented_server, flavour) as parameters, Session(**parameters) as session:
        session.settle()
        before = do(session, f"SELECT resource_group FROM {THREADS} {OURS}")
        do(session, f"SELECT /*+ RESOURCE_GROUP(slow) */ {sql}")
        assert session.restore() is None
        assert do(session, f"SELECT resource_group FROM {THREADS} {OURS}") == before


def assert_real_and_taken_back(state: State, parameters: dict[str, Any]) -> None:
    with MySQLdb.connect(**parameters) as bare:
        baseline = answer(bare, state, parameters)
    with MySQLdb.connect(**parameters) as bare:
        for act in state.acts:
            do(bare, act)
        assert answer(bare, state, parameters) != baseline, "the row shows no state at all"
    with Session(**parameters) as session:
        session.settle()
        for act in state.acts:
            do(session, act)
        reason = session.restore()
        assert (reason is None) == state.undone
        assert not state.undone or answer(session, state, parameters) == baseline


def test_no_statement_is_dirty_without_need(
    parameters: dict[str, Any], observer: Any, flavour: str
) -> None:
    with Session(**parameters) as session:
        session.settle()
        for sql in CLEAN + CLEAN_ON[flavour]:
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
        pytest.param("SELECT @@last_gtid", marks=pytest.mark.mariadb),
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
        assert_refused(session, question, observer)
        do(session, "SELECT 1 / 0")
        assert not isinstance(do(session, question), str)


@pytest.mark.parametrize(
    "question",
    [
        "GET DIAGNOSTICS @number = NUMBER",
        "get /**/ current diagnostics CONDITION 1 @text = MESSAGE_TEXT",
    ],
)
def test_no_holder_is_told_of_anothers_diagnostics(
    question: str, parameters: dict[str, Any], observer: Any
) -> None:
    with Session(**parameters) as session:
        session.settle()
        do(session, "SELECT 1 / 0")
        assert session.restore() is None
        assert_refused(session, question, observer)
        do(session, "SELECT 1 / 0")
        assert do(session, question) == ()
        assert session.restore() == "GET"


def assert_refused(session: Session, question: str, observer: Any) -> None:
    with (
        session.cursor() as cursor,
        observer.counting("Questions") as sent,
        pytest.raises(SessionStateError, match="earlier statement"),
    ):
        cursor.execute(question)
    assert sent == [0]


@pytest.mark.parametrize(
    ("start", "limit"),
    [
        pytest.param(
            "SET STATEMENT max_statement_time=0.01 FOR SELECT",
            "max_statement_time",
            marks=pytest.mark.mariadb,
        ),
        pytest.param(
            "SELECT /*+ MAX_EXECUTION_TIME(10) */", "max_execution_time", marks=pytest.mark.mysql
        ),
        pytest.param(
            "SELECT /*+ SET_VAR(max_execution_time = 10) */",
            "max_execution_time",
            marks=pytest.mark.mysql,
        ),
    ],
)
def test_settings_for_one_statement_end_with_it(
    start: str, limit: str, parameters: dict[str, Any], flavour: str
) -> None:
    """Also where the statement is killed for lasting too long, which is what they are for."""
    with Session(**parameters) as session:
        session.settle()
        assert do(session, f"{start} {endless()}") == TIMEOUTS[flavour]
        assert isinstance(do(session, f"{start} nonsense"), int)
        assert session.restore() is None
        assert do(session, f"SELECT @@{limit}") == ((0,),)
