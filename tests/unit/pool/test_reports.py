"""A timeout explains itself, and a lease that is held for too long is told of."""

from __future__ import annotations

import gc
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool
from tests.fake_driver import (
    FakeClock,
    FakeDriver,
    assert_conserved,
    fair_pool,
    lease_and_return,
)
from tests.helpers import HANG


def hold_here(pool: FairQueuePool, held: threading.Event, end: threading.Event) -> None:
    lease = pool.lease()
    held.set()
    assert end.wait(HANG)
    lease.give_back()


def test_a_timeout_says_who_holds_and_where_they_are_now(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2, timeout=0.05)
    held, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold_here, args=(pool, held, end), name="holder-1")
    thread.start()
    assert held.wait(HANG)
    mine = pool.lease()
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    end.set()
    thread.join()
    mine.give_back()
    error = caught.value
    assert (error.alias, error.limit, error.in_use, error.waiting) == ("fake", 2, 2, 0)
    assert error.seconds >= 0.05
    first, second = error.holders
    assert (first.thread_name, first.thread_id) == ("holder-1", thread.ident)
    assert first.held_seconds >= second.held_seconds
    assert "test_reports.py" in first.location
    assert first.location.endswith("in hold_here")
    assert not first.waits
    assert second.thread_name == threading.current_thread().name
    assert second.waits
    assert "pool 'fake' had no session within" in str(error)
    assert "2 of 2 sessions are in use" in str(error)
    assert "MainThread has held one for" in str(error)
    assert "it waits for a second one" in str(error)
    assert_conserved(pool, 2)


def test_a_timeout_names_ten_holders(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 12, timeout=0)
    held = [pool.lease() for _ in range(12)]
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    assert len(caught.value.holders) == 12
    assert str(caught.value).count("has held one") == 10
    assert str(caught.value).endswith("and 2 more")
    del held


def test_a_lease_held_too_long_is_logged_once_at_the_next_activity(
    driver: FakeDriver, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, 2, leak_after=30)
    held = pool.lease()
    clock.advance(29)
    lease_and_return(pool)
    assert not caplog.records
    clock.advance(1)
    for _ in range(3):
        lease_and_return(pool)
    assert [record.getMessage() for record in caplog.records] == [caplog.records[0].getMessage()]
    assert "lease leaked: alias=fake holder=MainThread held_seconds=30" in caplog.text
    held.give_back()
    held = pool.lease()
    clock.advance(40)
    lease_and_return(pool)
    assert len(caplog.records) == 2
    held.give_back()


def test_a_timeout_names_the_idle_holders_and_the_remedy(driver: FakeDriver) -> None:
    asked: list[tuple[Any, FrameType]] = []

    def is_idle(session: Any, frame: FrameType) -> bool:
        asked.append((session, frame))
        return session is idle.session

    pool = fair_pool(driver, 2, timeout=0, is_idle=is_idle)
    idle, busy = pool.lease(), pool.lease()
    with pytest.raises(PoolTimeout) as caught:
        pool.lease()
    assert {session for session, _ in asked} == {idle.session, busy.session}
    assert sorted(holder.idle for holder in caught.value.holders) == [False, True]
    assert str(caught.value).count("idle, nobody released it") == 1
    remedy = str(caught.value).splitlines()[-1]
    assert "auto_close_db" in remedy
    assert "ReleaseConnectionsMiddleware" in remedy
    assert 'OPTIONS["pool"]["lease"] = "transaction"' in remedy
    asked.clear()  # The frames keep this test's locals alive.
    idle.give_back()
    busy.give_back()
    assert_conserved(pool, 2)


def test_without_an_idle_holder_a_timeout_ends_with_its_holders(driver: FakeDriver) -> None:
    for is_idle in (None, lambda session, frame: False):
        pool = fair_pool(driver, 1, timeout=0, is_idle=is_idle)
        held = pool.lease()
        with pytest.raises(PoolTimeout) as caught:
            pool.lease()
        assert not caught.value.holders[0].idle
        assert "nobody released it" not in str(caught.value)
        assert str(caught.value).endswith("it waits for a second one")
        held.give_back()


def test_a_pool_that_is_made_anew_tells_idle_holders_too(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0, is_idle=lambda session, frame: True).recreate()
    held = pool.lease()
    with pytest.raises(PoolTimeout, match="idle, nobody released it"):
        pool.lease()
    held.give_back()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="only 3.11 needs that")
def test_nothing_is_collected_while_frames_of_others_are_looked_at(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0.01)
    mine, seen = pool.lease(), []

    def is_idle(session: Any, frame: FrameType) -> bool:
        seen.append(gc.isenabled())
        return False

    object.__setattr__(pool._terms, "is_idle", is_idle)
    assert gc.isenabled()
    with pytest.raises(PoolTimeout):
        pool.lease()
    assert seen == [False]
    assert gc.isenabled()
    mine.give_back()
