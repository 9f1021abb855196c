"""No slot is lost, whatever is raised where, and whoever returns a lease, how often and when."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mysqlpool.errors import PoolError
from mysqlpool.pool import FairQueuePool
from mysqlpool.pool.slots import Slots, locked
from tests.fake_driver import (
    FakeDriver,
    assert_conserved,
    fair_pool,
    lease_and_return,
    listen,
    waiting,
)
from tests.helpers import HANG, in_thread

ERRORS = [Exception, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError]
WAYS: dict[str, Callable[[FairQueuePool], Any]] = {
    "lease": lease_and_return,
    "discard": lambda pool: pool.lease().discard("test"),
    "connect": lambda pool: pool.connect().close(),
    "invalidate": lambda pool: pool.connect().invalidate(),
}


def outcome(function: Callable[[], Any]) -> None:
    try:
        function()
    except BaseException as error:
        # What it holds in its frames would otherwise be given back only by the collector.
        error.__traceback__ = None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("site", ["connect", "check", "reset", "close"])
def test_no_exception_of_the_driver_costs_a_slot(
    driver: FakeDriver, site: str, error: type[BaseException], way: str
) -> None:
    pool = fair_pool(driver, 2)
    for _ in range(5):
        for first in ([error()], [None, error()]):
            driver.faults[site] = list(first)
            outcome(lambda: WAYS[way](pool))
            outcome(lambda: WAYS[way](pool))
            driver.faults[site] = []
        outcome(pool.dispose)
    assert_conserved(pool, 2)
    assert len(driver.open) <= 2
    assert driver.peak <= 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("name", ["connect", "checkout", "checkin", "reset", "invalidate", "close"])
def test_no_exception_of_a_listener_costs_a_slot(
    driver: FakeDriver, name: str, error: type[BaseException], way: str
) -> None:
    pool = fair_pool(driver, 2)
    pool.lease().give_back()

    def fail(*args: Any) -> None:
        if failing:
            raise error

    failing = True
    listen(pool, name, fail)
    for _ in range(3):
        outcome(lambda: WAYS[way](pool))
    outcome(pool.dispose)
    failing = False
    gc.collect()
    assert_conserved(pool, 2)
    assert len(driver.open) <= 2
    assert driver.peak <= 2


def test_a_signal_that_lands_in_a_waiting_thread_costs_nothing(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    leased, done = threading.Event(), threading.Event()

    # In another thread: who waits for a second lease asks the garbage collector, and what a handler
    # raises in a finalizer is lost.
    def hold() -> None:
        lease = pool.lease()
        leased.set()
        assert done.wait(HANG)
        lease.give_back()

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    with in_thread(hold):
        assert leased.wait(HANG)
        try:
            for _ in range(20):
                signal.setitimer(signal.ITIMER_REAL, 0.005)
                with pytest.raises(KeyboardInterrupt):
                    pool.lease()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert waiting(pool) == 0
        done.set()
    assert_conserved(pool, 1)


def test_only_the_first_return_counts(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    first = pool.lease()
    first.give_back()
    second = pool.lease()
    assert second.session is first.session
    first.give_back()
    first.discard("again")
    assert pool.checkedout() == 1
    assert second.session in driver.open
    second.give_back()
    assert_conserved(pool, 2)


def test_a_lease_may_be_returned_by_another_thread(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    thread = threading.Thread(target=lease.give_back)
    thread.start()
    thread.join()
    assert_conserved(pool, 1)


def test_a_return_from_a_finalizer_inside_the_pool_itself_is_put_off(driver: FakeDriver) -> None:
    """The garbage collector may run anything at any time, in this thread with the lock held."""
    pool = fair_pool(driver, 2)
    returned, discarded = pool.lease(), pool.lease()

    @locked
    def collect_garbage(slots: Slots) -> None:
        returned.give_back()
        discarded.discard("test")
        assert pool.checkedout() == 2
        with pytest.raises(PoolError, match="interrupted the pool itself"):
            pool.lease()

    collect_garbage(pool.slots)
    pool.lease().give_back()
    assert driver.closed == [discarded.session]
    assert_conserved(pool, 2)
