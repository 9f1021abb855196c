"""There are never more sessions than the limit, nor more waiters than max_waiting."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mysqlpool.errors import TooManyWaiters
from tests.fake_driver import (
    FakeDriver,
    assert_conserved,
    fair_pool,
    lease_and_return,
    until,
    waiting,
)
from tests.helpers import HANG


def test_leases_out_at_dispose_count_until_they_are_closed(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 2)
    old = [pool.lease(), pool.lease()]
    pool.dispose()
    waiter = workers.submit(pool.lease)
    until(lambda: waiting(pool) == 1)
    old[0].give_back()
    new = waiter.result(HANG)
    assert new.session not in (old[0].session, old[1].session)
    assert driver.closed == [old[0].session]
    new.give_back()
    old[1].give_back()
    assert driver.peak == 2
    assert pool.figures()["discards"] == {"disposed": 2}
    assert_conserved(pool, 2)


def test_a_session_counts_until_its_close_is_over(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    closing, go = threading.Event(), threading.Event()

    def slowly() -> None:
        closing.set()
        go.wait(HANG)

    driver.before["close"] = slowly
    discard = workers.submit(lease.discard, "test")
    assert closing.wait(HANG)
    waiter = workers.submit(lease_and_return, pool)
    until(lambda: waiting(pool) == 1)
    go.set()
    discard.result(HANG)
    waiter.result(HANG)
    assert driver.peak == 1


def test_idle_sessions_are_closed_by_dispose_and_the_pool_opens_again(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    leases = [pool.lease(), pool.lease()]
    for lease in leases:
        lease.give_back()
    pool.dispose()
    assert not driver.open
    assert_conserved(pool, 2)


# 9. max_waiting


def test_a_request_beyond_max_waiting_fails_at_once(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 1, max_waiting=1)
    held = pool.lease()
    waiter = workers.submit(lease_and_return, pool)
    until(lambda: waiting(pool) == 1)
    with pytest.raises(TooManyWaiters, match="'fake' has 1 waiters already") as caught:
        pool.lease()
    assert caught.value.waiting == 1
    held.give_back()
    waiter.result(HANG)
    assert pool.figures()["refused"] == 1
    assert_conserved(pool, 1)
