"""SQLAlchemy's own pool classes: what is lost, closed meanwhile, or of former settings."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections

from mysqlpool import close_pool, release_connections, stats
from mysqlpool.aliases import registry
from tests.helpers import run_threads, session_id
from tests.server.pointed import alias_with

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def queue_pool() -> Iterator[None]:
    with alias_with(pool_size=2, max_overflow=0, lease="task", **{"class": "QueuePool"}):
        yield


def test_a_lease_that_is_lost_to_the_garbage_collector_is_discarded(observer: Any) -> None:
    wrapper: Any = connections["default"].copy()
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        ((number,),) = cursor.fetchall()
    assert number in observer.sessions()
    del wrapper, cursor
    gc.collect()
    observer.until(lambda: number not in observer.sessions())
    seen = stats()["default"]
    assert (seen.reaped, seen.in_use, dict(seen.discards)) == (1, 0, {"lost": 1})
    assert session_id() != number


def test_a_transaction_that_nobody_ended_is_rolled_back_and_counted() -> None:
    with connection.cursor() as cursor:
        cursor.execute("START TRANSACTION")
    number = session_id()
    release_connections()
    assert stats()["default"].rollbacks == 1
    assert session_id() == number


def test_sessions_of_former_settings_are_closed_when_their_turn_comes(observer: Any) -> None:
    former = session_id()
    release_connections()
    settings = connections["default"].settings_dict
    settings["OPTIONS"] = {**settings["OPTIONS"], "connect_timeout": 7}
    (present,) = run_threads(session_and_release)
    assert present != former
    observer.until(lambda: former not in observer.sessions())
    assert session_id() == present


def session_and_release() -> int:
    try:
        return session_id()
    finally:
        release_connections()


def test_a_pool_that_is_closed_while_it_connects_gives_no_lease_and_the_next_one_does(
    observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = session_and_release()
    pool: Any = registry.current("default")
    connect, proxies = pool.pool.connect, list[Any]()

    def connect_and_close() -> Any:
        proxies.append(connect())
        close_pool("default")
        return proxies[-1]

    monkeypatch.setattr(pool.pool, "connect", connect_and_close)
    number = session_id()
    assert len(proxies) == 1
    assert registry.current("default") is not pool
    assert number != former
    observer.until(lambda: former not in observer.sessions())
    assert stats()["default"].in_use == 1


def test_a_handle_of_a_lease_that_is_over_does_nothing() -> None:
    number = session_id()
    wrapper: Any = connections["default"]
    stale = wrapper.tenure.lease
    release_connections()
    assert session_id() == number
    stale.give_back()
    stale.discard("too late")
    stale.pin("SET")
    seen = stats()["default"]
    assert (seen.in_use, dict(seen.discards), dict(seen.pinned)) == (1, {}, {})
    assert session_id() == number


@pytest.mark.parametrize("kind", ["StaticPool", "SingletonThreadPool", "AssertionPool"])
def test_a_session_that_is_out_when_its_pool_is_closed_serves_until_the_release(
    observer: Any, kind: str
) -> None:
    with alias_with(lease="task", **{"class": kind}):
        number = session_id()
        run_threads(lambda: close_pool("default"))
        assert session_id() == number
        release_connections()
        observer.until(lambda: number not in observer.sessions())
        assert session_id() != number
