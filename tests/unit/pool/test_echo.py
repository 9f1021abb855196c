"""SQLAlchemy's log of a pool tells of a lease what it tells of a connection of QueuePool's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.pool import QueuePool

from mysqlpool.pool import FairQueuePool
from tests.fake_driver import FakeDriver, fair_pool

KINDS: tuple[Any, ...] = (FairQueuePool, QueuePool)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The level that SQLAlchemy gives its loggers where nobody asks for more."""
    logger = logging.getLogger("sqlalchemy")
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(before)


@contextmanager
def level(name: str, level: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    found = [(r.levelno, r.getMessage()) for r in caplog.records if ".pool." in r.name]
    caplog.clear()
    return found


def connect(pool: Any) -> Any:
    return pool.connect()


def lease(pool: FairQueuePool) -> Any:
    return pool.lease()


def give_back(holder: Any) -> None:
    holder.give_back() if hasattr(holder, "give_back") else holder.close()


def discard(holder: Any) -> None:
    holder.discard("test") if hasattr(holder, "discard") else holder.invalidate()


def a_day(pool: Any, take: Callable[[Any], Any]) -> None:
    give_back(take(pool))
    give_back(take(pool))
    discard(take(pool))
    give_back(take(pool))
    pool.dispose()


@pytest.mark.parametrize("echo", [None, False, True, "debug"])
@pytest.mark.parametrize("take", [connect, lease])
def test_echo_tells_what_queue_pool_tells(
    take: Callable[[Any], Any], echo: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    for kind, how in zip(KINDS, (take, connect), strict=True):
        pool = kind(FakeDriver().connect, pool_size=1, echo=echo, reset_on_return=None)
        a_day(pool, how)
        text = [(lv, text.replace("Overflow: 0", "Overflow: -1")) for lv, text in told(caplog)]
        found.append(text)
    ours, theirs = found
    assert ours == theirs
    assert {lv for lv, _ in ours} == {
        None: set(),
        False: set(),
        True: {logging.INFO},
        "debug": {logging.INFO, logging.DEBUG},
    }[echo]


@pytest.mark.parametrize("take", [connect, lease])
def test_the_documented_logger_is_heard_from_the_moment_its_level_says_so(
    take: Callable[[Any], Any], driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, 1, reset_on_return=None)
    held = take(pool)
    with level("sqlalchemy.pool", logging.DEBUG):
        give_back(held)  # It was leased before that, so its return is not told.
        give_back(take(pool))
    give_back(take(pool))
    assert told(caplog) == [
        (logging.DEBUG, "Connection <FakeSession 1> checked out from pool"),
        (logging.DEBUG, "Connection <FakeSession 1> being returned to pool"),
    ]


def test_a_lease_that_ended_before_is_not_told_to_end(
    driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, 1, reset_on_return=None, echo="debug")
    held = pool.lease()
    record = held.record
    held.give_back()
    held.record = record  # As it is where the pool took the session back.
    told(caplog)
    held.give_back()
    assert told(caplog) == []


def test_recycling_is_told_at_info(driver: FakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    """As QueuePool tells it, which finds it at the next checkout."""
    pool = fair_pool(driver, 3, echo=True, recycle=1e-9)
    pool.connect().close()
    pool = fair_pool(driver, 3, echo=True)
    soft: Any = pool.connect()
    soft.invalidate(soft=True)
    soft.close()
    hard = pool.connect()
    pool._invalidate(hard, _checkin=False)
    hard.close()
    assert [text for _, text in told(caplog)] == [
        "Connection <FakeSession 1> exceeded timeout; recycling",
        "Soft Invalidate connection <FakeSession 2>",
        "Connection <FakeSession 2> invalidated due to local soft invalidation; recycling",
        "Connection <FakeSession 3> invalidated due to pool invalidation; recycling",
    ]
