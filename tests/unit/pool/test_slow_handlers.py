"""A handler of the log that is slow, or hangs, keeps no other thread waiting for a session."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from mysqlpool.events.log import log_event
from mysqlpool.pool import FairQueuePool, Lease
from tests.fake_driver import DriverError, FakeDriver, fair_pool, listen, until, waiting
from tests.helpers import HANG, Handler, error_of, in_thread

logger = logging.getLogger("mysqlpool.pool")


class Hangs(Handler):
    """Hangs in one event, and lets all others pass."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self.event = event
        self.reached, self.go_on = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if vars(record)["event"] == self.event and not self.reached.is_set():
            self.reached.set()
            self.go_on.wait(HANG * 9)


@contextmanager
def hanging(event: str) -> Iterator[Hangs]:
    handler, level = Hangs(event), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        handler.go_on.set()
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture
def pool(driver: FakeDriver) -> FairQueuePool:
    """Of one session, which nobody looks after but those who lease and return."""
    return fair_pool(driver, 1, max_idle=None, timeout=HANG / 4)


def discards(pool: FairQueuePool) -> Callable[[], object]:
    lease = pool.lease()
    return lambda: lease.discard("dirty")


def closes(pool: FairQueuePool) -> Callable[[], object]:
    """Give back a session of a pool that was disposed of meanwhile."""
    lease = pool.lease()
    pool.dispose()
    return lease.give_back


def leaks(pool: FairQueuePool) -> Callable[[], object]:
    lease = pool.lease()
    pool.slots.limits = replace(pool.slots.limits, leak_after=0.0)
    pool._terms.upkeep.due = 0.0
    return lease.give_back


def reaps(pool: FairQueuePool) -> Callable[[], object]:
    taken: list[Lease] = [pool.lease()]
    taken.clear()  # Nobody has it any more.
    return lambda: pool._ending.tidy(0.0)


def fails_to_close(pool: FairQueuePool) -> Callable[[], object]:
    lease = pool.lease()

    def fails(*_: object) -> None:
        log_event(logger, logging.WARNING, "a_listener")
        raise RuntimeError("a listener")

    listen(pool, "close", fails)
    return lambda: error_of(lambda: lease.discard("dirty"))


def fails_to_connect(pool: FairQueuePool) -> Callable[[], object]:
    creator: Any = pool._creator
    driver: FakeDriver = creator.__self__

    def fails() -> None:
        driver.before.pop("connect")
        log_event(logger, logging.WARNING, "connect_failed")
        raise DriverError(1045, "Access denied")

    driver.before["connect"] = fails
    return lambda: error_of(pool.lease)


@pytest.mark.parametrize(
    ("event", "begin"),
    [
        ("session_discarded", discards),
        ("session_discarded", closes),
        ("lease_leaked", leaks),
        ("lease_reaped", reaps),
        ("a_listener", fails_to_close),
        ("connect_failed", fails_to_connect),
    ],
)
def test_a_slot_is_free_before_the_log_is_told(
    pool: FairQueuePool, event: str, begin: Callable[[FairQueuePool], Callable[[], object]]
) -> None:
    ends = begin(pool)
    with hanging(event) as handler, in_thread(ends):
        assert handler.reached.wait(HANG)
        pool.lease().give_back()  # Nobody has to go on for that.
        handler.go_on.set()
    assert pool.checkedout() == 0


def test_a_server_that_is_full_leaves_its_slot_before_the_log_is_told(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2, max_idle=None, classify=lambda error: "full")
    first = pool.lease()

    def refuses() -> None:
        driver.before.pop("connect")
        log_event(logger, logging.WARNING, "server_full")
        raise DriverError(1040, "Too many connections")

    driver.before["connect"] = refuses
    with hanging("server_full") as handler, in_thread(lambda: pool.lease().give_back()):
        assert handler.reached.wait(HANG)
        assert (pool.checkedout(), waiting(pool)) == (1, 1)
        first.give_back()
        handler.go_on.set()
    until(lambda: pool.checkedout() == 0)
