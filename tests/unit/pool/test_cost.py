"""What a lease costs while nobody waits: Python calls counted, not time."""

from __future__ import annotations

from typing import Any

from sqlalchemy.pool import QueuePool

from mysqlpool.pool import FairQueuePool
from tests.fake_driver import FakeDriver
from tests.helpers import calls

# Measured on 3.11.7, 3.12.1, 3.13.0 and 3.14.10, which agree.
LEASE_CALLS = 29


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
