"""What an interrupted section left is put in order, and what is stale is passed over.

A signal handler may raise between any two steps of a section. Here a step itself raises, once.
"""

from __future__ import annotations

from collections import deque
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
from tests.helpers import HANG, run_threads


class Interruption(BaseException):
    """What the signal handler raises."""


class Out(dict[Any, None]):
    """Those that are out; the next time that one is taken away is interrupted before it."""

    left = 1

    def _interrupt(self) -> None:
        self.left -= 1
        if self.left >= 0:
            raise Interruption

    def __delitem__(self, record: Any) -> None:
        self._interrupt()
        super().__delitem__(record)

    def pop(self, record: Any, *default: Any) -> Any:
        self._interrupt()
        return super().pop(record, *default)


class Waiters(deque[Any]):
    """The queue; the next time that the first one leaves it is interrupted before that."""

    left = 1

    def popleft(self) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise Interruption
        return super().popleft()


def test_a_session_that_was_put_back_before_the_interruption_is_idle(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    lease = pool.lease()
    pool.slots.out = Out(pool.slots.out)
    with pytest.raises(Interruption):
        lease.give_back()
    assert lease_and_return(pool) is lease.session
    assert_conserved(pool, 2)
    assert driver.peak == 2


def test_a_session_that_was_closed_before_the_interruption_has_left_its_slot(
    driver: FakeDriver,
) -> None:
    pool = fair_pool(driver, 2)
    lease = pool.lease()
    pool.slots.out = Out(pool.slots.out)
    with pytest.raises(Interruption):
        lease.discard("test")
    assert not driver.open
    lease_and_return(pool)
    assert_conserved(pool, 2)


def test_a_waiter_that_was_served_before_the_interruption_is_not_served_again(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    """Its place in the queue is stale, also for whoever does not tidy up first."""
    pool = fair_pool(driver, 2)
    first, second = pool.lease(), pool.lease()
    waiter = workers.submit(pool.lease)
    until(lambda: waiting(pool) == 1)
    pool.slots.waiters = Waiters(pool.slots.waiters)
    record, serial, session = second.record, second.serial, second.session
    assert record is not None
    with pytest.raises(Interruption):
        pool.slots.put(record, serial, 0.0)
    served = waiter.result(HANG)
    assert served.session is session
    assert waiting(pool) == 1, "its place is not stale, so this proves nothing"
    assert first.record is not None
    assert pool.slots.put(first.record, first.serial, 0.0) is None
    assert (waiting(pool), pool.checkedin()) == (0, 1)
    served.give_back()
    assert_conserved(pool, 2)


def test_an_end_that_was_put_off_of_a_lease_that_ended_meanwhile_closes_nothing(
    driver: FakeDriver,
) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    record, serial = lease.record, lease.serial
    assert record is not None
    lease.give_back()
    pool.slots.put_off(record, serial, "SET")
    assert lease_and_return(pool) is lease.session
    assert pool.figures()["discards"] == {}


def test_an_interrupted_wait_for_the_lock_leaves_it_to_who_has_it(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    lock = pool.slots.lock

    class Interrupted:
        def acquire(self) -> None:
            raise Interruption

        def release(self) -> None:
            lock.release()

    record, serial = lease.record, lease.serial
    assert record is not None
    calls = [
        lambda: pool.slots.put(record, serial, 0.0),
        lambda: pool.slots.holds(pool.this_thread()),
    ]
    for call in calls:
        pool.slots.lock = Interrupted()  # type: ignore[assignment]
        with lock, pytest.raises(Interruption):
            run_threads(call)
        pool.slots.lock = lock
    lease.give_back()
    assert_conserved(pool, 1)


# Handles of leases that are over


def ended() -> tuple[FairQueuePool, Lease, Lease]:
    """A pool, a lease that was interrupted as it had ended, and the next one on its slot."""
    pool = fair_pool(FakeDriver(), 1)
    stale = pool.lease()
    record = stale.record
    stale.give_back()
    stale.record = record  # Its end takes this away last.
    present = pool.lease()
    assert present.record is record
    return pool, stale, present


@pytest.mark.parametrize("was_interrupted", [True, False])
def test_a_lease_that_is_over_says_nothing_of_the_next_one(was_interrupted: bool) -> None:
    pool, stale, present = ended()
    record = present.record
    assert record is not None
    if not was_interrupted:
        stale.record = None
    holder = record.holder
    stale.pin("SET")
    stale.share()
    assert record.shared != present.serial
    present.share()
    stale.unshare(False)
    run_threads(lambda: stale.unshare(True))
    assert (record.shared, record.holder) == (present.serial, holder)
    present.unshare(True)
    stale.discard("too late")
    assert pool.figures()["pinned"] == {}
    present.give_back()
    assert_conserved(pool, 1)


def test_a_lease_that_comes_to_nothing_is_not_counted_and_the_next_one_is() -> None:
    pool, stale, present = ended()
    assert present.record is not None
    before = pool.figures()["leases"]
    pool.slots.unserved(present.record, stale.serial)
    assert pool.figures()["leases"] == before - 1
    assert present.record.unserved != present.serial


def test_a_slot_is_freed_by_the_order_to_close_it_and_by_no_former_one(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    record = lease.record
    assert record is not None
    pool.slots.free(record, 0.0)
    assert pool.checkedout() == 1
    lease.give_back()
    pool.slots.free(record, 0.0)
    assert_conserved(pool, 1)


def test_only_the_sessions_that_are_gone_are_retired(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 3)
    leases = [pool.lease() for _ in range(3)]
    leases[2].give_back()
    gone = {leases[0].session, leases[2].session}
    pool.retire(gone.__contains__)
    for lease in leases[:2]:
        lease.give_back()
    lease_and_return(pool)
    assert set(driver.closed) == gone
    assert leases[1].session in driver.open


# Other ways


def test_who_waits_after_refusals_is_let_ask_once_the_server_says_anything_else(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    """A server that finds a password wrong is not full."""
    pool = fair_pool(driver, 3)
    held = pool.lease()
    full, denied = DriverError(1040, "full"), DriverError(1045, "denied")
    driver.faults["connect"] = [full, denied]
    counts: list[int] = []
    driver.before["connect"] = lambda: counts.append(pool.slots.refusals.count)
    waiters = [workers.submit(pool.lease) for _ in range(2)]
    errors = [error for one in waiters if (error := one.exception(HANG)) is not None]
    assert errors == [denied]
    assert counts == [0, 1, 0]
    held.give_back()


def test_an_unscoped_lease_by_sqlalchemys_proxy_is_counted(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    listen(pool, "checkout", lambda *args: None)
    for scoped, count in [(True, 0), (False, 1)]:
        pool.lease(scoped=scoped).give_back()
        assert pool.figures()["unscoped"] == count


def test_sessions_of_a_former_generation_do_not_end_the_present_one(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    first, second = pool.connect(), pool.connect()
    pool._invalidate(first)
    later = lease_and_return(pool)
    pool._invalidate(second)
    assert set(driver.closed) >= {first.dbapi_connection, second.dbapi_connection} - {None}
    assert lease_and_return(pool) is later


def test_what_sqlalchemy_checks_in_though_it_was_taken_back_frees_no_second_slot(
    driver: FakeDriver,
) -> None:
    """A listener hears of it as of one that was invalidated: without a session."""
    pool = fair_pool(driver, 1)
    heard: list[Any] = []
    listen(pool, "checkin", lambda session, record: heard.append(session))
    proxy: Any = pool.connect()
    record = proxy._connection_record
    proxy.invalidate(Interruption())
    heard.clear()
    record.checkin()
    assert heard == [None]
    assert_conserved(pool, 1)


def test_a_slot_is_free_after_sqlalchemys_own_way_out_was_interrupted(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)

    def interrupt(*args: Any) -> None:
        raise Interruption

    listen(pool, "checkin", interrupt)
    proxy: Any = pool.connect()
    with pytest.raises(Interruption):
        proxy._connection_record._checkin_failed(DriverError(2013, "lost"))
    assert (pool.checkedout(), driver.open) == (0, set())
