"""What the tests of the pool run on: a driver without a server, and time that stands still."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import mysqlpool.pool.caretaker
from mysqlpool.pool.lease import Request
from tests.fake_driver import (
    FakeClock,
    FakeDriver,
    fake_time,
)


@pytest.fixture(scope="package", autouse=True)
def quick_collections() -> Iterator[None]:
    """The garbage collector leaves alone what was there before: many tests here call it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    """Time that passes when a test says so, or when a thread would sleep in the queue."""
    with fake_time() as clock:
        monkeypatch.setattr(mysqlpool.pool.caretaker, "watch", lambda one: None)
        monkeypatch.setattr(Request, "park", lambda waiter, seconds: clock.advance(seconds))
        yield clock


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as workers:
        yield workers
