"""What one statement leaves and another takes back: each kind, asked of the real server.

Each row is checked three times. On the driver's own connection its first acts must change what the
probe sees, and its last ones must change it back, so that the row is about something real. On a
Session it is dirty between them, and clean and at rest afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import sleep
from typing import Any

import MySQLdb
import pytest
from MySQLdb.cursors import SSCursor

from mysqlpool.errors import SessionStateError
from mysqlpool.session.session import Session
from tests.helpers import in_thread
from tests.server import Server

from .test_state import do

HELD = "SELECT IS_USED_LOCK('taken') IS NOT NULL"


@dataclass(frozen=True)
class Pair:
    """A kind of state: what leaves it, and what takes it back."""

    acts: tuple[str, ...]
    back: tuple[str, ...]
    probe: str = HELD


def switch(name: str, off: str, on: str) -> Pair:
    return Pair((off,), (on,), f"SELECT @@SESSION.{name}")


GET, RELEASE = "SELECT GET_LOCK('taken', 0)", "SELECT RELEASE_LOCK('taken')"
PAIRS = [
    switch("foreign_key_checks", "SET foreign_key_checks=0", "SET foreign_key_checks=1"),
    switch("foreign_key_checks", "SET FOREIGN_KEY_CHECKS = 0;", "SET FOREIGN_KEY_CHECKS = 1;"),
    switch("foreign_key_checks", "SET SESSION foreign_key_checks=OFF", "SET foreign_key_checks=ON"),
    switch("unique_checks", "SET unique_checks = 0", "SET unique_checks = 1"),
    switch("sql_notes", "SET sql_notes = FALSE", "SET sql_notes = TRUE"),
    switch("sql_safe_updates", "SET sql_safe_updates = 1", "SET sql_safe_updates = 0"),
    Pair(
        ("SET foreign_key_checks=0", "SET foreign_key_checks=0"),
        ("SET unique_checks=0", "SET foreign_key_checks=1", "SET unique_checks=1"),
        "SELECT @@SESSION.foreign_key_checks",
    ),
    Pair((GET,), (RELEASE,)),
    Pair(("DO GET_LOCK('taken', 1.5)",), ("/* and */ do release_lock ( 'taken' );",)),
    Pair((GET, "SELECT GET_LOCK('taken', 0) AS again"), (RELEASE, RELEASE)),
    Pair((GET, GET, "DO GET_LOCK('other', 0)"), ("SELECT RELEASE_ALL_LOCKS()",)),
    Pair((GET,), (RELEASE, RELEASE)),
]


@pytest.fixture
def parameters(server: Server) -> dict[str, Any]:
    names = ("host", "port", "user", "password")
    return {name: getattr(server, name) for name in names} | {
        "autocommit": True,
        "charset": "utf8mb4",
    }


@pytest.fixture
def session(parameters: dict[str, Any]) -> Iterator[Session]:
    with Session(**parameters) as session:
        session.settle()
        yield session


def reason(session: Session) -> str | None:
    return session.dirty


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "; ".join(pair.acts + pair.back))
def test_what_was_taken_back_is_not_there_any_more(pair: Pair, parameters: dict[str, Any]) -> None:
    with MySQLdb.connect(**parameters) as bare:
        baseline = do(bare, pair.probe)
        for act in pair.acts:
            do(bare, act)
        assert do(bare, pair.probe) != baseline, "the row shows no state at all"
        for act in pair.back:
            do(bare, act)
        assert do(bare, pair.probe) == baseline
    with Session(**parameters) as session:
        session.settle()
        for act in pair.acts:
            do(session, act)
        assert reason(session)
        assert not session.is_at_rest()
        for act in pair.back:
            do(session, act)
        assert reason(session) is None
        assert session.is_at_rest()
        assert session.restore() is None
        assert do(session, pair.probe) == baseline


# What is still there afterwards, or might be.
LEFT = [
    ("SET foreign_key_checks=0",),
    ("SET foreign_key_checks=1", "SET foreign_key_checks=0"),
    ("SET foreign_key_checks=0", "SET foreign_key_checks=nonsense"),
    ("SET foreign_key_checks=0", "SET GLOBAL foreign_key_checks=1"),
    ("SET foreign_key_checks=0", "SET unique_checks=0", "SET unique_checks=1"),
    ("SET foreign_key_checks=0", "SELECT nonsense; SET foreign_key_checks=1"),
    ("SET foreign_key_checks=0; SELECT nonsense", "SET foreign_key_checks=1"),
    ("SET foreign_key_checks=0, @mine=1", "SET foreign_key_checks=1"),
    (GET,),
    (GET, GET, RELEASE),
    (GET, "SELECT RELEASE_LOCK('other')"),
    (GET, "SELECT RELEASE_LOCK('taken ' 'x')"),
    (GET, "SELECT IF(0, RELEASE_LOCK('taken'), 0)"),
    (GET, "SELECT RELEASE_LOCK('taken') LIMIT 0"),
    (GET, "SELECT RELEASE_LOCK('taken') FROM dual WHERE 0"),
    (GET, "SELECT 'SELECT RELEASE_LOCK(''taken'')'"),
    (GET, "SELECT /* RELEASE_LOCK('taken') */ 1"),
    ("SELECT GET_LOCK('taken', 0), GET_LOCK('other', 0)", RELEASE),
    ("SELECT GET_LOCK(CONCAT('tak', 'en'), 0)", "SELECT RELEASE_LOCK('other')"),
    ("DO GET_LOCK('Taken', 0)", "DO GET_LOCK('taken', 0)", RELEASE, RELEASE),
]


@pytest.mark.parametrize("acts", LEFT, ids="; ".join)
def test_what_may_be_left_keeps_the_session_dirty(acts: tuple[str, ...], session: Session) -> None:
    for act in acts:
        do(session, act)
    assert session.restore() in ("SET", "GET_LOCK")


def test_names_that_differ_in_capitals_are_two_locks_on_mariadb_alone(
    parameters: dict[str, Any], flavour: str
) -> None:
    """So a lock counts as released where its name was written in the same way."""
    with MySQLdb.connect(**parameters) as bare:
        do(bare, "DO GET_LOCK('taken', 0)")
        do(bare, "DO RELEASE_LOCK('Taken')")
        assert do(bare, HELD) == ((flavour == "mariadb",),)


@pytest.mark.parametrize("options", [{"init_command": "SET foreign_key_checks=0"}, {}])
def test_a_switch_goes_back_to_what_this_sessions_baseline_has(
    options: dict[str, str], parameters: dict[str, Any], observer: Any
) -> None:
    """Its value is asked for once, before its holder's first statement."""
    observer.query("SET GLOBAL foreign_key_checks=0")
    try:
        with Session(**parameters, **options) as session:
            session.settle()
            with observer.counting("Questions") as sent:
                do(session, "SET foreign_key_checks=0")
                assert reason(session) is None
                do(session, "SET foreign_key_checks=1")
                assert reason(session) == "SET"
                do(session, "SET foreign_key_checks=0")
                assert session.restore() is None
                do(session, "SET foreign_key_checks=0")
            assert sent == [5]
    finally:
        observer.query("SET GLOBAL foreign_key_checks=1")


