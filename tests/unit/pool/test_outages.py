"""A server that is slow, full, gone or refuses."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mysqlpool.errors import PoolTimeout
from tests.fake_driver import (
    DriverError,
    FakeClock,
    FakeDriver,
    assert_conserved,
    fair_pool,
    lease_and_return,
    until,
    waiting,
)
from tests.helpers import HANG


def test_one_slow_connect_delays_nobody_else(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 2)
    warm = pool.lease()
    connecting, go = threading.Event(), threading.Event()

    def slowly() -> None:
        connecting.set()
        go.wait(HANG)

    driver.before["connect"] = slowly
    slow = workers.submit(lease_and_return, pool)
    assert connecting.wait(HANG)
    warm.give_back()
    for _ in range(10):
        assert lease_and_return(pool) is warm.session
    go.set()
    slow.result(HANG)


@pytest.mark.parametrize("number", [1040, 1203, 1226])
def test_a_full_server_is_asked_again_until_the_timeout(
    driver: FakeDriver, clock: FakeClock, number: int
) -> None:
    pool = fair_pool(driver, 1, timeout=10)
    begun = clock.now
    driver.faults["connect"] = [DriverError(number, "full") for _ in range(3)]
    pool.lease().give_back()
    assert 0.05 <= clock.now - begun <= 2
    assert driver.attempts == 4
    pool.dispose()
    driver.limit = 0
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    assert caught.value.seconds == 10
    assert isinstance(caught.value.__cause__, DriverError)
    driver.limit = None
    assert_conserved(pool, 1)


def test_a_request_that_waits_for_a_full_server_counts_as_one_wait(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 1, timeout=10)
    driver.faults["connect"] = [DriverError(1040, "full") for _ in range(3)]
    pool.lease().give_back()
    assert driver.attempts == 4
    assert pool.figures()["waits"] == 1
    pool.lease().give_back()
    assert pool.figures()["waits"] == 1


def test_a_timeout_on_a_full_server_tells_why_and_not_that_no_session_is_in_use(
    driver: FakeDriver, clock: FakeClock
) -> None:
    driver.limit = 0
    pool = fair_pool(driver, 8, timeout=1)
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    assert "refused the last attempt to open one with 1040: Too many conn" in str(caught.value)
    assert "of 8 sessions" not in str(caught.value)
    assert caught.value.refusal is caught.value.__cause__


def test_also_a_waiter_that_asked_nobody_is_told_why(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    """One at a time asks a full server, so others learn of its error from the pool."""
    driver.limit = 1
    pool = fair_pool(driver, 8, timeout=0.2)
    held = pool.lease()
    for request in [workers.submit(lease_and_return, pool) for _ in range(6)]:
        with pytest.raises(PoolTimeout) as caught:
            request.result(HANG)
        assert "1040" in str(caught.value)
        # Who is asking the server at that moment has a slot for it.
        assert re.search("[12] of 8 sessions are in use", str(caught.value))
    held.give_back()
    driver.limit = None
    until(lambda: time.monotonic() > pool.slots.refusals.until)
    assert_conserved(pool, 8)


def test_a_timeout_of_a_full_pool_does_not_blame_a_server_that_is_no_longer_full(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 1, timeout=1)
    driver.faults["connect"] = [DriverError(1040, "full")]
    held = pool.lease()
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    assert "1 of 1 sessions are in use" in str(caught.value)
    assert caught.value.refusal is None
    held.give_back()


def test_a_limit_by_the_hour_is_raised_at_once(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    text = "User 'app' has exceeded the 'max_connections_per_hour' resource (current value: 1)"
    driver.faults["connect"] = [DriverError(1226, text)]
    with pytest.raises(DriverError):
        pool.lease()
    assert driver.attempts == 1
    assert_conserved(pool, 2)


def test_on_a_full_server_a_request_waits_for_one_of_our_own_sessions(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 5)
    driver.limit = 1
    held = pool.lease()
    waiters = [workers.submit(lease_and_return, pool) for _ in range(4)]
    until(lambda: waiting(pool) == 4)
    held.give_back()
    assert {waiter.result(HANG) for waiter in waiters} == {held.session}
    driver.limit = None
    until(lambda: time.monotonic() > pool.slots.refusals.until)
    assert_conserved(pool, 5)


def test_waiters_do_not_storm_a_full_server(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    """One of them asks again at a time, at growing intervals."""
    driver.limit = 0
    pool = fair_pool(driver, 10, timeout=1.0)
    requests = [workers.submit(lease_and_return, pool) for _ in range(16)]
    for request in requests:
        with pytest.raises(PoolTimeout):
            request.result(HANG)
    # At most 10 at the beginning, then after 0.025 s, 0.05 s, 0.1 s and so on, or longer.
    assert driver.attempts <= 10 + 10
    driver.limit = None
    assert_conserved(pool, 10)


@pytest.mark.parametrize("number", [1044, 1045, 1049, 1130, 2003])
def test_other_connect_errors_fail_at_once(driver: FakeDriver, number: int) -> None:
    pool = fair_pool(driver, 2)
    driver.faults["connect"] = [DriverError(number, "no")]
    with pytest.raises(DriverError):
        pool.lease()
    assert driver.attempts == 1
    assert_conserved(pool, 2)


def test_a_dead_idle_session_is_not_handed_out(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 3)
    leases = [pool.lease() for _ in range(3)]
    for lease in leases:
        lease.give_back()
    leases[2].session.alive = leases[1].session.alive = False
    assert lease_and_return(pool) is leases[0].session
    assert pool.figures()["discards"] == {"dead": 2}
    leases[0].session.alive = False
    assert lease_and_return(pool).alive
    assert_conserved(pool, 3)


# A server that accepts no connections


@pytest.mark.parametrize("number", [2002, 2003, 2005, 2012, 2013, 1053, 3032])
def test_a_server_that_is_away_is_asked_again_where_the_pool_waits_for_it(
    driver: FakeDriver, clock: FakeClock, number: int
) -> None:
    pool = fair_pool(driver, 2, timeout=10, wait_for_server=True)
    driver.faults["connect"] = [DriverError(number, "nobody there") for _ in range(5)]
    pool.lease().give_back()
    assert driver.attempts == 6
    assert pool.figures()["waits"] == 1
    assert_conserved(pool, 2)


@pytest.mark.parametrize("number", [1044, 1045, 1049, 1129, 1130, 2026, 2054, 2059])
def test_a_pool_that_waits_for_its_server_does_not_wait_for_a_right_password(
    driver: FakeDriver, number: int
) -> None:
    pool = fair_pool(driver, 2, wait_for_server=True)
    driver.faults["connect"] = [DriverError(number, "no")]
    with pytest.raises(DriverError):
        pool.lease()
    assert driver.attempts == 1
    assert_conserved(pool, 2)


def test_waiting_for_a_server_ends_with_the_timeout_and_its_last_error(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 2, timeout=10, wait_for_server=True)
    driver.faults["connect"] = [DriverError(2003, f"attempt {n}") for n in range(1, 1000)]
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    assert caught.value.seconds == 10
    assert str(caught.value.__cause__) == str(DriverError(2003, f"attempt {driver.attempts}"))
    assert f"refused the last attempt to open one with 2003: attempt {driver.attempts}" in str(
        caught.value
    )
    assert 20 <= driver.attempts <= 50  # every 0.25 to 0.5 s, and quicker at first
    assert pool.figures()["timeouts"] == 1
    driver.faults["connect"].clear()
    assert_conserved(pool, 2)


def test_all_waiters_are_served_once_their_server_is_back(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    away = threading.Event()
    away.set()

    def refuse() -> None:
        if away.is_set():
            raise DriverError(2003, "nobody there")

    driver.before["connect"] = refuse
    pool = fair_pool(driver, 4, wait_for_server=True)
    requests = [workers.submit(lease_and_return, pool) for _ in range(16)]
    until(lambda: waiting(pool) == 16)
    until(lambda: driver.attempts > 8)
    away.clear()
    for request in requests:
        request.result(HANG)
    assert driver.peak <= 4
    assert pool.figures()["waits"] == 16
    assert_conserved(pool, 4)
