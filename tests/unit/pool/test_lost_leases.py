"""A lease comes back when its thread has ended, and when its handle is lost."""

from __future__ import annotations

import _thread
import gc
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mysqlpool.pool import FairQueuePool, Lease
from tests.fake_driver import (
    DriverError,
    FakeDriver,
    assert_conserved,
    fair_pool,
    lease_and_return,
    listen,
    until,
    waiting,
)
from tests.helpers import HANG, STRESS_SECONDS, run_threads


def died(pool: FairQueuePool, keep: list[Lease]) -> None:
    thread = threading.Thread(target=lambda: keep.append(pool.lease()))
    thread.start()
    thread.join()


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def test_a_dead_threads_lease_comes_back(
    driver: FakeDriver, no_gc: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the garbage collector, and with the handle still referenced."""
    pool = fair_pool(driver, 2)
    keep: list[Lease] = []
    for _ in range(6):
        died(pool, keep)
    assert_conserved_after_reaping(pool)
    assert len(keep) == 6
    assert driver.peak == 2
    assert pool.figures()["reaped"] == 6
    assert "test_lost_leases.py" in caplog.text
    assert "in died.<locals>.<lambda>" in caplog.text
    for lease in keep:
        lease.give_back()
        lease.discard("too late")
    assert_conserved(pool, 2)


def assert_conserved_after_reaping(pool: FairQueuePool) -> None:
    pool.lease().give_back()
    assert_conserved(pool, 2)


def test_a_thread_that_threading_did_not_start_may_die_too(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    keep: list[Lease] = []
    _thread.start_new_thread(lambda: keep.append(pool.lease()), ())
    until(lambda: keep)
    assert lease_and_return(pool) is not keep[0].session


def test_a_reused_thread_ident_does_not_keep_a_dead_threads_lease(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    keep: list[Lease] = []
    idents = set()
    for _ in range(20):
        thread = threading.Thread(target=lambda: keep.append(pool.lease()))
        thread.start()
        idents.add(thread.ident)
        thread.join()
    assert len(idents) < 20, "no ident was used twice, so this proved nothing"
    assert pool.lease().session in driver.open
    assert pool.checkedout() == 1


def test_a_lost_handle_gives_the_slot_back_and_its_session_is_discarded(
    driver: FakeDriver, no_gc: None
) -> None:
    pool = fair_pool(driver, 1)
    session = pool.lease().session
    assert lease_and_return(pool) is not session
    assert pool.figures()["discards"] == {"lost": 1}


def test_a_lost_handle_is_found_also_after_a_full_server(driver: FakeDriver, no_gc: None) -> None:
    """The refusal's traceback must not keep the handle until the garbage collector comes."""
    pool = fair_pool(driver, 1)
    driver.faults["connect"] = [DriverError(1040, "full")]
    session = pool.lease().session
    assert lease_and_return(pool) is not session


def test_a_session_is_not_closed_while_its_thread_still_ends(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    """Finalizers of thread-locals may use it, and two threads must not be in one session."""
    pool = fair_pool(driver, 1)
    here = threading.local()
    keep: list[Any] = []
    was_open: list[bool] = []

    class Late:
        def __del__(self) -> None:
            time.sleep(0.1)  # The chance to go wrong.
            was_open.append(keep[0].session in driver.open)

    leased, end = threading.Event(), threading.Event()

    def work() -> None:
        keep.append(pool.lease())
        here.late = Late()
        leased.set()
        assert end.wait(HANG)

    thread = threading.Thread(target=work)
    thread.start()
    assert leased.wait(HANG)
    waiter = workers.submit(lease_and_return, pool)
    until(lambda: waiting(pool) == 1)
    end.set()
    assert waiter.result(HANG / 3) is not keep[0].session
    assert was_open == [True]


def test_an_ended_thread_without_a_lease_costs_nothing(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    thread = threading.Thread(target=lease_and_return, args=(pool,))
    thread.start()
    thread.join()
    lease_and_return(pool)
    assert not driver.closed


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_finalizers_take_no_lock(driver: FakeDriver) -> None:
    """Else a forked child might wait for a lock of a thread that it does not have."""
    pool = fair_pool(driver, 2)
    lease: Lease | None = pool.lease()
    holding, end = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.slots.lock:
            holding.set()
            assert end.wait(HANG)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(HANG)
    lease = None
    assert lease is None
    end.set()
    thread.join()
    assert_conserved_after_reaping(pool)


def test_a_checkin_listener_keeps_its_session_while_another_thread_tidies(
    driver: FakeDriver,
) -> None:
    """SQLAlchemy has let go of the record by then, and this thread's handle is of another lease."""
    pool = fair_pool(driver, 4)
    entered, go = threading.Event(), threading.Event()
    seen: list[bool] = []

    def checkin(session: Any, record: Any) -> None:
        if session is not None and not entered.is_set():
            entered.set()
            go.wait(HANG)
            seen.append(session in driver.open)

    listen(pool, "checkin", checkin)
    first, second = pool.connect(), pool.connect()
    thread = threading.Thread(target=first.close)
    thread.start()
    assert entered.wait(HANG)
    pool.lease()  # Dropped at once, so that the next one tidies up.
    pool.lease().give_back()
    go.set()
    thread.join(HANG)
    second.close()
    assert seen == [True]
    assert pool.figures()["reaped"] == 1


def test_a_failed_connect_is_no_lost_lease(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 8)
    driver.before["connect"] = refuse
    over = time.monotonic() + STRESS_SECONDS / 2

    def work() -> None:
        while time.monotonic() < over:
            with pytest.raises(DriverError):
                pool.lease()

    run_threads(*[work] * 32)
    assert (pool.figures()["in_use"], pool.figures()["reaped"]) == (0, 0)


def refuse() -> None:
    raise DriverError(2002, "down")
