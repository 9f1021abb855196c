"""Leases that are offered: anybody's at once, and their holder's again while nobody else came."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from mysqlpool import clock as pool_clock
from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool, Lease
from mysqlpool.slots import Slots
from mysqlpool.waiting import Waiter
from tests.fake_driver import (
    HANG,
    DriverError,
    FakeClock,
    FakeDriver,
    assert_conserved,
    fair_pool,
    listen,
    until,
)


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(pool_clock, "monotonic", clock)
    monkeypatch.setattr(Waiter, "park", lambda waiter, seconds: clock.advance(seconds))
    return clock


def offered(pool: FairQueuePool) -> Lease:
    lease = pool.lease()
    lease.offer()
    return lease


def in_a_thread(function: Callable[[], Any]) -> Any:
    """Run it in another thread, which has ended afterwards."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join(HANG)
    assert found, "the thread failed or hangs"
    return found[0]


def test_an_offered_lease_is_resumed_on_its_session(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    lease = pool.lease()
    session = lease.session
    for _ in range(3):
        lease.offer()
        assert (pool.checkedout(), pool.checkedin()) == (0, 1)
        assert lease.resume()
        assert lease.session is session
        assert (pool.checkedout(), pool.checkedin()) == (1, 0)
    lease.give_back()
    assert pool.figures()["leases"] == 4
    assert_conserved(pool, 2)


def test_an_offered_session_is_anybodys_before_another_is_opened(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    mine = offered(pool)
    theirs = pool.lease()
    assert theirs.session is mine.session
    assert not mine.resume()
    assert driver.attempts == 1
    theirs.give_back()
    assert_conserved(pool, 2)


def test_a_lease_does_not_resume_what_somebody_else_offers(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    mine = offered(pool)
    theirs = pool.lease()
    theirs.offer()
    assert not mine.resume()
    assert theirs.resume()
    assert not mine.resume()
    theirs.give_back()
    assert_conserved(pool, 1)


def test_an_offered_lease_has_ended(driver: FakeDriver) -> None:
    """Whatever its handle is asked for, and when it is dropped."""
    pool = fair_pool(driver, 2)
    lease: Lease | None = pool.lease()
    assert lease
    lease.offer()
    lease.offer()
    lease.give_back()
    lease.discard("too late")
    lease.pin("too late")
    del lease
    assert pool.figures()["pinned"] == pool.figures()["discards"] == {}
    assert_conserved(pool, 2)
    assert pool.figures()["reaped"] == 0
    assert driver.closed == []


@pytest.mark.parametrize("end", [Lease.give_back, lambda lease: lease.discard("test")])
def test_what_was_given_back_or_discarded_is_not_resumed(
    driver: FakeDriver, end: Callable[[Lease], None]
) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    lease.offer()
    assert lease.resume()
    end(lease)
    assert not lease.resume()
    assert_conserved(pool, 1)


# Those who wait


def test_an_offer_while_somebody_waits_goes_to_the_longest_waiter(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    order: list[int] = []

    def wait(number: int) -> None:
        theirs = pool.lease()
        order.append(number)
        theirs.offer()

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda: len(pool.slots.waiters) == number + 1)  # noqa: B023
    lease.offer()
    for thread in threads:
        thread.join(HANG)
    assert order == [0, 1, 2, 3, 4]
    assert not lease.resume()
    assert_conserved(pool, 1)


class Interrupted(dict[Lease, Any]):
    """The offers, with something happening right before or after the next one is made."""

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None

    def __setitem__(self, lease: Lease, record: Any) -> None:
        before, after = self.before, self.after
        self.before = self.after = None
        if before:
            before()
        super().__setitem__(lease, record)
        if after:
            after()


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_begins_to_wait_while_an_offer_is_made_is_served(driver: FakeDriver, when: str) -> None:
    pool = fair_pool(driver, 1)
    pool.slots.offered = offers = Interrupted()
    lease = pool.lease()
    served: list[Any] = []

    def wait() -> None:
        theirs = pool.lease()
        served.append(theirs.session)
        theirs.give_back()

    thread = threading.Thread(target=wait)

    def begin() -> None:
        thread.start()
        until(lambda: pool.slots.waiters or served)

    setattr(offers, when, begin)
    lease.offer()
    thread.join(HANG)
    assert served == [lease.session]
    assert not lease.resume()
    assert_conserved(pool, 1)


def test_an_offer_made_while_somebody_is_about_to_wait_is_not_overlooked(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by its holder, who saw nobody wait, nor by the waiter, who saw nothing offered."""
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    about_to_wait, offered = threading.Event(), threading.Event()
    enqueue = Slots.enqueue

    def hold_up(*args: Any) -> bool:
        about_to_wait.set()
        assert offered.wait(HANG)
        return enqueue(*args)

    monkeypatch.setattr(Slots, "enqueue", hold_up)
    thread = threading.Thread(target=lambda: pool.lease().give_back())
    thread.start()
    assert about_to_wait.wait(HANG)
    lease.offer()
    offered.set()
    thread.join(HANG / 2)
    assert not thread.is_alive()
    assert not lease.resume()
    assert_conserved(pool, 1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_dispose_while_an_offer_is_made_closes_its_session(driver: FakeDriver, when: str) -> None:
    pool = fair_pool(driver, 1)
    pool.slots.offered = offers = Interrupted()
    lease = pool.lease()
    setattr(offers, when, pool.dispose)
    lease.offer()
    assert driver.closed == [lease.session]
    assert not lease.resume()
    assert_conserved(pool, 1)


def test_a_lease_is_resumed_only_by_its_own_thread(driver: FakeDriver) -> None:
    """From threads that ended the pool takes leases back; no other may be in that session then."""
    pool = fair_pool(driver, 1)
    mine = offered(pool)
    assert in_a_thread(mine.resume) is False
    assert mine.resume()
    mine.give_back()
    theirs = in_a_thread(lambda: offered(pool))
    assert not theirs.resume()
    assert_conserved(pool, 1)


def test_a_threads_end_costs_the_session_it_offered_nothing(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    theirs = in_a_thread(lambda: offered(pool))
    lease = pool.lease()
    assert lease.session is theirs.session
    lease.give_back()
    assert pool.figures()["reaped"] == 0
    assert driver.closed == []


# The rest of what a pool promises of an idle session


def test_a_dead_session_is_replaced_when_its_lease_is_resumed(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    lease = offered(pool)
    dead = lease.session
    dead.alive = False
    assert lease.resume()
    assert lease.session is not dead
    assert driver.closed == [dead]
    assert driver.peak == 1
    assert pool.figures()["discards"] == {"dead": 1}
    lease.give_back()
    assert_conserved(pool, 1)


@pytest.mark.parametrize("what", ["check", "connect"])
@pytest.mark.parametrize("fault", [DriverError(2003, "no server"), KeyboardInterrupt()])
def test_an_exception_while_a_lease_is_resumed_costs_no_slot(
    driver: FakeDriver, what: str, fault: BaseException
) -> None:
    pool = fair_pool(driver, 1)
    lease: Lease | None = offered(pool)
    assert lease
    lease.session.alive = False
    driver.faults[what] = [fault]
    with pytest.raises(type(fault)) as caught:
        lease.resume()
    caught.value.__traceback__ = None
    del caught, lease
    pool.lease().give_back()
    assert_conserved(pool, 1)


def test_to_replace_a_dead_session_takes_no_longer_than_the_timeout(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 1, timeout=3)
    lease = offered(pool)
    lease.session.alive = False
    driver.before["check"] = lambda: clock.advance(2)
    driver.faults["connect"] = [DriverError(1040, "full")] * 50
    began = clock.now
    with pytest.raises(PoolTimeout):
        lease.resume()
    assert 3 <= clock.now - began < 4


def test_dispose_closes_what_is_offered(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    lease = offered(pool)
    pool.dispose()
    assert driver.closed == [lease.session]
    assert not lease.resume()
    assert_conserved(pool, 2)


def test_what_is_offered_and_not_resumed_is_closed_after_max_idle(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 2, max_idle=60)
    busy, mine = pool.lease(), offered(pool)
    for _ in range(7):
        clock.advance(10)
        busy.offer()
        busy = busy if busy.resume() else pool.lease(busy.session)
    assert driver.closed == [mine.session]


def test_a_resumed_lease_begins_anew(
    driver: FakeDriver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """So it is no leak, however long ago its thread got the session."""
    pool = fair_pool(driver, 2, leak_after=30, max_idle=None)
    lease = pool.lease()
    for _ in range(5):
        lease.offer()
        clock.advance(20)
        lease = lease if lease.resume() else pool.lease(lease.session)
        clock.advance(20)
        pool.lease().give_back()
    assert not caplog.records
    clock.advance(10)
    pool.lease().give_back()
    assert "lease leaked: alias=fake holder=MainThread held_seconds=30" in caplog.text


def test_what_is_offered_has_no_holder(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2, timeout=0)
    mine, held = pool.lease(), pool.lease()
    mine.offer()
    holders, _, in_use = pool.slots.situation(0)
    assert (len(holders), in_use) == (1, 1)
    assert repr(pool) == "<FairQueuePool 'fake': 1 of 2 in use, 1 idle, 0 waiting>"
    held.give_back()


@pytest.mark.parametrize("use_lifo", [True, False])
def test_without_a_preference_sessions_are_taken_in_their_order(
    driver: FakeDriver, use_lifo: bool
) -> None:
    """The latest one is what a thread gets that comes back, and who prefers none."""
    pool = fair_pool(driver, 3, use_lifo=use_lifo)
    leases = [pool.lease() for _ in range(3)]
    for lease in leases:
        lease.offer()
    first, second, third = leases
    assert not first.resume(if_latest=True)
    if use_lifo:
        assert third.resume(if_latest=True)
        third.offer()
    else:
        assert not third.resume(if_latest=True)
    assert pool.lease().session is (third if use_lifo else first).session
    assert pool.lease().session is second.session


def test_what_was_given_back_later_is_the_latest(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    mine, theirs = pool.lease(), pool.lease()
    mine.offer()
    theirs.give_back()
    assert not mine.resume(if_latest=True)
    assert mine.resume()
    mine.give_back()
    assert_conserved(pool, 2)


def test_overflow_is_closed_when_it_is_offered(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, max_overflow=1)
    first, second = pool.lease(), pool.lease()
    first.offer()
    second.offer()
    assert len(driver.open) == 1
    assert pool.figures()["discards"] == {"overflow": 1}
    assert_conserved(pool, 2)


@pytest.mark.parametrize("name", ["checkout", "checkin", "reset"])
def test_where_somebody_listens_each_lease_is_told_of(driver: FakeDriver, name: str) -> None:
    pool = fair_pool(driver, 1)
    heard: list[str] = []
    pool.lease().give_back()
    listen(pool, name, lambda *args: heard.append(name))
    lease = pool.lease()
    for _ in range(2):
        lease.offer()
        assert not lease.resume()
        lease = pool.lease()
    lease.give_back()
    assert len(heard) == 3


def test_neither_offer_nor_resume_needs_the_lock(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()

    @contextlib.contextmanager
    def locked_elsewhere() -> Iterator[None]:
        held, end = threading.Event(), threading.Event()

        def hold() -> None:
            with pool.slots.lock:
                held.set()
                end.wait(HANG)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(HANG)
        yield
        end.set()
        thread.join()

    with locked_elsewhere():
        lease.offer()
        assert lease.resume()
        lease.offer()
    assert_conserved(pool, 1)


def test_a_signal_while_offers_are_collected_costs_no_slot(driver: FakeDriver) -> None:
    """What was popped already is remembered, and the next look brings it home."""
    pool = fair_pool(driver, 3)
    leases = [pool.lease() for _ in range(3)]
    for lease in leases:
        lease.offer()
    with (
        mock.patch.object(Slots, "settle", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        pool.lease()
    pool.lease().give_back()
    assert not any(lease.resume() for lease in leases)
    assert_conserved(pool, 3)
    assert driver.closed == []
