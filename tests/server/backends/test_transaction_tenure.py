"""lease="transaction": the lease ends with the statement or the transaction."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import MySQLdb.cursors
import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import DatabaseError, OperationalError
from django.test.utils import CaptureQueriesContext

from mysqlpool import auto_close_db, close_pool, release_connections, released, stats
from mysqlpool.aliases import registry
from mysqlpool.errors import PoolTimeout, SessionStateError
from tests.helpers import HANG, calls, error_of, in_thread, leased, run_threads, session_id
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def transaction_leasing() -> Iterator[None]:
    settings = connections["default"].settings_dict
    before = settings["OPTIONS"]
    release_connections()
    settings["OPTIONS"] = {"pool": {"pool_size": 3, "timeout": 10, "lease": "transaction"}}
    yield
    release_connections()
    close_pool()
    settings["OPTIONS"] = before


def out() -> int:
    pool: Any = registry.pools()["default"].pool
    return int(pool.checkedout())


def test_the_lease_ends_with_the_statement() -> None:
    Row.objects.create(text="a")
    assert leased() == []
    assert out() == 0
    assert Row.objects.get().text == "a"
    assert out() == 0


def test_the_lease_lasts_as_long_as_the_transaction() -> None:
    with transaction.atomic():
        first = session_id()
        assert out() == 1
        with transaction.atomic():
            Row.objects.create(text="inner")
        assert session_id() == first
    assert out() == 0
    assert Row.objects.count() == 1


def test_the_lease_lasts_while_autocommit_is_off() -> None:
    transaction.set_autocommit(False)
    Row.objects.create(text="by hand")
    assert out() == 1
    transaction.commit()
    assert out() == 1
    transaction.set_autocommit(True)
    assert out() == 0
    assert Row.objects.count() == 1


class Leaving(MySQLdb.cursors.Cursor):
    """An application's cursor, which leaves unread what it was not asked for."""

    def close(self) -> None:
        self.connection = None


@pytest.mark.parametrize("kind", [MySQLdb.cursors.Cursor, Leaving])
def test_an_answer_that_a_cursor_left_unread_is_no_other_holders(kind: type[Any]) -> None:
    options = connections["default"].settings_dict["OPTIONS"]
    with mock.patch.dict(options, cursorclass=kind):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1; SELECT 2")
            assert cursor.fetchone() == (1,)
        assert out() == (kind is Leaving)  # It is not at rest then, and stays until the release.
        release_connections()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 3")
            assert cursor.fetchone() == (3,)


