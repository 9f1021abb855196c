"""A slot that frees wakes a waiter, and a waiter that cannot use it passes it on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from mysqlpool.pool import FairQueuePool, Lease
from mysqlpool.pool.lease import Request
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


def waiting_are(pool: FairQueuePool, number: int) -> bool:
    return waiting(pool) == number


@pytest.mark.parametrize("how", ["returned", "discarded", "closed", "invalidated", "lost"])
def test_a_freed_slot_wakes_the_longest_waiter(
    driver: FakeDriver, workers: ThreadPoolExecutor, how: str
) -> None:
    pool = fair_pool(driver, 1)
    lease: Any = pool.connect() if how in ("closed", "invalidated") else pool.lease()
    waiter = workers.submit(lease_and_return, pool)
    until(lambda: waiting(pool) == 1)
    match how:
        case "returned":
            lease.give_back()
        case "discarded":
            lease.discard("test")
        case "closed":
            lease.close()
        case "invalidated":
            lease.invalidate()
        case "lost":
            del lease
    waiter.result(HANG / 3)  # It did not need the timeout to look again.
    assert pool.figures()["timeouts"] == 0
    assert_conserved(pool, 1)


def test_a_failed_connect_passes_the_slot_to_the_next_waiter_who_connects_itself(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 1)
    connecting, go = threading.Event(), threading.Event()

    def connect() -> None:
        connecting.set()
        assert go.wait(HANG)

    driver.before["connect"] = connect
    driver.faults["connect"] = [DriverError(2003, "no route"), DriverError(2003, "no route")]
    requests = [workers.submit(lease_and_return, pool)]
    assert connecting.wait(HANG)
    for number in (1, 2):
        requests.append(workers.submit(lease_and_return, pool))
        until(partial(waiting_are, pool, number))
    go.set()
    for request in requests[:2]:
        with pytest.raises(DriverError):
            request.result(HANG / 3)
    requests[2].result(HANG / 3)
    assert pool.figures()["connect_errors"] == 2
    assert_conserved(pool, 1)


def test_a_thread_that_ends_wakes_those_who_wait_already(
    driver: FakeDriver, workers: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, 1)
    keep: list[Lease] = []
    leased, end = threading.Event(), threading.Event()

    def forgetful() -> None:
        keep.append(pool.lease())
        leased.set()
        assert end.wait(HANG)

    thread = threading.Thread(target=forgetful)
    thread.start()
    assert leased.wait(HANG)
    waiter = workers.submit(lease_and_return, pool)
    until(lambda: waiting(pool) == 1)
    end.set()
    waiter.result(HANG / 3)
    thread.join()
    keep[0].give_back()  # Much too late, and harmless.
    assert_conserved(pool, 1)


def test_a_waiter_served_at_the_very_moment_of_its_timeout_has_its_session(
    driver: FakeDriver, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = fair_pool(driver, 1, timeout=5)
    held = pool.lease()

    def served_too_late(waiter: Request, seconds: float) -> None:
        clock.advance(seconds + 1)
        held.give_back()

    monkeypatch.setattr(Request, "park", served_too_late)
    pool.lease().give_back()
    assert_conserved(pool, 1)


def test_a_waiter_that_gives_up_after_it_was_served_passes_the_session_on(
    driver: FakeDriver, workers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = fair_pool(driver, 1)
    held = pool.lease()
    others: list[Any] = []
    park = Request.park

    def interrupted(waiter: Request, seconds: float) -> None:
        if threading.current_thread() is not threading.main_thread():
            return park(waiter, seconds)
        others.append(workers.submit(lease_and_return, pool))
        until(lambda: waiting(pool) == 2)
        held.give_back()
        raise KeyboardInterrupt

    monkeypatch.setattr(Request, "park", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.lease()
    assert others[0].result(HANG / 3) is held.session
    assert_conserved(pool, 1)
