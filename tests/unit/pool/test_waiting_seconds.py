"""For how long there have been waiters without a break."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import mysqlpool.pool.caretaker
from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool
from tests.fake_driver import (
    FakeClock,
    FakeDriver,
    fair_pool,
    fake_time,
    lease_and_return,
    until,
    waiting,
)
from tests.helpers import HANG


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    """Time that passes when a test says so. A waiter looks at it once a second, or when woken."""
    with fake_time() as clock:
        monkeypatch.setattr(mysqlpool.pool.caretaker, "watch", lambda one: None)
        yield clock


@pytest.fixture
def workers(time: FakeClock) -> Iterator[ThreadPoolExecutor]:
    """Threads whose time is over with the test, also where that fails."""
    with ThreadPoolExecutor(16) as workers:
        yield workers
        time.advance(100_000)


def wait(pool: FairQueuePool, workers: ThreadPoolExecutor) -> Future[Any]:
    """Have one more request in the queue, from which an earlier one may go meanwhile."""
    before = pool.figures()["waits"]
    waiter = workers.submit(lease_and_return, pool)
    until(lambda: pool.figures()["waits"] == before + 1)
    return waiter


def test_without_waiters_it_is_zero(driver: FakeDriver, time: FakeClock) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    time.advance(5)
    assert pool.waiting_seconds() == 0
    lease.give_back()
    assert pool.waiting_seconds() == 0


def test_it_grows_from_the_first_waiter_on(
    driver: FakeDriver, time: FakeClock, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    time.advance(5)
    first = wait(pool, workers)
    time.advance(4)
    second = wait(pool, workers)
    time.advance(3)
    assert pool.waiting_seconds() == 7
    lease.give_back()
    for waiter in (first, second):
        waiter.result(HANG)
    assert pool.waiting_seconds() == 0


def test_it_goes_on_when_the_first_gives_up_and_others_are_there(
    driver: FakeDriver, time: FakeClock, workers: ThreadPoolExecutor
) -> None:
    """Also where no request waits for so long: each timeout is shorter."""
    pool = fair_pool(driver, 1, timeout=5)
    lease = pool.lease()
    waiters = [wait(pool, workers)]
    for _ in range(4):
        time.advance(3)
        waiters.append(wait(pool, workers))
        if len(waiters) > 2:
            assert isinstance(waiters[-3].exception(HANG), PoolTimeout)
    assert pool.waiting_seconds() == 12
    lease.give_back()


def test_it_begins_anew_after_a_moment_without_waiters(
    driver: FakeDriver, time: FakeClock, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    first = wait(pool, workers)
    time.advance(8)
    lease.give_back()
    first.result(HANG)
    lease = pool.lease()
    second = wait(pool, workers)
    time.advance(2)
    assert pool.waiting_seconds() == 2
    lease.give_back()
    second.result(HANG)


def test_whoever_the_server_refused_has_waited_since_the_request(
    driver: FakeDriver, time: FakeClock, workers: ThreadPoolExecutor
) -> None:
    """Each attempt takes the only waiter out of the queue, and puts it back."""
    pool = fair_pool(driver, 1)
    driver.limit = 0
    waiter = wait(pool, workers)
    for _ in range(3):
        time.advance(3)
        until(lambda: waiting(pool) == 1 and pool.waiting_seconds() > 0)
    assert pool.waiting_seconds() == 9
    driver.limit = None
    time.advance(1)
    waiter.result(HANG)
