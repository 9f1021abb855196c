"""How long requests wait, connects take and leases last: measured once each, in fixed buckets."""

from __future__ import annotations

import itertools
import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool
from mysqlpool.pool.times import BOUNDS, WAIT_BOUNDS, Histogram, Times
from mysqlpool.stats import PoolStats
from tests.fake_driver import (
    DriverError,
    FakeClock,
    FakeDriver,
    fair_pool,
    lease_and_return,
    until,
    waiting,
)
from tests.helpers import HANG, in_thread


def told(pool: FairQueuePool) -> PoolStats:
    return PoolStats(**pool.figures())


# Histograms


@given(st.lists(st.floats(0, 1000), max_size=30))
def test_a_time_is_in_the_bucket_of_the_first_bound_that_it_does_not_exceed(
    seconds: list[float],
) -> None:
    times = Times()
    for one in seconds:
        times.add(one)
    histogram = times.histogram()
    for index, bound in enumerate(BOUNDS):
        assert sum(histogram.counts[: index + 1]) == sum(one <= bound for one in seconds)
    assert histogram.count == len(seconds)
    assert histogram.seconds == pytest.approx(sum(seconds))


@given(st.lists(st.floats(0, 300), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_is_as_exact_as_its_bucket(seconds: list[float], share: float) -> None:
    times = Times(WAIT_BOUNDS)
    for one in seconds:
        times.add(one)
    found = times.histogram().quantile(share)
    ordered = sorted(seconds)
    exact = ordered[max(0, -int(-share * len(ordered) // 1) - 1)]  # the least that is enough
    index = next(i for i, bound in enumerate(WAIT_BOUNDS) if exact <= bound)
    assert (WAIT_BOUNDS[index - 1] if index else 0.0) <= found <= WAIT_BOUNDS[index]


def test_of_what_took_longer_than_the_last_bound_only_that_is_known() -> None:
    times = Times()
    times.add(5000)
    assert times.histogram().p50 == BOUNDS[-1]


def test_without_a_measurement_each_quantile_is_zero() -> None:
    assert (Histogram().p50, Histogram().p95, Histogram().p99) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="a share is a number from 0 to 1"):
        Histogram().quantile(share)


def test_an_end_that_was_noted_before_the_begin_took_no_time() -> None:
    times = Times()
    times.add(-0.5)
    assert (times.histogram().counts[0], times.histogram().seconds) == (1, 0.0)


def test_all_of_a_snapshot_is_in_its_dict_and_is_json(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 4)
    lease = pool.lease()
    pool.lease().discard("dirty")
    shown: dict[str, Any] = json.loads(json.dumps(told(pool).as_dict(), allow_nan=False))
    lease.give_back()
    assert (shown["in_use"], shown["limit"], shown["utilisation"]) == (1, 4, 0.25)
    assert shown["discards"] == {"dirty": 1}
    assert shown["lease"]["count"] == 1
    assert shown["wait"]["bounds"] == list(WAIT_BOUNDS)
    assert {field.name for field in PoolStats.__dataclass_fields__.values()} <= shown.keys()


def test_where_there_is_no_limit_nothing_is_utilised() -> None:
    assert (PoolStats(pool_size=5, max_overflow=-1, in_use=3).utilisation) == 0.0
    assert PoolStats(in_use=1).utilisation == 0.0


# What a pool measures


def test_a_lease_is_measured_once_it_ends(driver: FakeDriver, clock: FakeClock) -> None:
    pool = fair_pool(driver)
    lease = pool.lease()
    clock.advance(0.02)
    assert told(pool).lease.count == 0
    lease.give_back()
    lease.give_back()
    lease = pool.lease()
    clock.advance(4)
    lease.discard("dirty")
    lease.discard("dirty")
    found = told(pool).lease
    assert found.count == 2
    assert found.seconds == pytest.approx(4.02)
    assert [b for b, count in zip(BOUNDS, found.counts, strict=False) if count] == [0.025, 5.0]


def test_a_lease_by_way_of_sqlalchemy_is_measured_too(driver: FakeDriver, clock: FakeClock) -> None:
    pool = fair_pool(driver)
    proxy = pool.connect()
    clock.advance(2)
    proxy.close()
    proxy = pool.connect()
    proxy.invalidate()
    assert (told(pool).lease.count, told(pool).lease.seconds) == (2, 2.0)


def test_a_lease_that_is_taken_back_is_measured(driver: FakeDriver, clock: FakeClock) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    clock.advance(7)
    del lease
    pool.lease().give_back()
    found = told(pool)
    assert (found.reaped, found.lease.count, found.lease.seconds) == (1, 2, 7.0)


def test_who_need_not_wait_waited_for_no_time(driver: FakeDriver, clock: FakeClock) -> None:
    pool = fair_pool(driver)
    for _ in range(3):
        lease_and_return(pool)
    found = told(pool).wait
    assert (found.counts[0], found.count, found.seconds) == (3, 3, 0.0)
    assert found.p99 == 0.0


def test_who_waits_is_measured_from_the_request_to_the_slot(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    with in_thread(lambda: lease_and_return(pool)):
        until(lambda: waiting(pool) == 1)
        [waiter] = pool.slots.waiters
        waiter.since -= 2.0
        lease.give_back()
    found = told(pool)
    assert found.waits == 1
    assert (found.wait.count, found.wait.counts[0]) == (2, 1)
    assert 2 <= found.wait.seconds < 2 + HANG


def test_a_timeout_is_a_wait_too(driver: FakeDriver, clock: FakeClock) -> None:
    pool = fair_pool(driver, 1, timeout=5)
    lease = pool.lease()
    with pytest.raises(PoolTimeout):
        pool.lease()
    lease.give_back()
    found = told(pool)
    assert (found.wait.count, found.timeouts) == (2, 1)
    assert found.wait.seconds == pytest.approx(5)


def test_a_request_that_the_server_refused_is_measured_once(
    driver: FakeDriver, clock: FakeClock
) -> None:
    pool = fair_pool(driver, 1, timeout=10)
    begun = clock.now
    driver.faults["connect"] = [DriverError(1040, "full") for _ in range(3)]
    lease_and_return(pool)
    found = told(pool)
    assert (found.leases, found.wait.count, found.lease.count) == (1, 1, 1)
    assert found.wait.seconds == pytest.approx(clock.now - begun)
    assert (found.connects, found.connect_errors, found.connect.count) == (1, 3, 1)


def test_no_count_ever_shrinks_while_the_server_refuses(
    driver: FakeDriver, clock: FakeClock
) -> None:
    """Who reads counters takes that for a new beginning."""
    pool, seen = fair_pool(driver, 1, timeout=10), list[tuple[int, ...]]()
    driver.before["connect"] = lambda: seen.append(told(pool).wait.counts)
    driver.faults["connect"] = [DriverError(1040, "full") for _ in range(3)]
    lease_and_return(pool)
    seen.append(told(pool).wait.counts)
    for earlier, later in itertools.pairwise(seen):
        assert all(a <= b for a, b in zip(earlier, later, strict=True))


def test_a_lease_that_came_to_nothing_is_no_lease(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    driver.faults["connect"] = [DriverError(1045, "denied")]
    with pytest.raises(DriverError):
        pool.lease()
    lease_and_return(pool)
    found = told(pool)
    assert (found.leases, found.lease.count, found.connect.count) == (1, 1, 1)
    assert found.wait.count == 1


def test_where_another_session_is_taken_instead_of_a_dead_one_it_is_one_lease(
    driver: FakeDriver,
) -> None:
    pool = fair_pool(driver, 2)
    first, second = pool.lease(), pool.lease()
    second.give_back()
    first.give_back()
    first.session.alive = False
    lease_and_return(pool)
    found = told(pool)
    assert (found.leases, found.lease.count, found.wait.count) == (3, 3, 3)
    assert found.discards == {"dead": 1}


def test_a_connect_is_measured(driver: FakeDriver, clock: FakeClock) -> None:
    pool = fair_pool(driver)
    driver.before["connect"] = lambda: clock.advance(0.3)
    lease_and_return(pool)
    found = told(pool)
    assert found.connect.seconds == pytest.approx(0.3)
    assert found.lease.seconds == pytest.approx(0.3), "to connect is part of a lease"


def test_among_many_threads_each_request_is_measured_once(
    driver: FakeDriver, workers: ThreadPoolExecutor
) -> None:
    pool = fair_pool(driver, 3)
    for future in [workers.submit(lease_and_return, pool) for _ in range(400)]:
        future.result(HANG)
    found = told(pool)
    assert found.leases == found.lease.count == found.wait.count == 400
    assert found.wait.count - found.wait.counts[0] <= found.waits


# Who holds


def test_a_pool_tells_who_holds_where_it_was_leased_and_where_they_are(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    assert pool.holders() == ()
    lease = pool.lease()
    [holder] = pool.holders()
    lease.give_back()
    where = "in test_a_pool_tells_who_holds_where_it_was_leased_and_where_they_are"
    assert holder.leased_at.endswith(where)
    assert holder.location.endswith(where)
    assert not holder.waits
    assert pool.holders() == ()


def test_a_signal_handler_is_told_in_the_midst_of_the_pools_own_work(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    lease, seen = pool.lease(), []

    def look(*args: object) -> None:
        seen.append((len(pool.holders()), pool.figures()["in_use"]))

    make = pool.slots.make

    def interrupted() -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return make()

    before = signal.signal(signal.SIGUSR1, look)
    try:
        pool.slots.make = interrupted
        pool.lease().give_back()
    finally:
        signal.signal(signal.SIGUSR1, before)
    lease.give_back()
    assert seen == [(1, 1)]
