"""Renewal clears what it is trusted with: each kind of state, asked of the real server.

The kinds are those of `test_state`. There each is shown to be real. Here a session that has it is
renewed, where that is allowed, and must then answer everything as a new connection does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import MySQLdb
import pytest

from mysqlpool.session.renewal import Renewals, at_a_connect
from mysqlpool.session.session import Session
from tests.helpers import identified
from tests.server import PrivateServer, Server

from .test_state import STATES, State, answer, do, mariadb, mysql, prepared, variable

# What the manuals list beside, for mysql_change_user() and mysql_reset_connection().
FURTHER = [
    State("a number that was inserted", ("SET last_insert_id = 9",), "SELECT LAST_INSERT_ID()"),
    State("a prepared statement of a variable", ("SET @sql = 'SELECT 1'", "PREPARE mine FROM @sql"),
          "EXECUTE mine"),
    State("a variable of an expression", ("SET @mine = CONCAT('a', (SELECT 1), ',')",),
          "SELECT @mine"),
    State("warnings", ("SET @a = 1", "SELECT 1 / 0"), "SHOW WARNINGS"),
    State("autocommit off, and work", ("SET autocommit = 0", "UPDATE numbers SET number = 7"),
          "SELECT number FROM state.numbers"),
    State("backslashes are no escapes",
          ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", r"SELECT '\', @mine := 1 -- '"),
          "SELECT @mine"),
    variable("the patience for tables", "lock_wait_timeout", "3"),
    variable("the memory for sorting", "sort_buffer_size", "65536"),
    variable("the schema's default collation", "collation_database", "'utf8mb4_bin'"),
    mariadb(variable("the isolation level and more", "tx_isolation", "'SERIALIZABLE', @mine = 1")),
    mysql(variable("the size of results", "sql_select_limit", "2, @mine = 1")),
]  # fmt: skip


# What costs a session today and is not put back to be renewed.
HOLDS_WHAT_OTHERS_NEED = {
    "a backup",
    "a backup lock",
    "a distributed transaction",
    "a global read lock",
    "a lock for a backup",
    "a named lock",
    "a named lock by DO",
    "a named lock by a CTE",
    "a named lock by a quoted name",
    "a named lock by the schedule of an event",
    "a named lock, spelled apart",
    "a table that waits for its transaction",
    "a temporary table",
    "a temporary table that replaces",
    "an ended distributed one",
    "an open handler",
    "locked tables",
    "several named locks",
    "tables flushed for export",
    "tables of one name under a read lock",
}
STAYS_OR_IS_OF_ALL_SESSIONS = {
    "a profile",
    "a role",
    "a variable of all",
    "a variable of all and one of its own",
    "a variable of all that reaches this session",
    "a variable that lasts",
    "a variable that will last",
    "all roles",
}
IN_DOUBT = {
    "a compound statement",
    "a second statement",
    "a text that fails halfway",
    "a trace of the optimizer, with a statement's text",
    "a user variable behind a procedure",
    "a user variable behind a procedure with a block",
    "a user variable between names that look like a block",
    "a user variable by a procedure",
    "a variable of the driver's",
    "a variable behind a password",
    "a version comment",
    "a version comment in a SELECT",
    "a version comment of MariaDB",
    "an immediate statement",
    "another user",
    "no database",
    "the binary log",
    "the collation",
    "the kind of completion",
    "the name of the next transaction",
    "the numbers of RAND",
    "what is tracked of the schema",
    "what of a transaction is tracked",
    "whether a change is tracked",
    "which transactions are tracked",
    "which variables are tracked",
}
DISCARDED = HOLDS_WHAT_OTHERS_NEED | STAYS_OR_IS_OF_ALL_SESSIONS | IN_DOUBT


@pytest.fixture(scope="module")
def parameters(server: Server, flavour: str) -> Iterator[dict[str, Any]]:
    with prepared(server, flavour) as parameters:
        yield parameters


@contextmanager
def opened(parameters: Mapping[str, Any]) -> Iterator[Session]:
    """A session that may be renewed, with a baseline like Django's."""
    with Session(**parameters) as session:
        session.begin_set_up(lambda: parameters)
        with session.baseline():
            do(session, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        session.end_set_up()
        session.renew_by(Renewals(), "read committed")
        yield session


def renew(session: Session, parameters: Mapping[str, Any]) -> bool:
    return session.renew(parameters, contextlib.nullcontext())


def variables(session: Session) -> dict[str, Any]:
    """All session variables, less those that are of the statement or the connection itself."""
    rows = dict(do(session, "SHOW SESSION VARIABLES"))
    for name in ("timestamp", "pseudo_thread_id", "rand_seed1", "rand_seed2", "statement_id"):
        rows.pop(name, None)
    return rows


@pytest.mark.parametrize("state", [*STATES, *FURTHER], ids=lambda state: state.kind)
def test_what_is_put_back_to_be_renewed_is_as_new_by_that(
    state: State, parameters: dict[str, Any]
) -> None:
    with opened(parameters) as new:
        expected, probed = variables(new), answer(new, state, parameters)
    with opened(parameters) as session:
        for act in state.acts:
            do(session, act)
        if state.undone or state.kind in DISCARDED:
            assert session.restore() == session.dirty
            return
        assert session.restore() is None
        assert session.dirty
        assert renew(session, parameters)
        assert session.restore() is None
        assert variables(session) == expected
        if "innodb_trx" in str(state.probe):
            time.sleep(0.2)  # Both servers keep what it tells for 0.1 s.
        assert answer(session, state, parameters) == probed
        assert do(session, "SELECT 1; SELECT 2") == ((2,),)


@pytest.mark.parametrize(
    ("sql", "probe"),
    [
        pytest.param("SET ROLE clerk", "SELECT CURRENT_ROLE()", marks=pytest.mark.mariadb),
        pytest.param("SET profiling = 1", "SHOW PROFILES", marks=pytest.mark.mariadb),
    ],
)
def test_what_a_change_of_user_leaves(sql: str, probe: str, parameters: dict[str, Any]) -> None:
    """Why these are on no list."""
    with MySQLdb.connect(**parameters) as bare:
        before = do(bare, probe)
        do(bare, sql)
        do(bare, "SELECT 1")
        bare.change_user(parameters["user"], parameters["password"], parameters["database"])
        assert do(bare, probe) != before


def test_a_default_role_is_the_accounts_after_a_renewal(
    parameters: dict[str, Any], flavour: str
) -> None:
    with MySQLdb.connect(**parameters) as admin:
        [[account]] = do(admin, "SELECT CURRENT_USER()")
        whose = " TO '{}'@'{}'".format(*account.split("@")) if flavour == "mysql" else ""
        assert do(admin, f"SET DEFAULT ROLE clerk{whose}") == ()
        try:
            with opened(parameters) as session:
                new = do(session, "SELECT CURRENT_ROLE()")
                do(session, "SET @mine = 1")
                assert session.restore() is None
                assert renew(session, parameters)
                assert do(session, "SELECT CURRENT_ROLE()") == new
                assert "clerk" in new[0][0]
        finally:
            do(admin, f"SET DEFAULT ROLE NONE{whose}")


def test_the_drivers_state_is_as_new(parameters: dict[str, Any]) -> None:
    def state(session: Session) -> Any:
        return (
            session.character_set_name(),
            session.get_autocommit(),
            session.encoding,
            session.affected_rows(),
            session.insert_id(),
            session.warning_count(),
            session.escape_string(b"\\"),
            vars(session).keys(),
        )

    with opened(parameters) as session:
        session.restore()
        new = state(session)
        session.set_character_set("latin1")
        session.autocommit(False)
        do(session, "SET sql_mode = 'NO_BACKSLASH_ESCAPES', @a = 1")
        do(session, "INSERT INTO numbers VALUES (5)")
        assert state(session) != new
        assert session.restore() is None
        assert renew(session, parameters)
        assert state(session) == new


def test_a_renewal_costs_three_packets(parameters: dict[str, Any], observer: Any) -> None:
    own = {**parameters, "sql_mode": "ANSI_QUOTES", "collation": "utf8mb4_bin"}
    with opened(own) as session:
        do(session, "SET @mine = 1")
        assert session.restore() is None
        number, asked = session.thread_id(), at_a_connect(session.get_server_info()).decode()
        with observer.general_log() as log:
            assert renew(session, own)
    sent = [(command, sql) for session, command, sql in log if session == number]
    assert [command for command, _ in sent[:2]] == ["Change user", "Query"]
    # MySQL logs each statement of a packet, and COM_SET_OPTION is not logged.
    assert " ".join(sql for _, sql in sent[1:]) == (
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin; SET SESSION sql_mode='ANSI_QUOTES';"
        " SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; " + asked
    )


def test_what_init_connect_would_do_is_no_renewal(
    parameters: dict[str, Any], observer: Any
) -> None:
    with opened(parameters) as session:
        observer.query("SET GLOBAL init_connect = 'SET @mine = 1'")
        try:
            assert not renew(session, parameters)
        finally:
            observer.query("SET GLOBAL init_connect = ''")
        assert session.broken == "init_connect"


def test_an_init_command_is_said_again_before_all_else(parameters: dict[str, Any]) -> None:
    own = {**parameters, "init_command": "SET @a = 1; SET NAMES latin1, @b = 2 -- why"}
    question = "SELECT @@character_set_client, @b"
    with opened(own) as session:
        new = do(session, question)
        do(session, "SET @b = 3, NAMES latin1")
        session.dirty = None
        assert renew(session, own)
        assert do(session, question) == new == (("utf8mb4", 2),)


@pytest.mark.mysql
def test_where_mysql_keeps_foreign_keys_itself_no_session_is_renewed(
    parameters: dict[str, Any],
) -> None:
    """A renewed one would have InnoDB keep them: what a cascade deletes is not in the binary log,
    and who locks a table does not lock those that refer to it.
    """
    with PrivateServer(["--loose-innodb-native-foreign-keys=OFF"], flavour="mysql") as server:
        address = {"host": server.host, "port": server.port, "user": server.user}
        own = {**parameters, **address, "password": server.password, "database": server.name}
        with opened(own) as session:
            if b"native" not in at_a_connect(session.get_server_info()):
                pytest.skip("InnoDB keeps them in this version")
            do(session, "CREATE DATABASE state")
            do(session, "CREATE TABLE state.parents (id INT PRIMARY KEY)")
            do(
                session,
                "CREATE TABLE state.children (parent INT, FOREIGN KEY (parent)"
                " REFERENCES state.parents (id) ON DELETE CASCADE)",
            )
            for is_new in (True, False):
                do(session, "LOCK TABLES state.parents WRITE")
                # 1100: it was not locked.
                assert (do(session, "SELECT parent FROM state.children") == 1100) is not is_new
                do(session, "UNLOCK TABLES")
                session.change_user(own["user"], own["password"], "state")
        with opened(own) as session:
            do(session, "SET @mine = 1")
            assert session.restore() is None
            assert not renew(session, own)
            assert session.broken == "innodb_native_foreign_keys"


def test_without_multi_statements_each_is_sent_alone(parameters: dict[str, Any]) -> None:
    own = {**parameters, "multi_statements": False, "sql_mode": "ANSI_QUOTES"}
    with opened(own) as session:
        new = variables(session)
        do(session, "SET @mine = 1, sql_mode = ''")
        assert session.restore() is None
        assert renew(session, own)
        assert variables(session) == new
        assert do(session, "SELECT @mine") == ((None,),)
        assert do(session, "SELECT 1; SELECT 2") == 1064


def test_another_account_and_database_are_the_sessions_then(
    parameters: dict[str, Any], observer: Any
) -> None:
    observer.query(f"CREATE USER other {identified('sesame')}")
    observer.query("GRANT ALL ON elsewhere.* TO other")
    try:
        with opened(parameters) as session:
            other = {**parameters, "user": "other", "password": "sesame", "database": "elsewhere"}
            assert renew(session, other)
            [[account, database]] = do(session, "SELECT CURRENT_USER(), DATABASE()")
            assert (account.split("@")[0], database) == ("other", "elsewhere")
            whose = itemgetter("user", "database", "db")(vars(session))
            assert whose == ("other", "elsewhere", "elsewhere")
            assert session.restore() is None
            assert not session.is_changed_in_python()
            assert renew(session, {**other, "database": ""})
            assert do(session, "SELECT DATABASE()") == ((None,),)
    finally:
        observer.query("DROP USER other")


@pytest.mark.parametrize(
    "changes",
    [{"read_default_group": "client"}, {"user": None}],
    ids=["an option file", "no account"],
)
def test_whose_account_only_the_library_knows_is_never_renewed(
    changes: dict[str, Any], parameters: dict[str, Any]
) -> None:
    known = {**parameters, **changes}
    if known["user"] is None:
        del known["user"]
    try:
        session = Session(**known)
    except MySQLdb.Error:
        pytest.skip("this system's account has none on the server")
    with session:
        session.settle()
        session.renew_by(Renewals(), None)
        do(session, "SET @mine = 1")
        assert session.restore() == "SET"
