"""A session that is to be renewed: who renews it, when, and what becomes of its slot."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event

from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool
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


class Renewer:
    """Notes what it is asked, and answers what it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []
        self.answer: Any = True
        self.pool: FairQueuePool | None = None
        self.told: list[Any] = []

    def __call__(self, session: Any, idle_seconds: float) -> bool:
        self.asked.append((session.number, idle_seconds))
        if self.pool is not None:
            assert not self.pool.slots.busy
            self.told.append((self.pool.wanted(), self.pool.remaining()))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return bool(self.answer)


@pytest.fixture
def renewer() -> Renewer:
    return Renewer()


def soil(pool: FairQueuePool, **options: Any) -> Any:
    lease = pool.lease(**options)
    lease.give_back(to_renew=True)
    return lease.session


def test_it_is_renewed_when_it_is_leased_again_and_not_before(
    driver: FakeDriver, renewer: Renewer, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    session = soil(pool)
    assert (renewer.asked, pool.checkedin()) == ([], 1)
    clock.advance(7)
    lease = pool.lease()
    assert lease.session is session
    assert renewer.asked == [(1, 7.0)]
    lease.give_back()
    assert lease_and_return(pool) is session
    assert len(renewer.asked) == 1
    figures = pool.figures()
    assert (figures["renewed"], figures["connects"], figures["leases"]) == (1, 1, 3)


def test_without_a_renewer_it_is_discarded(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    session = soil(pool)
    assert lease_and_return(pool) is not session
    assert pool.figures()["discards"] == {"not renewed": 1}
    assert_conserved(pool, 1)


def test_one_that_fails_is_replaced_by_the_next_idle_one(
    driver: FakeDriver, renewer: Renewer
) -> None:
    pool = fair_pool(driver, 2, renew=renewer)
    leases = [pool.lease(), pool.lease()]
    leases[0].give_back()
    leases[1].give_back(to_renew=True)
    renewer.answer = False
    assert lease_and_return(pool) is leases[0].session
    assert driver.closed == [leases[1].session]
    assert pool.figures()["discards"] == {"not renewed": 1}
    assert_conserved(pool, 2)


def test_one_that_fails_is_replaced_by_a_connect_where_none_is_idle(
    driver: FakeDriver, renewer: Renewer
) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    session = soil(pool)
    renewer.answer = False
    assert lease_and_return(pool) is not session
    assert driver.peak == 1
    assert_conserved(pool, 1)


@pytest.mark.parametrize("error", [DriverError(1), KeyboardInterrupt()])
def test_one_that_raises_costs_no_slot(
    error: BaseException, driver: FakeDriver, renewer: Renewer
) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    soil(pool)
    renewer.answer = error
    with pytest.raises(type(error)):
        pool.lease()
    renewer.answer = True
    assert pool.figures()["discards"] == {"interrupted": 1}
    assert_conserved(pool, 1)


def test_a_waiter_renews_what_it_is_handed_in_its_own_thread(
    driver: FakeDriver, renewer: Renewer, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    held = pool.lease()
    waiters = []
    for number in range(3):
        waiters.append(workers.submit(soil, pool))
        until(lambda number=number: waiting(pool) == number + 1)  # type: ignore[misc]
    held.give_back(to_renew=True)
    assert {waiter.result(HANG) for waiter in waiters} == {held.session}
    assert [number for number, _ in renewer.asked] == [1, 1, 1]
    assert all(seconds < HANG for _, seconds in renewer.asked)
    assert pool.figures()["renewed"] == 3


def test_a_waiter_whose_renewal_fails_is_served_by_a_connect(
    driver: FakeDriver, renewer: Renewer, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    renewer.answer = False
    held = pool.lease()
    waiter = workers.submit(lease_and_return, pool)
    until(lambda: waiting(pool) == 1)
    held.give_back(to_renew=True)
    assert waiter.result(HANG) is not held.session
    assert driver.peak == 1
    assert_conserved(pool, 1)


def test_an_idle_one_of_another_identity_is_renewed_only_where_there_is_no_room(
    driver: FakeDriver, renewer: Renewer
) -> None:
    pool = renewer.pool = fair_pool(driver, 2, renew=renewer, timeout=None)
    for identity in ("a", "b"):
        pool.lease(identity=identity).give_back()
    assert (driver.attempts, renewer.asked) == (2, [])
    lease = pool.lease(identity="c")
    assert lease.session.number == 1  # the longest idle one
    assert renewer.told == [("c", None)]
    lease.give_back()
    pool.lease(identity="c").give_back()
    assert (driver.attempts, len(renewer.asked)) == (2, 1)
    assert pool.figures()["discards"] == {}


def test_one_of_another_identity_that_fails_is_closed_as_before(
    driver: FakeDriver, renewer: Renewer
) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    renewer.answer = False
    pool.lease(identity="a").give_back()
    assert pool.lease(identity="b").session.number == 2
    assert pool.figures()["discards"] == {"identity": 1}


def test_the_renewer_is_told_what_is_wanted_and_the_time_that_is_left(
    driver: FakeDriver, renewer: Renewer, clock: FakeClock
) -> None:
    pool = renewer.pool = fair_pool(driver, 1, renew=renewer, timeout=9)
    soil(pool, identity="a")
    pool.lease(identity="a")
    assert renewer.told == [("a", 9.0)]
    assert (pool.wanted(), pool.remaining()) == (None, None)


def test_what_is_to_be_renewed_ends_with_its_age_and_its_idleness(
    driver: FakeDriver, renewer: Renewer, clock: FakeClock
) -> None:
    for options, reason in (({"recycle": 10}, "expired"), ({"max_idle": 10}, "idle")):
        pool = fair_pool(driver, 1, renew=renewer, **options)
        soil(pool)
        clock.advance(11)
        lease_and_return(pool)
        assert pool.figures()["discards"] == {reason: 1}
    assert renewer.asked == []


def test_a_renewal_does_not_make_a_session_younger(
    driver: FakeDriver, renewer: Renewer, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 1, renew=renewer, recycle=10)
    for _ in range(11):
        soil(pool)
        clock.advance(1)
    assert driver.attempts == 2


def test_what_sqlalchemys_proxy_carries_is_renewed_too(
    driver: FakeDriver, renewer: Renewer
) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    event.listen(pool, "checkout", lambda *_: None)
    session = soil(pool)
    assert pool.lease().session is session
    assert len(renewer.asked) == 1


def test_a_dispose_closes_what_is_to_be_renewed(driver: FakeDriver, renewer: Renewer) -> None:
    pool = fair_pool(driver, 1, renew=renewer)
    soil(pool)
    pool.dispose()
    assert not driver.open
    assert lease_and_return(pool).number == 2  # a new one, of which nothing is to be renewed
    assert renewer.asked == []


def test_a_pool_that_is_made_again_renews_as_well(driver: FakeDriver, renewer: Renewer) -> None:
    pool = fair_pool(driver, 1, renew=renewer).recreate()
    soil(pool)
    soil(pool)
    assert len(renewer.asked) == 1


def test_the_end_of_a_lease_that_had_ended_marks_nothing(
    driver: FakeDriver, renewer: Renewer
) -> None:
    pool = fair_pool(driver, 1, renew=renewer, timeout=0)
    former = pool.lease()
    former.give_back()
    former.give_back(to_renew=True)
    present = pool.lease()
    with pytest.raises(PoolTimeout):
        pool.lease()
    present.give_back()
    lease_and_return(pool)
    assert renewer.asked == []