def test_a_switch_goes_back_to_what_this_holders_set_up_said(
    session: Session, parameters: dict[str, Any]
) -> None:
    do(session, "SET foreign_key_checks=0")
    do(session, "SET foreign_key_checks=1")
    assert session.restore() is None
    session.begin_set_up(lambda: parameters)
    do(session, "SET foreign_key_checks=0")
    session.end_set_up()
    assert session.restore() is None
    do(session, "SET foreign_key_checks=1")
    assert reason(session) == "SET"
    do(session, "SET foreign_key_checks=0")
    assert session.restore() is None


def test_nothing_is_asked_between_a_holders_statements(session: Session, observer: Any) -> None:
    do(session, "SELECT 1 UNION SELECT 2")
    with observer.counting("Questions") as sent:
        do(session, "SET foreign_key_checks=0")
    assert sent == [1]
    assert do(session, "SELECT FOUND_ROWS()") == ((2,),)
    do(session, "SET foreign_key_checks=1")
    assert session.restore() == "SET"


def test_a_lock_that_somebody_else_has_is_not_taken_and_release_is_harmless(
    session: Session, parameters: dict[str, Any]
) -> None:
    with MySQLdb.connect(**parameters) as other:
        assert do(other, GET) == ((1,),)
        assert do(session, GET) == ((0,),)
        assert reason(session) == "GET_LOCK"
        assert do(session, RELEASE) == ((0,),)
        assert session.restore() is None
        assert do(other, HELD) == ((1,),)


NAMELESS = "x" * 200  # longer than either server allows