def test_where_a_cursor_has_read_on_no_further_answer_is_asked_for() -> None:
    """That would let other threads go first, once a statement."""
    session_id()
    asked: list[str] = []

    def called(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and argument.__name__ == "next_result":
            asked.append(frame.f_code.co_name)

    sys.setprofile(called)
    try:
        session_id()
    finally:
        sys.setprofile(None)
    assert asked == ["_discard", "_discard"]  # as the statement begins, and as its cursor is closed


def test_a_cursor_keeps_its_session_until_it_is_closed() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        first = cursor.fetchone()
        assert out() == 1
        with connection.cursor() as other:
            other.execute("SELECT CONNECTION_ID()")
            assert other.fetchone() == first
        assert out() == 1
        cursor.execute("SELECT CONNECTION_ID()")
        assert cursor.fetchone() == first
    assert out() == 0


def test_a_cursor_lost_to_the_garbage_collector_counts_as_closed() -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    assert out() == 1
    del cursor
    gc.collect()
    assert out() == 0


def test_a_cursor_collected_by_another_thread_ends_no_lease_there() -> None:
    kept = [connection.cursor()]

    def collect() -> None:
        kept.clear()
        gc.collect()

    with in_thread(collect):
        pass
    assert out() == 1, "it is this thread's to end"
    session_id()
    assert out() == 0


def test_an_iterator_that_another_thread_closes_ends_no_lease_there() -> None:
    """As the collector does with one that an ``async for`` left, in the event loop's thread."""
    Row.objects.bulk_create([Row(text=str(number)) for number in range(300)])
    rows = iter(Row.objects.order_by("pk").iterator(chunk_size=50))
    next(rows)
    first = session_id()
    with in_thread(rows.close):  # type: ignore[attr-defined]
        pass
    assert out() == 1
    assert session_id() == first
    assert out() == 0


def test_an_iterator_is_served_by_one_session_to_its_last_row() -> None:
    Row.objects.bulk_create(Row(text=str(n)) for n in range(10))
    seen = []
    for row in Row.objects.order_by("pk").iterator(chunk_size=2):
        seen.append(row.text)
        Row.objects.filter(pk=row.pk).update(number=1)
    assert seen == [str(n) for n in range(10)]
    assert out() == 0


def test_a_thread_that_waits_for_something_else_holds_no_session() -> None:
    """Three times as many threads as sessions meet at a barrier between two queries."""
    barrier = threading.Barrier(9)

    @auto_close_db
    def work() -> int:
        Row.objects.create(text="before")
        barrier.wait(HANG)
        return Row.objects.count()

    threads = [threading.Thread(target=work) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert not barrier.broken
    assert Row.objects.count() == 9


def test_a_dirty_session_is_pinned_until_the_release() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET @mine = 7")
    first = session_id()
    assert out() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT @mine")
        assert cursor.fetchone() == (7,)
    assert session_id() == first
    release_connections()
    assert out() == 0
    assert_not_there()


def assert_not_there() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET @other = 1")
        cursor.execute("SELECT @mine")
        assert cursor.fetchone() == (None,)


def test_a_session_without_constraint_checks_is_kept_until_they_are_on_again() -> None:
    first = session_id()
    with connection.constraint_checks_disabled():
        assert out() == 1
        Row.objects.create(text="unchecked")
        assert out() == 1
        assert session_id() == first
    assert out() == 0
    release_connections()
    assert session_id() == first
    assert stats()["default"].pinned == {"SET": 1}
    assert stats()["default"].discards == {}


def test_a_flush_leaves_its_session_clean() -> None:
    first = session_id()
    for _ in range(2):
        Row.objects.create(text="flushed")
        call_command("flush", interactive=False, verbosity=0)
        assert out() == 0
    assert Row.objects.count() == 0
    assert session_id() == first
    assert stats()["default"].discards == {}


def test_a_session_with_a_named_lock_is_kept_until_that_is_released() -> None:
    first = session_id()
    with connection.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, %s)", ["nightly", 0])
    Row.objects.create(text="locked")
    assert out() == 1
    assert session_id() == first
    with connection.cursor() as cursor:
        cursor.execute("SELECT RELEASE_LOCK(%s)", ["nightly"])
        assert cursor.fetchone() == (1,)
    assert out() == 0
    assert session_id() == first


def test_an_open_transaction_of_raw_sql_keeps_its_session() -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Row.objects.create(text="raw")
    assert out() == 1
    with connection.cursor() as cursor:
        cursor.execute("ROLLBACK")
    assert out() == 0
    assert Row.objects.count() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM no_such_table",
        "SELECT 1 +",
        "SELECT * FROM rows_row WHERE id = (SELECT 1, 2)",
    ],
)
def test_a_statement_that_fails_ends_its_lease_like_any_other(statement: str) -> None:
    first = session_id()
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute(statement)
    assert out() == 0
    assert stats()["default"].pinned == {}
    assert session_id() == first


@pytest.mark.parametrize(("end", "rows"), [("COMMIT", 1), ("ROLLBACK", 0), ("", 0)])
def test_a_transaction_that_an_error_left_open_is_its_threads(end: str, rows: int) -> None:
    """It was begun by hand, so that the thread ends it; or forgets it until the release."""
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO rows_row (text, number) VALUES ('forgotten', 1)")
        cursor.execute("SELECT * FROM no_such_table")
    assert out() == 1
    if end:
        with connection.cursor() as cursor:
            cursor.execute(end)
    else:
        release_connections()
    assert out() == 0
    assert Row.objects.count() == rows


def test_what_a_failed_statements_thread_left_still_pins() -> None:
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SET @mine = 1")
        cursor.execute("SELECT * FROM no_such_table")
    assert out() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT @mine")
        assert cursor.fetchone() == (1,)
    release_connections()
    assert out() == 0


def test_more_threads_than_sessions_may_fail_and_never_release() -> None:
    """As job runners do that know nothing of scopes."""
    all_failed = threading.Barrier(12)

    def work() -> None:
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")
        all_failed.wait(HANG)
        assert session_id() > 0
        all_failed.wait(HANG)

    run_threads(*[work] * 12)


def test_a_lost_connection_inside_atomic_fails_the_block(observer: Any) -> None:
    with pytest.raises(OperationalError), transaction.atomic():
        Row.objects.create(text="lost")
        observer.kill(session_id())
        Row.objects.count()
    release_connections()
    assert Row.objects.count() == 0


def test_on_commit_hooks_run_once_after_the_commit() -> None:
    ran: list[tuple[int, bool]] = []
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append((Row.objects.count(), connection.in_atomic_block)))
        Row.objects.create(text="committed")
        assert ran == []
    assert ran == [(1, False)]
    transaction.on_commit(lambda: ran.append((2, False)))
    assert len(ran) == 2
    assert out() == 0


