"""A database driver without a database: what a pool needs of one, with faults on demand."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from sqlalchemy import event

from mysqlpool.pool import FairQueuePool, caretaker
from mysqlpool.pool.locks import under
from tests.helpers import HANG


class DriverError(Exception):
    """Like ``MySQLdb.Error``: the first argument is the server's error number."""


class FakeSession:
    """A DBAPI connection that sends nothing."""

    def __init__(self, driver: FakeDriver, number: int) -> None:
        self.driver = driver
        self.number = number
        self.alive = True
        self.rollbacks = 0

    def __repr__(self) -> str:
        return f"<FakeSession {self.number}>"

    def cursor(self) -> Any:
        raise NotImplementedError

    def commit(self) -> None: ...

    def rollback(self) -> None:
        self.rollbacks += 1
        self.driver.act("reset")

    def close(self) -> None:
        self.driver.close(self)


class FakeDriver:
    """Opens `FakeSession` and knows how many are open, as a server would.

    ``limit`` makes it refuse further ones with error 1040. ``faults`` are raised one by one, by
    what is done next: ``faults["connect"].append(error)``; None there means that one succeeds.
    ``before`` are called first, outside of the driver's lock: ``before["connect"] = event.wait``.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.faults: dict[str, list[BaseException | None]] = {
            "connect": [],
            "check": [],
            "reset": [],
            "close": [],
        }
        self.before: dict[str, Callable[[], Any]] = {}
        self.attempts = 0
        self.peak = 0
        self.closed: list[FakeSession] = []
        self.open: set[FakeSession] = set()
        self._lock = threading.RLock()

    def act(self, what: str) -> None:
        if what in self.before:
            self.before[what]()
        fault = under(self._lock, self._next_fault, what)
        if fault is not None:
            raise fault

    def _next_fault(self, what: str) -> BaseException | None:
        return self.faults[what].pop(0) if self.faults[what] else None

    def connect(self) -> FakeSession:
        number = under(self._lock, self._count_attempt)
        self.act("connect")
        return under(self._lock, self._open, number)

    def _count_attempt(self) -> int:
        self.attempts += 1
        return self.attempts

    def _open(self, number: int) -> FakeSession:
        if self.limit is not None and len(self.open) >= self.limit:
            raise DriverError(1040, "Too many connections")
        session = FakeSession(self, number)
        self.open.add(session)
        self.peak = max(self.peak, len(self.open))
        return session

    def check(self, session: FakeSession, idle_seconds: float) -> bool:
        self.act("check")
        return session.alive

    def close(self, session: FakeSession) -> None:
        """A close that raises has closed the session all the same, as mysqlclient's."""
        try:
            self.act("close")
        finally:
            under(self._lock, self._forget, session)

    def _forget(self, session: FakeSession) -> None:
        self.open.discard(session)
        self.closed.append(session)


class FakeClock:
    """Stands in for ``mysqlpool.pool.clock.monotonic``; time passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@contextlib.contextmanager
def fake_time() -> Iterator[FakeClock]:
    """The library goes by a clock that stands still until a test advances it.

    The caretaker of this process sleeps for real. So it rests meanwhile: what it planned by this
    clock it would do at no time of the real one.
    """
    clock = FakeClock()
    caretaker._caretaker.rest()
    try:
        with mock.patch("mysqlpool.pool.clock.monotonic", clock):
            yield clock
    finally:
        caretaker._caretaker.resume()


def fair_pool(driver: FakeDriver, pool_size: int = 2, **options: Any) -> FairQueuePool:
    """A pool on the driver, with its check and a timeout that only a hang would reach."""
    options = {"timeout": HANG, "logging_name": "fake", "check": driver.check, **options}
    return FairQueuePool(driver.connect, pool_size, **options)


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, "a thread hangs"
        time.sleep(0.0005)


def assert_conserved(pool: FairQueuePool, limit: int) -> None:
    """Nothing is leased, and ``limit`` leases succeed."""
    assert pool.checkedout() == 0, pool
    leases = [pool.lease() for _ in range(limit)]
    assert pool.checkedout() == limit
    for lease in leases:
        lease.give_back()
    assert pool.checkedout() == 0


def listen(pool: Any, name: str, function: Callable[..., None]) -> None:
    """Listen to any event of a pool; SQLAlchemy tells old ``reset`` listeners by their names."""

    def reset(dbapi_connection: Any, connection_record: Any, reset_state: Any) -> None:
        function(dbapi_connection, connection_record, reset_state)

    event.listen(pool, name, reset if name == "reset" else function)


def waiting(pool: FairQueuePool) -> int:
    return len(pool.slots.waiters)


def lease_and_return(pool: FairQueuePool) -> Any:
    lease = pool.lease()
    lease.give_back()
    return lease.session
