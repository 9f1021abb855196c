"""The same days on QueuePool and on FairQueuePool: events, their order and arguments, and infos.

A record's ``info`` is its session's, and its ``record_info`` that of the place in the pool, which
outlasts sessions. Listeners see both as they are at that moment.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, exc
from sqlalchemy.pool import QueuePool

from mysqlpool.pool import FairQueuePool
from tests.fake_driver import DriverError, FakeDriver, FakeSession, fair_pool, listen
from tests.helpers import error_of, run_threads

EVENTS = (
    *("first_connect", "connect", "checkout", "reset", "checkin"),
    *("invalidate", "soft_invalidate", "close", "detach", "close_detached"),
)


class Dialect:
    """Enough of one for ``pre_ping``."""

    is_async = has_terminate = False

    def _do_ping_w_event(self, session: FakeSession) -> bool:
        return session.alive

    do_ping = _do_ping_w_event

    def do_close(self, session: FakeSession) -> None:
        session.close()

    do_terminate = do_close

    def do_rollback(self, proxy: Any) -> None:
        proxy.rollback()

    def do_commit(self, proxy: Any) -> None:
        proxy.commit()


class Day:
    """One pool of two sessions, its driver, and what its listeners heard."""

    def __init__(self, kind: Any, **options: Any) -> None:
        self.driver = FakeDriver()
        options = {"pool_size": 2, "max_overflow": 0, "timeout": 0, "use_lifo": True, **options}
        self.pool = kind(self.driver.connect, **options)
        self.heard: list[tuple[Any, ...]] = []

    def listen(self) -> None:
        for name in EVENTS:
            self._listen(name)

    def _listen(self, name: str) -> None:
        def hear(*args: Any) -> None:
            shown = tuple(a if isinstance(a, Exception) else _shown(a) for a in args)
            self.heard.append((name, *map(repr, shown)))

        if name == "close_detached":
            event.listen(self.pool, name, lambda session: hear(session))
        elif name in ("first_connect", "connect", "checkin", "close", "detach"):
            event.listen(self.pool, name, lambda session, record: hear(session, record))
        else:
            listen(self.pool, name, lambda session, record, more: hear(session, record, more))

    def connect(self, mark: str) -> Any:
        """A connection, whose place in the pool gets a mark where it has none; so its session."""
        proxy = self.pool.connect()
        proxy.record_info.setdefault("mark", mark)
        proxy.info.setdefault("mark", mark)
        return proxy

    def pass_time(self) -> None:
        """So that SQLAlchemy's wall clock tells two moments from each other."""
        time.sleep(0.02)


def _shown(value: Any) -> Any:
    if hasattr(value, "record_info") and hasattr(value, "in_use"):
        return ("record", dict(value.info), dict(value.record_info), value.in_use)
    return "proxy" if hasattr(value, "is_detached") else value


def invalidates(day: Day) -> None:
    first, second = day.connect("a"), day.connect("b")
    first.invalidate(DriverError(2006, "gone"))
    second.invalidate()
    for proxy in [day.connect("c"), day.connect("d")]:
        proxy.close()


def invalidates_softly(day: Day) -> None:
    proxy = day.connect("a")
    day.pass_time()
    proxy.invalidate(soft=True)
    proxy.close()
    day.connect("b").close()


def detaches(day: Day) -> None:
    proxy = day.connect("a")
    proxy.detach()
    day.heard.append(("detached", proxy.info, proxy.record_info, proxy.is_valid))
    day.connect("b").close()
    proxy.close()


def loses(day: Day) -> None:
    day.connect("a")
    gc.collect()
    day.connect("b").close()


def fails_to_reset(day: Day) -> None:
    proxy = day.connect("a")
    day.driver.faults["reset"] = [DriverError(2013, "lost")]
    proxy.close()
    day.connect("b").close()


def is_refused_at_checkout(day: Day) -> None:
    day.connect("a").close()
    errors = [exc.DisconnectionError("no"), ValueError("no"), exc.DisconnectionError("no")]

    def refuse(session: Any, record: Any, proxy: Any) -> None:
        if errors:
            raise errors.pop()

    event.listen(day.pool, "checkout", refuse)
    assert isinstance(error_of(lambda: day.connect("b")), ValueError)
    day.connect("c").close()


def pings_a_dead_one(day: Day) -> None:
    proxies = [day.connect("a"), day.connect("b")]
    for proxy in proxies:
        session = proxy.dbapi_connection
        proxy.close()
    session.alive = False
    day.pass_time()
    for proxy in [day.connect("c"), day.connect("d")]:
        proxy.close()


def overflows(day: Day) -> None:
    for _ in range(2):
        proxies = [day.connect("a"), day.connect("b"), day.connect("c")]
        for proxy in proxies:
            proxy.close()


def disposes(day: Day) -> None:
    day.connect("a").close()
    day.pool.dispose()
    day.connect("b").close()


def recreates(day: Day) -> None:
    day.connect("a").close()
    day.pool = day.pool.recreate()
    day.connect("b").close()


def closes_by_the_record(day: Day) -> None:
    proxy = day.connect("a")
    record = proxy._connection_record
    proxy.close()
    record.invalidate()
    day.connect("b").close()
    record.close()
    day.connect("c").close()


def goes_to_another_thread(day: Day) -> None:
    [proxy] = run_threads(lambda: day.connect("a"))
    run_threads(proxy.close)
    day.connect("b").close()


OPTIONS: dict[Callable[[Day], None], dict[str, Any]] = {
    pings_a_dead_one: {"pre_ping": True, "dialect": Dialect()},
    overflows: {"max_overflow": 1},
}


@pytest.mark.parametrize("reset", ["rollback", "commit", None])
@pytest.mark.parametrize(
    "live",
    [
        *(invalidates, invalidates_softly, detaches, loses, fails_to_reset),
        *(is_refused_at_checkout, pings_a_dead_one, overflows),
        *(disposes, recreates, closes_by_the_record, goes_to_another_thread),
    ],
)
def test_listeners_hear_what_they_hear_of_queue_pool(
    live: Callable[[Day], None], reset: str | None
) -> None:
    kinds: tuple[Any, ...] = (FairQueuePool, QueuePool)
    histories = []
    for kind in kinds:
        day = Day(kind, reset_on_return=reset, **OPTIONS.get(live, {}))
        day.listen()
        live(day)
        histories.append(day.heard)
    ours, theirs = histories
    assert ours == theirs
    assert len(ours) > 5


def test_the_status_tells_of_open_sessions_only(driver: FakeDriver) -> None:
    """QueuePool counts a place whose session was invalidated like one that is open."""
    pool = fair_pool(driver, 2)
    pool.connect().invalidate()
    assert (pool.checkedin(), pool.checkedout(), pool.overflow()) == (0, 0, -2)


def test_what_users_left_in_places_is_no_more_than_there_are_places(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 3)
    for _ in range(10):
        proxies: list[Any] = [pool.connect() for _ in range(3)]
        for proxy in proxies:
            proxy.record_info["mark"] = True
            proxy.invalidate()
    assert len(pool.slots.left) == 3
