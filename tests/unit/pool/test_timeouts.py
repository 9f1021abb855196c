"""A request fails when its timeout is over, and with the error that users catch already."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import django.db
import pytest
import sqlalchemy.exc

from mysqlpool.errors import PoolError, PoolTimeout
from tests.fake_driver import (
    FakeClock,
    FakeDriver,
    fair_pool,
    lease_and_return,
)


def test_the_timeout_covers_waiting_checking_and_connecting(
    driver: FakeDriver, clock: FakeClock, workers: ThreadPoolExecutor
) -> None:
    left: list[float | None] = []
    pool = fair_pool(driver, 2, timeout=10)
    driver.before["connect"] = lambda: left.append(pool.remaining())
    driver.before["check"] = lambda: clock.advance(4)
    pool.lease().give_back()
    driver.closed.clear()
    next(iter(driver.open)).alive = False
    pool.lease().give_back()
    assert left == [10, 6]
    assert pool.remaining() is None


def test_a_wall_clock_that_jumps_changes_nothing(
    driver: FakeDriver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = fair_pool(driver, 1, recycle=1000, timeout=5)
    session = lease_and_return(pool)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert lease_and_return(pool) is session
    connection = pool.connect()
    assert connection.dbapi_connection is session
    before = clock.now
    with pytest.raises(PoolTimeout) as caught:
        pool.connect()
    assert caught.value.seconds == clock.now - before == 5
    connection.close()


def test_a_timeout_is_djangos_and_sqlalchemys(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    held = pool.lease()
    for kind in (django.db.OperationalError, sqlalchemy.exc.TimeoutError, PoolError):
        with pytest.raises(kind):
            pool.connect()
    held.give_back()
