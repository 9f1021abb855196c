"""What a user of a plain SQLAlchemy engine would notice, measured by QueuePool."""

from __future__ import annotations

import gc
import threading
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import create_engine, exc
from sqlalchemy.pool import QueuePool

from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool
from tests.fake_driver import FakeDriver, assert_conserved, fair_pool, lease_and_return, listen
from tests.helpers import error_of, run_threads


class Driver(ModuleType):
    """Enough of a DBAPI to make an engine of a dialect whose own driver is not installed."""

    paramstyle = "qmark"
    sqlite_version_info = (3, 40, 0)
    Error = Exception

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def refusal_by_asyncio(kind: Any) -> BaseException | None:
    """What an engine as create_async_engine() makes it says; that itself needs greenlet."""
    driver = Driver("driver")
    return error_of(lambda: create_engine("sqlite+aiosqlite://", poolclass=kind, module=driver))


def test_it_is_refused_for_an_asyncio_engine_where_queue_pool_is() -> None:
    ours, theirs = refusal_by_asyncio(FairQueuePool), refusal_by_asyncio(QueuePool)
    assert type(ours) is type(theirs)
    assert str(ours) == str(theirs).replace("QueuePool", "FairQueuePool")
    if theirs is None:
        pytest.skip("this SQLAlchemy refuses no pool")
    assert isinstance(ours, exc.ArgumentError)


@pytest.mark.parametrize(
    "option",
    [
        *({"max_idle": 60}, {"min_idle": 1}, {"max_waiting": 3}, {"leak_after": 5}),
        *({"wait_for_server": True}, {"check": lambda session, idle: True}),
        *({"classify": lambda error: None}, {"is_idle": lambda session, frame: False}),
    ],
    ids=lambda option: next(iter(option)),
)
def test_create_engine_takes_each_option_of_its_own(option: dict[str, Any]) -> None:
    engine = create_engine("mysql+mysqldb://", poolclass=FairQueuePool, **option)
    assert isinstance(engine.pool, FairQueuePool)
    assert option.items() <= engine.pool._options.items()


# Connections that travel between threads


def test_a_connection_outlasts_the_thread_that_took_it(driver: FakeDriver) -> None:
    """It may be another thread's by now. Only closing it, or losing it, gives it back."""
    pool = fair_pool(driver, 1, timeout=0)
    [proxy] = run_threads(pool.connect)
    with pytest.raises(PoolTimeout):
        pool.connect()
    assert proxy.dbapi_connection in driver.open
    proxy.close()
    assert pool.figures()["reaped"] == 0
    assert_conserved(pool, 1)


def test_a_connection_is_found_when_it_is_lost_after_its_thread_ended(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    [proxy] = run_threads(pool.connect)
    session = proxy.dbapi_connection
    del proxy
    gc.collect()
    assert lease_and_return(pool) is session


def test_a_later_connection_of_the_same_thread_does_not_change_that(driver: FakeDriver) -> None:
    """The pool keeps a handle for each thread's last connection only."""
    pool = fair_pool(driver, 2, timeout=0)
    [proxies] = run_threads(lambda: [pool.connect(), pool.connect()])
    with pytest.raises(PoolTimeout):
        pool.lease()
    assert {proxy.dbapi_connection for proxy in proxies} == driver.open
    for proxy in proxies:
        proxy.close()
    assert_conserved(pool, 2)


def test_a_lease_by_way_of_a_proxy_ends_with_its_thread(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    listen(pool, "checkout", lambda *args: None)
    [lease] = run_threads(pool.lease)
    assert lease.proxy is not None
    assert lease_and_return(pool) is not lease.session
    assert pool.figures()["reaped"] == 1
    lease.give_back()
    assert_conserved(pool, 1)


def test_a_slot_is_not_lost_by_a_thread_that_ended_before_its_proxy_was_made(
    driver: FakeDriver,
) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    run_threads(pool._do_get)  # As if a signal handler had raised then.
    lease_and_return(pool)
    assert_conserved(pool, 1)


@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_shared_lease_outlasts_its_thread_until_it_is_not_shared(
    driver: FakeDriver, by_proxy: bool
) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    if by_proxy:
        listen(pool, "checkout", lambda *args: None)
    [lease] = run_threads(pool.lease)
    lease.share()
    with pytest.raises(PoolTimeout):
        pool.lease()
    lease.unshare(is_own=False)
    assert lease_and_return(pool) is not lease.session
    assert pool.figures()["reaped"] == 1


def test_a_shared_lease_becomes_that_of_the_thread_whose_own_it_is(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    [lease] = run_threads(pool.lease)
    lease.share()
    lease.unshare(is_own=True)
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    assert caught.value.holders[0].thread_name == threading.current_thread().name
    lease.give_back()
    assert_conserved(pool, 1)


def test_sharing_a_lease_that_has_ended_does_nothing_to_the_next(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    former = pool.lease()
    record = former.record
    former.give_back()
    former.record = record  # As a thread sees it that looked a moment ago.
    [lease] = run_threads(pool.lease)
    former.share()
    assert lease_and_return(pool) is not lease.session
