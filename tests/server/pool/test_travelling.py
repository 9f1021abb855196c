"""Sessions that are used by other threads than the one that leased them, on the real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

from mysqlpool import close_pool, stats
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool
from tests.fake_driver import until
from tests.helpers import HANG, error_of, in_thread, run_threads

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

ALIAS = "travelling"


@pytest.fixture
def engine(server: Any) -> Iterator[Engine]:
    engine = create_engine(
        f"mysql+mysqldb://{server.user}@{server.host}:{server.port}/",
        poolclass=FairQueuePool,
        pool_size=1,
        pool_timeout=0.2,
    )
    yield engine
    engine.dispose()


def test_a_statement_is_not_disturbed_when_the_thread_that_connected_has_ended(
    engine: Engine, observer: Any
) -> None:
    """The connection is another thread's by then, and its statement under way."""
    [connection] = run_threads(engine.connect)
    statement = text("SELECT GET_LOCK('travelling', 30), CONNECTION_ID()")
    observer.query("SELECT GET_LOCK('travelling', 0)")
    with in_thread(lambda: connection.execute(statement).one()) as result:
        try:
            assert isinstance(error_of(engine.connect), PoolTimeout)
        finally:
            observer.query("DO RELEASE_LOCK('travelling')")
    got, session = result.value
    assert got == 1
    connection.close()
    with engine.connect() as again:
        assert again.scalar(text("SELECT CONNECTION_ID()")) == session


Make = Callable[..., DatabaseWrapper]


@pytest.fixture(params=["task", "transaction"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Wrappers of one alias whose pool has one session, each of the thread that makes it."""
    settings = connections[DEFAULT_DB_ALIAS].settings_dict

    def wrapper(timeout: float = 0.2) -> DatabaseWrapper:
        pool = {"pool_size": 1, "timeout": timeout, "lease": request.param}
        return DatabaseWrapper({**settings, "OPTIONS": {"pool": pool}}, ALIAS)

    yield wrapper
    close_pool()


def pinned(wrapper: DatabaseWrapper) -> int:
    """The server's number of a wrapper's session, which it keeps after that in both lease modes."""
    with wrapper.cursor() as cursor:
        cursor.execute("SET @travelling = 1")
        cursor.execute("SELECT CONNECTION_ID()")
        number: int = cursor.fetchone()[0]
        return number


def test_a_shared_wrapper_keeps_its_session_when_its_thread_ends(make: Make, observer: Any) -> None:
    def share() -> tuple[DatabaseWrapper, int]:
        wrapper = make()
        number = pinned(wrapper)
        wrapper.inc_thread_sharing()
        return wrapper, number

    [(wrapper, number)] = run_threads(share)
    asking = make()
    assert isinstance(error_of(lambda: pinned(asking)), PoolTimeout)
    assert pinned(wrapper) == number
    wrapper.inc_thread_sharing()
    wrapper.dec_thread_sharing()
    assert isinstance(error_of(lambda: pinned(asking)), PoolTimeout)
    wrapper.dec_thread_sharing()
    assert pinned(asking) != number
    assert stats()[ALIAS].reaped == 1
    observer.until(lambda: number not in observer.sessions())
    asking.close()


def test_a_waiter_is_woken_when_sharing_ends(make: Make) -> None:
    def share() -> DatabaseWrapper:
        wrapper = make(HANG)
        wrapper.inc_thread_sharing()
        pinned(wrapper)
        return wrapper

    [wrapper] = run_threads(share)
    started = time.monotonic()
    with in_thread(lambda: pinned(make(HANG))):
        until(lambda: stats()[ALIAS].waiting == 1)
        wrapper.dec_thread_sharing()
    assert time.monotonic() - started < HANG / 2
    assert stats()[ALIAS].reaped == 1


def test_a_lease_of_a_wrapper_belongs_to_its_own_thread_once_it_is_shared_no_more(
    make: Make,
) -> None:
    """Also when another thread, which has ended, took it."""
    wrapper = make()
    wrapper.inc_thread_sharing()
    [number] = run_threads(lambda: pinned(wrapper))
    wrapper.dec_thread_sharing()
    [error] = run_threads(lambda: error_of(lambda: pinned(make())))
    assert isinstance(error, PoolTimeout)
    assert pinned(wrapper) == number
    assert stats()[ALIAS].reaped == 0
    wrapper.close()
