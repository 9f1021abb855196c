"""Nothing of a holder reaches another: the driver's state, cursors, leases that nobody has."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import MySQLdb
import pytest
from django.db import InterfaceError, OperationalError, connection, connections, transaction
from django.db.backends.mysql.base import CursorWrapper
from MySQLdb.cursors import DictCursor

from mysqlpool import close_pool, release_connections, stats
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from tests.helpers import HANG, run_threads
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True)

Turn = Callable[..., Any]


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest) -> Iterator[str]:
    """A pool of one session."""
    settings = connections["default"].settings_dict
    before = settings["OPTIONS"]
    release_connections()
    settings["OPTIONS"] = {"pool": {"pool_size": 1, "timeout": HANG, "lease": request.param}}
    yield request.param
    release_connections()
    close_pool()
    settings["OPTIONS"] = before


@pytest.fixture
def others_turn() -> Iterator[Turn]:
    """Run a function in another thread, the same each time, which releases at its end."""
    with ThreadPoolExecutor(1) as executor:

        def turn(function: Callable[..., Any], *args: Any) -> Any:
            def run() -> Any:
                try:
                    return function(*args)
                finally:
                    release_connections()

            return executor.submit(run).result(HANG)

        yield turn
        executor.submit(connections.close_all).result(HANG)


def ask(sql: str, *args: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, args)
        return cursor.fetchone()


def number() -> int:
    return int(ask("SELECT CONNECTION_ID()")[0])


def spoil_encoder(raw: Any) -> None:
    raw.encoders[int] = lambda value, encoders: b"42"


def spoil_converter(raw: Any) -> None:
    raw.converter[MySQLdb.constants.FIELD_TYPE.LONGLONG] = lambda value: "spoilt"


def replace_encoders(raw: Any) -> None:
    raw.encoders = {**raw.encoders, int: lambda value, encoders: b"42"}


def spoil_class(raw: Any) -> None:
    raw.cursorclass = DictCursor


def spoil_encoding(raw: Any) -> None:
    raw.encoding = "latin1"


def add_attribute(raw: Any) -> None:
    raw.tenant = "a"


SPOILT = [
    spoil_encoder,
    spoil_converter,
    replace_encoders,
    spoil_class,
    spoil_encoding,
    add_attribute,
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_the_drivers_state_in_python_goes_with_its_holder(
    lease: str, spoil: Callable[[Any], None], others_turn: Turn
) -> None:
    def look() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s, %s", [7, "ö"])
            raw = connection.connection
            return cursor.fetchone(), raw.cursorclass, raw.encoding, vars(raw).get("tenant")

    def change() -> Any:
        connection.ensure_connection()
        session = connection.connection.thread_id()
        spoil(connection.connection)
        ask("SELECT 1")
        return session

    fresh = others_turn(look)
    session = others_turn(change)
    assert others_turn(look) == fresh
    change()
    pinned = {"the driver's state": 2} if lease == "transaction" else {}
    assert stats()["default"].pinned == pinned
    release_connections()
    assert others_turn(look) == fresh
    assert number() == session  # It was put back, and not replaced.


def test_what_the_library_knows_of_a_former_holders_statement_is_not_told(
    lease: str, others_turn: Turn
) -> None:
    def insert() -> None:
        ask("SET SESSION sql_mode = ''")
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO rows_row (text, number) VALUES ('a', 1), ('b', 2)")
            assert cursor.lastrowid
            raw = connection.connection
            assert raw.insert_id() == cursor.lastrowid
            assert "Records: 2" in raw.info()

    def insert_only() -> None:
        Row.objects.create(text="c")

    def look() -> None:
        with connection.cursor() as cursor:
            raw = connection.connection
            told = [raw.insert_id(), raw.affected_rows(), raw.warning_count(), raw.field_count()]
            assert told == [0, 0, 0, 0]
            assert (raw.info(), raw.errno(), raw.error()) == (None, 0, "")
            cursor.execute("SELECT 1")
            assert raw.insert_id() == 0
            assert not cursor.lastrowid

    others_turn(insert)
    others_turn(insert_only)
    look()
    release_connections()
    others_turn(look)


class Wrapped(CursorWrapper):
    """What an engine may put around a cursor."""


class CursorsOfItsOwn(DatabaseWrapper):
    def create_cursor(self, name: Any = None) -> Any:
        return Wrapped(self.connection.cursor())


@pytest.fixture
def engine(lease: str) -> Iterator[Any]:
    wrapper = CursorsOfItsOwn(connections["default"].settings_dict, "default")
    yield wrapper
    wrapper.close()


def test_an_old_cursor_of_an_engine_is_dead(lease: str, engine: Any) -> None:
    cursor = engine.cursor()
    raw = engine.connection.cursor()
    for one in (cursor, raw):
        one.execute("SELECT 1")
    engine.close()
    for one in (cursor, raw):
        with pytest.raises(InterfaceError, match="lease on 'default' has ended"):
            one.execute("SELECT 1")
        with pytest.raises(InterfaceError, match="lease on 'default' has ended"):
            one.fetchone()
        one.close()


def test_an_open_cursor_of_an_engine_keeps_its_session(lease: str, engine: Any) -> None:
    cursor = engine.cursor()
    cursor.execute("SELECT CONNECTION_ID()")
    with engine.cursor() as other:
        other.execute("SELECT 1")
    assert engine.connection is not None
    cursor.close()
    assert (engine.connection is None) == (lease == "transaction")


def test_a_cursor_of_any_kind_stays_what_it_is(lease: str) -> None:
    with connection.cursor():
        cursor = connection.connection.cursor(DictCursor)
        assert isinstance(cursor, DictCursor)
        cursor.execute("SELECT 1 AS a UNION SELECT 2")
        assert list(cursor) == [{"a": 1}, {"a": 2}]
        cursor.close()


def test_a_resting_wrapper_is_usable_and_one_without_a_server_is_not(
    lease: str, observer: Any
) -> None:
    first = number()
    assert connection.is_usable()
    assert number() == first
    observer.kill(first)
    observer.until(lambda: first not in observer.sessions())
    # A session that died while it rested is replaced, and one in its holder's hands is dead.
    assert connection.is_usable() == (lease == "transaction")


@pytest.mark.long
def test_a_wrapper_that_was_dropped_unclosed_costs_no_slot(lease: str) -> None:
    def drop() -> None:
        for _ in range(3):
            number()
            del connections["default"]
            copy = connection.copy()
            copy.ensure_connection()
            del copy
        number()
        connections.close_all()

    gc.disable()  # Only the pool asks for a collection.
    try:
        run_threads(drop)
    finally:
        gc.enable()


def test_what_another_thread_dropped_serves_a_request_that_would_fail(lease: str) -> None:
    settings = connections["default"].settings_dict
    settings["OPTIONS"]["pool"]["timeout"] = 0.2
    dropped, done = threading.Event(), threading.Event()

    def drop() -> None:
        connection.ensure_connection()
        del connections["default"]
        dropped.set()
        assert done.wait(HANG)

    def lease_after() -> None:
        assert dropped.wait(HANG)
        try:
            number()
        finally:
            connections.close_all()
            done.set()

    gc.disable()
    try:
        run_threads(drop, lease_after)
    finally:
        gc.enable()


@pytest.mark.parametrize("sql", ["KILL CONNECTION_ID()", "KILL CONNECTION {}", "kill /* */ {}"])
def test_who_kills_its_own_session_leaves_it_to_nobody(lease: str, sql: str) -> None:
    mine = number()
    with pytest.raises(OperationalError):
        ask(sql.format(mine))
    release_connections()
    assert number() != mine


def test_a_killed_query_leaves_the_session(lease: str) -> None:
    mine = number()
    with pytest.raises(OperationalError):
        ask(f"KILL QUERY {mine}")
    release_connections()
    assert number() == mine


def test_a_variable_that_the_statement_assigns_itself_may_be_read(lease: str) -> None:
    assert ask("SELECT (@f := 'a,b') > '', @f") == (1, "a,b")
    release_connections()
    with transaction.atomic():
        ask("DO 0")
        assert ask("SELECT @f") == (None,)


def test_a_wrapper_whose_connection_was_closed_underneath_is_not_usable(lease: str) -> None:
    """As Django's own tests do it, to look like a server that closed."""
    number()
    connection._close()  # type: ignore[attr-defined]
    assert not connection.is_usable()
    connection.close()
    assert number()