def test_queries_are_captured_and_execute_wrappers_run() -> None:
    seen: list[str] = []

    def wrapper(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    with CaptureQueriesContext(connection) as queries, connection.execute_wrapper(wrapper):
        Row.objects.count()
        Row.objects.count()
    assert len(queries) == len(seen) == 2


def test_connection_created_is_sent_when_the_wrapper_connects_not_at_each_lease() -> None:
    heard: list[str] = []

    def receiver(connection: Any, **kwargs: Any) -> None:
        heard.append(connection.alias)

    connection_created.connect(receiver)
    try:
        for _ in range(2):
            for _ in range(5):
                session_id()
            release_connections()
    finally:
        connection_created.disconnect(receiver)
    assert heard == ["default"] * 2


def test_what_a_receiver_sets_holds_for_every_statement_and_is_sent_once(observer: Any) -> None:
    def receiver(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wait_timeout = 4321")

    def waits() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@SESSION.wait_timeout")
            return int(cursor.fetchone()[0])

    connection_created.connect(receiver)
    try:
        assert waits() == 4321
        with observer.counting("Questions") as statements:
            assert [waits() for _ in range(5)] == [4321] * 5
        assert statements == [5]
        # On a second session, which was set up while no receiver listened.
        connection_created.disconnect(receiver)
        holding, go_on = threading.Event(), threading.Event()

        def hold_one() -> None:
            with transaction.atomic():
                session_id()
                holding.set()
                assert go_on.wait(HANG)

        with connection.cursor(), in_thread(auto_close_db(session_id)):
            pass  # opens the second, and leaves it idle
        with in_thread(auto_close_db(hold_one)):
            assert holding.wait(HANG)
            assert waits() == 4321
            go_on.set()
    finally:
        connection_created.disconnect(receiver)


def test_a_task_that_never_waits_sends_no_more_than_with_task_leasing(observer: Any) -> None:
    Row.objects.count()
    with observer.counting("Questions", "Connections") as grown:
        for _ in range(10):
            Row.objects.count()
    assert grown == [10, 0]


def three_queries() -> None:
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    release_connections()


def test_a_task_that_never_waits_takes_few_more_python_calls_than_with_task_leasing() -> None:
    """In a thread whose wrapper never knew another lease mode."""
    [transaction_leases] = run_threads(lambda: calls(three_queries))
    settings = connections["default"].settings_dict
    settings["OPTIONS"] = {"pool": {"pool_size": 3, "timeout": 10}}
    [task_leases] = run_threads(lambda: calls(three_queries))
    assert transaction_leases <= 1.25 * task_leases


def test_a_task_after_a_release_does_without_djangos_connect() -> None:
    def two_tasks() -> None:
        three_queries()
        # Django's connect() begins with this. Who patches connect() itself is heard.
        with mock.patch.object(BaseDatabaseWrapper, "check_settings", side_effect=AssertionError):
            three_queries()

    run_threads(two_tasks)


def test_a_dead_session_is_replaced_between_two_statements(observer: Any) -> None:
    """The new one is set up as the first was, before the thread's statement reaches it."""

    def receiver(connection: Any, **kwargs: Any) -> None:
        connection.cursor().execute("SET SESSION group_concat_max_len = 4321")

    connection_created.connect(receiver)
    try:
        before = session_id()
        observer.kill(before)
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@group_concat_max_len, CONNECTION_ID()")
            length, after = cursor.fetchone()
    finally:
        connection_created.disconnect(receiver)
    assert length == 4321
    assert after != before


def test_released_gives_the_session_back_for_a_slow_call() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET @mine = 1")
    with released():
        assert leased() == []
        assert out() == 0
    assert_not_there()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT LAST_INSERT_ID()",
        "SELECT ROW_COUNT()",
        "SELECT FOUND_ROWS()",
        "SHOW WARNINGS",
        "SHOW ERRORS",
        "SHOW COUNT(*) WARNINGS",
        "SELECT @mine",
        "SELECT number FROM rows_row WHERE text = @`mine`",
        "SELECT @mine := @mine + 1",
    ],
)
def test_a_statement_about_an_earlier_one_is_refused_as_the_first_of_a_lease(
    statement: str, observer: Any
) -> None:
    session_id()
    with observer.counting("Questions") as sent:
        refused = pytest.raises(SessionStateError, match=r"one cursor.*transaction\.atomic")
        with refused, connection.cursor() as cursor:
            cursor.execute(statement)
    assert sent == [0]
    assert session_id() > 0