@pytest.mark.parametrize("cursor", [None, SSCursor])
@pytest.mark.parametrize("read", [True, False])
def test_an_error_in_place_of_the_row_has_released_nothing(
    session: Session, cursor: Any, read: bool
) -> None:
    """A server sends the column's name first, and a kill may come before the release."""
    release = f"SELECT RELEASE_LOCK('{NAMELESS}')"
    do(session, f"SELECT GET_LOCK('{NAMELESS}', 0)")
    assert reason(session) == "GET_LOCK"
    made = session.cursor(cursor)
    with pytest.raises(MySQLdb.Error):
        made.execute(release)
        if read:
            made.fetchall()
        made.close()
    assert session.restore() == "GET_LOCK"


def test_who_was_killed_while_waiting_for_a_lock_may_go_on(
    session: Session, parameters: dict[str, Any], observer: Any
) -> None:
    ours = session.thread_id()
    waits = f"SELECT 1 FROM information_schema.processlist WHERE id = {ours} AND info LIKE '%%30)'"

    def kill() -> None:
        while not observer.query(waits):
            sleep(0.01)
        observer.query(f"KILL QUERY {ours}")

    with MySQLdb.connect(**parameters) as other:
        assert do(other, GET) == ((1,),)
        with in_thread(kill):
            assert do(session, "SELECT GET_LOCK('taken', 30)") in (1317, ((None,),))
    assert reason(session) == "GET_LOCK"
    assert do(session, RELEASE) in (((None,),), ((0,),))
    assert session.restore() is None


def test_a_wait_for_a_lock_that_fails_may_have_taken_it(session: Session) -> None:
    with pytest.raises(MySQLdb.Error), session.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('taken', nonsense)")
    do(session, "SELECT RELEASE_ALL_LOCKS()")
    assert session.restore() == "GET_LOCK"


def test_the_count_of_all_rows_is_not_told_to_the_next_holder(session: Session) -> None:
    do(session, "SELECT SQL_CALC_FOUND_ROWS 1 UNION SELECT 2 LIMIT 1")
    assert do(session, "SELECT FOUND_ROWS()") == ((2,),)
    do(session, "SELECT SQL_CALC_FOUND_ROWS 1 UNION SELECT 2 LIMIT 1")
    assert session.restore() is None
    with pytest.raises(SessionStateError), session.cursor() as cursor:
        cursor.execute("SELECT FOUND_ROWS()")
    assert do(session, "SELECT a FROM (SELECT 1 AS a UNION SELECT 2) AS t LIMIT 1") == ((1,),)
    assert do(session, "SELECT FOUND_ROWS()") == ((1,),), "nothing is counted beyond the statement"


MODES = ["", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "column", [r'"it\'s"', r'"a\\"', r'"a\\b\n\N"', r'"c:\\temp\\", "x;@y"', r'"\x", "SET @a = 1"']
)
def test_a_backslash_between_double_quotes_ends_no_text(
    mode: str, column: str, parameters: dict[str, Any]
) -> None:
    """In every mode the quote that ends it is the same one, as what follows tells."""
    with Session(**parameters, sql_mode=mode) as session:
        session.settle()
        sql = f"SELECT {column} /* ' */ FROM (SELECT 7 AS seven) AS t"
        if "ANSI" in mode:  # Between double quotes is a name.
            sql = (
                f"SELECT seven AS {column.split(', ')[0]}, 8 AS last FROM (SELECT 7 AS seven) AS t"
            )
        [row] = do(session, sql)
        assert len(row) == sql.count(", ") + 1
        assert session.restore() is None


@pytest.mark.mariadb
def test_a_null_that_is_written_with_a_backslash(session: Session) -> None:
    assert do(session, r"SELECT \N, 1") == ((None, 1),)
    assert session.restore() is None


@pytest.mark.parametrize(
    "comment", ["/*! */", "/*!*/", "/*!50000 */", "/*!50000*/", "/*!99999 */", "/*M! */"]
)
def test_a_version_comment_without_anything_in_it(comment: str, session: Session) -> None:
    assert do(session, f"SELECT{comment}1{comment}+{comment}1") == ((2,),)
    assert session.restore() is None


@pytest.mark.parametrize("comment", ["/*! ,2 */", "/*!50000 ,2 */"])
def test_a_version_comment_with_something_in_it_is_code(comment: str, session: Session) -> None:
    assert do(session, f"SELECT 1 {comment}") == ((1, 2),)
    assert session.restore() == "a version comment"
