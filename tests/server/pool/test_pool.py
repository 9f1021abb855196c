"""FairQueuePool where only the real server can say: full servers, refusals, dead threads."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from sqlalchemy import create_engine, text

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool
from tests.fake_driver import until
from tests.helpers import HANG, error_of, identified, in_thread, run_threads, session_id

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

RUNNING = (
    "SELECT 1 FROM information_schema.PROCESSLIST "
    "WHERE INFO LIKE 'SELECT GET_LOCK%%' AND ID <> CONNECTION_ID()"
)


@contextmanager
def alias_with(pool: dict[str, Any], **values: Any) -> Iterator[None]:
    settings = connections["default"].settings_dict
    before = dict(settings)
    release_connections()
    settings.update(values, OPTIONS={"pool": pool})
    try:
        yield
    finally:
        release_connections()
        close_pool()
        settings.update(before)


@pytest.fixture
def narrow_user(observer: Any) -> Iterator[str]:
    """An account that may have two sessions at once; a third is refused with error 1226."""
    observer.query(
        f"CREATE USER narrow@'%%' {identified('narrow-secret')} WITH MAX_USER_CONNECTIONS 2"
    )
    observer.query("GRANT ALL ON *.* TO narrow@'%%'")
    yield "narrow"
    observer.query("DROP USER narrow@'%%'")


def test_a_full_server_is_treated_as_a_full_pool(narrow_user: str) -> None:
    """The pool may have 6 sessions and the account 2: everybody is served, by waiting."""

    @auto_close_db
    def work() -> int:
        for _ in range(5):
            with connection.cursor() as cursor:
                cursor.execute("SELECT SLEEP(0.01)")  # so that leases overlap
            release_connections()
        return 1

    with alias_with({"pool_size": 6, "timeout": HANG}, USER=narrow_user, PASSWORD="narrow-secret"):
        assert len(run_threads(*[work] * 12)) == 12
        snapshot = stats()["default"]
    assert snapshot.connect_errors > 0
    assert snapshot.timeouts == 0
    assert snapshot.in_use == 0
    assert snapshot.idle <= 2
    assert snapshot.waits > 0


def test_a_server_that_stays_full_ends_in_a_timeout_that_tells_its_error(narrow_user: str) -> None:
    others = {"pool_size": 2, "timeout": 5}
    values = {"USER": narrow_user, "PASSWORD": "narrow-secret"}
    with alias_with(others, **values):
        first = connections["default"].copy()
        second = connections["default"].copy()
        first.ensure_connection()
        second.ensure_connection()
        try:
            connections["default"].settings_dict["OPTIONS"] = {
                "pool": {"pool_size": 2, "timeout": 0.2}
            }
            error = error_of(session_id)
        finally:
            first.close()
            second.close()
    assert isinstance(error, PoolTimeout)
    assert "1226" in repr(error.__cause__)
    assert "refused the last attempt to open one with 1226" in str(error)
    assert "max_user_connections" in str(error)
    assert "sessions are in use" not in str(error)
    assert "narrow-secret" not in str(error) + repr(error)


def test_an_account_that_used_up_its_hour_fails_at_once(observer: Any) -> None:
    observer.query(
        f"CREATE USER hourly@'%%' {identified('hourly-secret')} WITH MAX_CONNECTIONS_PER_HOUR 1"
    )
    observer.query("GRANT ALL ON *.* TO hourly@'%%'")
    try:
        with alias_with({"timeout": HANG}, USER="hourly", PASSWORD="hourly-secret"):
            session_id()
            release_connections()
            close_pool()
            started = time.monotonic()
            error = error_of(session_id)
            assert time.monotonic() - started < HANG / 2
    finally:
        observer.query("DROP USER hourly@'%%'")
    assert isinstance(error, OperationalError)
    assert not isinstance(error, PoolTimeout)
    assert error.args[0] == 1226


@pytest.mark.parametrize(
    ("values", "number"),
    [({"USER": "nobody-there", "PASSWORD": "x"}, 1045), ({"NAME": "no_such_database"}, 1049)],
)
def test_what_no_waiting_will_mend_fails_at_once_without_retry(
    values: dict[str, str], number: int, observer: Any
) -> None:
    with alias_with({"pool_size": 2, "timeout": HANG}, **values):
        started = time.monotonic()
        with observer.counting("Connections") as attempts:
            error = error_of(session_id)
        assert attempts == [1]
        assert time.monotonic() - started < HANG / 2
        assert isinstance(error, OperationalError)
        assert error.args[0] == number
        assert stats()["default"].in_use == 0


def test_dead_threads_cost_no_slot_with_the_garbage_collector_off(
    observer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads without any helper, whose wrappers are kept alive by references."""
    database = connections["default"].settings_dict["NAME"]
    kept: list[Any] = []

    def careless() -> None:
        session_id()
        kept.append(connections["default"])

    with alias_with({"pool_size": 2, "timeout": HANG, "lease": "task"}):
        gc.disable()
        try:
            with caplog.at_level(logging.WARNING, "mysqlpool"):
                for _ in range(10):
                    thread = threading.Thread(target=careless)
                    thread.start()
                    thread.join(HANG)
                    assert len(observer.sessions(database)) <= 2
            assert len({wrapper.connection for wrapper in kept}) == 10
            assert stats()["default"].reaped >= 8
        finally:
            gc.enable()
    reaped = [record for record in caplog.records if getattr(record, "event", "") == "lease_reaped"]
    assert len(reaped) >= 8
    assert all("test_pool.py" in r.getMessage() or "helpers.py" in r.getMessage() for r in reaped)