def test_statements_about_an_earlier_one_are_answered_by_the_same_lease() -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO rows_row (text, number) VALUES ('a@b.example', 1)")
        inserted = cursor.lastrowid
        cursor.execute("SELECT LAST_INSERT_ID()")
        assert cursor.fetchone() == (inserted,)
    with transaction.atomic():
        Row.objects.update(number=2)
        with connection.cursor() as cursor:
            cursor.execute("SELECT ROW_COUNT()")
            assert cursor.fetchone() == (1,)
    assert out() == 0


@pytest.mark.parametrize(
    "statement", ["SELECT @mine := 1", "SELECT 1 INTO @mine", "SELECT 1, 2 INTO @mine, @`other`"]
)
def test_a_variable_may_be_assigned_in_a_lease_s_first_statement_and_pins(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
    assert out() == 1
    assert stats()["default"].pinned == {"a user variable": 1}


def test_a_thread_that_comes_back_gets_the_session_it_had() -> None:
    """Of the two wrappers the copy gives its session back last, where LIFO would look first."""
    copy = connections["default"].copy()

    def number(wrapper: Any) -> int:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            return int(cursor.fetchone()[0])

    with connection.cursor():
        others = number(copy)
    mine = session_id()
    assert mine != others
    for _ in range(3):
        assert number(copy) == others
        assert session_id() == mine
    copy.close()


def test_a_timeout_tells_what_pinned_the_sessions() -> None:
    settings = connections["default"].settings_dict
    settings["OPTIONS"] = {"pool": {"pool_size": 1, "timeout": 0.05, "lease": "transaction"}}
    with connection.cursor() as cursor:
        cursor.execute("SET @mine = 1")
    with in_thread(lambda: error_of(session_id)) as result:
        pass
    assert isinstance(result.value, PoolTimeout)
    assert result.value.holders[0].pinned == "SET"
    assert "pinned by SET" in str(result.value)


def test_rows_left_unread_on_the_raw_connection_keep_the_lease_until_the_release() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        (first,) = cursor.fetchone()
        connection.connection.query("SELECT 1 UNION SELECT 2")
        result = connection.connection.use_result()
    assert out() == 1
    release_connections()
    assert session_id() != first
    del result


def test_a_session_lost_on_the_raw_connection_is_nobody_elses(observer: Any) -> None:
    """Its error passes by Django, so the wrapper knows of none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        (number,) = cursor.fetchone()
        raw = connection.connection
        observer.kill(number)
        with pytest.raises(MySQLdb.OperationalError):
            raw.query("SELECT 1")
    assert out() == 0
    assert stats()["default"].idle == 0
    assert session_id() != number


def test_a_wrong_password_at_a_later_lease_is_djangos_error() -> None:
    session_id()
    close_pool()
    settings = connections["default"].settings_dict
    with mock.patch.dict(settings, USER="nobody-there", PASSWORD="wrong"):
        error = error_of(session_id)
    assert isinstance(error, OperationalError)
    assert session_id() > 0


def ask(sql: str) -> Any:
    """The first row, if there are rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


@pytest.mark.parametrize("lease", ["transaction", "task"])
def test_what_init_command_assigned_may_be_read_and_leaves_no_trace(lease: str) -> None:
    """Each session of the alias has it, so it tells of no other holder."""
    options = connections["default"].settings_dict["OPTIONS"]
    connections["default"].settings_dict["OPTIONS"] = {
        "pool": {**options["pool"], "lease": lease},
        "init_command": "SET @region = 'eu', @`tenant` = 7",
    }
    for _ in range(3):
        assert ask("SELECT @region, @TENANT") == ("eu", 7)
        with transaction.atomic():
            assert ask("SELECT @region") == ("eu",)
        release_connections()
    assert stats()["default"].connects == 1
    assert stats()["default"].renewed == 0


def test_what_init_command_only_computes_or_does_not_name_is_refused_as_ever() -> None:
    options = connections["default"].settings_dict["OPTIONS"]
    connections["default"].settings_dict["OPTIONS"] = {
        **options,
        "init_command": "SET @mine = CONNECTION_ID()",
    }
    for name in ("mine", "other"):
        with pytest.raises(SessionStateError):
            ask(f"SELECT @{name}")


def test_another_value_for_what_init_command_assigned_is_the_holders_own() -> None:
    options = connections["default"].settings_dict["OPTIONS"]
    connections["default"].settings_dict["OPTIONS"] = {**options, "init_command": "SET @a = 1"}
    ask("SET @a = 2")
    assert ask("SELECT @a") == (2,)
    assert run_threads(lambda: ask("SELECT @a")) == [(1,)]
    release_connections()
    assert ask("SELECT @a") == (1,)
