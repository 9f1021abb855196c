"""Old sessions are replaced, and idle ones that nobody needs are closed."""

from __future__ import annotations

import pytest

from mysqlpool.errors import PoolTimeout
from tests.fake_driver import (
    FakeClock,
    FakeDriver,
    fair_pool,
    lease_and_return,
)


def test_sessions_live_for_recycle_less_at_most_5_percent(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 50, recycle=100, max_idle=None)
    leases = [pool.lease() for _ in range(50)]
    ends = {lease.record.expires - clock.now for lease in leases if lease.record}
    assert 95 <= min(ends) <= max(ends) <= 100
    assert len(ends) > 40
    clock.advance(94)
    for lease in leases[:25]:
        lease.give_back()
    assert not driver.closed
    clock.advance(6.1)
    for lease in leases[25:]:
        lease.give_back()
    assert len(driver.closed) == 50  # Also the 25 that were idle then.
    assert lease_and_return(pool) not in driver.closed
    assert driver.peak == 50


def test_what_is_not_needed_is_closed_the_longest_idle_first(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 4, max_idle=60, min_idle=1)
    leases = [pool.lease() for _ in range(4)]
    for lease in leases:
        lease.give_back()
        clock.advance(10)
    for _ in range(10):
        assert lease_and_return(pool) is leases[-1].session  # LIFO keeps one warm.
        clock.advance(10)
    assert driver.closed == [lease.session for lease in leases[:3]]
    clock.advance(1000)
    assert lease_and_return(pool) is leases[-1].session
    assert pool.figures()["discards"] == {"idle": 3}


def test_expired_sessions_are_closed_also_where_min_idle_would_keep_them(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 2, recycle=100, max_idle=None, min_idle=2)
    old = [pool.lease(), pool.lease()]
    for lease in old:
        lease.give_back()
    clock.advance(100)
    assert lease_and_return(pool) not in [lease.session for lease in old]
    assert set(driver.closed) == {lease.session for lease in old}


def test_no_idle_session_is_kept_for_whom_nobody_needs(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 2, max_idle=60, min_idle=2)
    needed = True
    pool.needed_while(lambda: needed)
    session = lease_and_return(pool)
    clock.advance(60)
    assert lease_and_return(pool) is session
    needed = False
    clock.advance(60)
    lease = pool.lease()
    assert driver.closed == [session]
    lease.discard("test")


def test_a_lease_that_was_long_and_ends_is_reported_when_nobody_looked_before(
    driver: FakeDriver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, 3, leak_after=30, max_idle=None)
    returned, discarded = pool.lease(), pool.lease()
    clock.advance(29)
    pool.lease().give_back()
    clock.advance(1)
    returned.give_back()
    assert caplog.text.count("lease leaked") == 2  # It made the other one known, too.
    discarded.discard("test")
    alone = pool.lease()
    clock.advance(30)
    alone.discard("test")
    assert caplog.text.count("lease leaked") == 3


def test_a_waiter_reports_a_long_lease_at_that_time(
    driver: FakeDriver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, 1, leak_after=5.5, timeout=20, max_idle=None)
    lease = pool.lease()
    with pytest.raises(PoolTimeout):
        pool.lease()
    assert "held_seconds=5.5 " in caplog.text
    assert caplog.text.count("lease leaked") == 1
    lease.give_back()