def test_a_plain_sqlalchemy_engine_can_use_it(server: Any, observer: Any) -> None:
    engine = create_engine(
        f"mysql+mysqldb://{server.user}@{server.host}:{server.port}/",
        poolclass=FairQueuePool,
        pool_size=2,
        max_overflow=0,
    )

    def ask() -> int:
        with engine.connect() as connection:
            number: int = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
            return number

    before = observer.sessions()
    assert len(set(run_threads(*[ask] * 10))) <= 2
    assert len(observer.sessions() - before) <= 2
    engine.dispose()
    observer.until(lambda: observer.sessions() <= before)


def time_out_beside(hold: Callable[[Callable[[], None]], None], lease: str = "task") -> PoolTimeout:
    """Ask a pool of one for a second lease while ``hold`` runs: between its call and its end."""
    holds, asked = threading.Event(), threading.Event()

    def meet() -> None:
        holds.set()
        assert asked.wait(HANG)

    with alias_with({"pool_size": 1, "timeout": 0.05, "lease": lease}):

        @auto_close_db
        def holder() -> None:
            hold(meet)

        with in_thread(holder):
            try:
                assert holds.wait(HANG)
                error = error_of(session_id)
            finally:
                asked.set()
    assert isinstance(error, PoolTimeout)
    return error


def test_a_timeout_calls_a_holder_between_two_statements_idle() -> None:
    def hold(meet: Callable[[], None]) -> None:
        with transaction.atomic():
            session_id()
        session_id()
        meet()

    error = time_out_beside(hold)
    assert error.holders[0].idle
    assert "idle, nobody released it" in str(error)
    assert str(error).splitlines()[-1].endswith('OPTIONS["pool"]["lease"] = "transaction".')


@pytest.mark.parametrize("sends_first", [True, False])
def test_a_timeout_does_not_call_a_holder_in_a_transaction_idle(sends_first: bool) -> None:
    def hold(meet: Callable[[], None]) -> None:
        with transaction.atomic():
            if sends_first:
                session_id()
            else:
                connection.ensure_connection()
            meet()

    error = time_out_beside(hold)
    assert not error.holders[0].idle
    assert "nobody released it" not in str(error)


@contextmanager
def running(observer: Any, slow: Callable[[], None]) -> Iterator[None]:
    """While a statement of ``slow``, in another thread, waits for the lock of that name."""
    observer.query("SELECT GET_LOCK('slow statement', 0)")
    with in_thread(slow):
        try:
            until(lambda: observer.query(RUNNING))
            yield
        finally:
            observer.query("DO RELEASE_LOCK('slow statement')")


def test_a_timeout_does_not_call_a_holder_whose_statement_runs_idle(observer: Any) -> None:
    """The server says that the statement runs, so its thread waits for the answer."""
    with alias_with({"pool_size": 1, "timeout": 0.05, "lease": "task"}):

        @auto_close_db
        def slow() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT GET_LOCK('slow statement', 30)")
                assert cursor.fetchone() == (1,)

        with running(observer, slow):
            error = error_of(session_id)
    assert isinstance(error, PoolTimeout)
    assert not error.holders[0].idle
    assert "nobody released it" not in str(error)


def test_a_statement_on_another_alias_does_not_hide_an_idle_holder(observer: Any) -> None:
    with alias_with({"pool_size": 1, "timeout": 0.05, "lease": "task"}):

        @auto_close_db
        def slow() -> None:
            session_id()
            with connections["other"].cursor() as cursor:
                cursor.execute("SELECT GET_LOCK('slow statement', 30)")
                assert cursor.fetchone() == (1,)

        with running(observer, slow):
            error = error_of(session_id)
    assert isinstance(error, PoolTimeout)
    assert error.holders[0].idle


def test_with_transaction_tenure_a_timeout_calls_nobody_idle() -> None:
    def hold(meet: Callable[[], None]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET @mine = 1")
        meet()

    error = time_out_beside(hold, lease="transaction")
    assert error.holders[0].pinned == "SET"
    assert "nobody released it" not in str(error)
