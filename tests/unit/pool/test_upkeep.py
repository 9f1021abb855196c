"""Old sessions are replaced, and idle ones that nobody needs are closed."""

from __future__ import annotations

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
    assert len(driver.closed) == 25
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
