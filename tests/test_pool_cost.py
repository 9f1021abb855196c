"""What a lease costs while nobody waits: Python calls counted, not time."""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy.pool import QueuePool

from mysqlpool.pool import FairQueuePool
from tests.fake_driver import FakeDriver

# Python 3.14 calls a lock's __enter__ as it calls any function, and the profiler hears it: one call
# more for each of the two times that a lease and its end take the lock. Measured on 3.11.7, 3.12.1
# and 3.13.0 (24), and on 3.14.10 (26).
LEASE_CALLS = 26 if sys.version_info >= (3, 14) else 24


def calls(function: Callable[[], object]) -> int:
    """The fewest of several rounds: since Python 3.12 the profiler hears other threads, too."""
    for _ in range(3):  # The first opens the session, and fills caches.
        function()
    return min(_profiled(function) for _ in range(20))


def _profiled(function: Callable[[], object]) -> int:
    profile = cProfile.Profile()
    profile.enable()
    function()
    profile.disable()
    total: int = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]
    return total


def test_connect_and_close_take_no_more_calls_than_queue_pools() -> None:
    fair = FairQueuePool(FakeDriver().connect, reset_on_return=None)
    connect: Any = FakeDriver().connect
    queue = QueuePool(connect, reset_on_return=None)
    ours = calls(lambda: fair.connect().close())
    assert ours <= calls(lambda: queue.connect().close())


def test_a_lease_takes_fewer_calls_still() -> None:
    """All of them, C functions and the garbage collector's call of the handle included."""
    pool = FairQueuePool(FakeDriver().connect)
    assert calls(lambda: pool.lease().give_back()) <= LEASE_CALLS


def test_to_resume_a_lease_takes_fewer_calls_still() -> None:
    pool = FairQueuePool(FakeDriver().connect)
    lease = pool.lease()

    def offer_and_resume() -> None:
        lease.offer()
        assert lease.resume()

    assert calls(offer_and_resume) <= 14
