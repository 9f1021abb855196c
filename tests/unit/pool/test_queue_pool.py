"""What users of SQLAlchemy's QueuePool rely on, and events along the way without its proxy."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, event, exc, text
from sqlalchemy.pool import QueuePool

from mysqlpool.errors import PoolTimeout
from mysqlpool.pool import FairQueuePool, classify_connect_error
from tests.fake_driver import (
    DriverError,
    FakeDriver,
    FakeSession,
    assert_conserved,
    fair_pool,
    listen,
)

EVENTS = "connect", "checkout", "reset", "checkin", "invalidate", "soft_invalidate", "close"


def record_events(pool: Any, names: tuple[str, ...] = EVENTS) -> list[str]:
    happened: list[str] = []

    def note_down(name: str) -> None:
        def note(session: Any, record: Any, *args: Any) -> None:
            assert isinstance(session, FakeSession) or name == "checkin"
            assert record.info is not None
            happened.append(name)

        listen(pool, name, note)

    for name in names:
        note_down(name)
    return happened


# An engine


def test_an_engine_runs_on_it() -> None:
    engine = create_engine(
        "sqlite://", poolclass=FairQueuePool, pool_size=1, max_overflow=0, pool_timeout=0
    )
    assert isinstance(engine.pool, FairQueuePool)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT 41 + 1")) == 42
        with pytest.raises(exc.TimeoutError):
            engine.connect()
    assert engine.pool.checkedin() == 1
    engine.dispose()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_an_engine_replaces_the_sessions_of_a_server_that_went_away(driver: FakeDriver) -> None:
    """By ``pool._invalidate``, which goes by generations here and not by the wall clock."""
    pool = fair_pool(driver, 3)
    proxies: list[Any] = [pool.connect() for _ in range(3)]
    for proxy in proxies[:2]:
        proxy.close()
    old: set[Any] = set(driver.open)
    pool._invalidate(proxies[2])
    pool._invalidate(proxies[2])  # Of the same generation: nothing more to invalidate.
    assert pool.connect().dbapi_connection not in old
    assert driver.peak <= 3


def test_a_pre_ping_replaces_a_dead_session(driver: FakeDriver) -> None:
    class Dialect:
        is_async = has_terminate = False

        def _do_ping_w_event(self, session: FakeSession) -> bool:
            return session.alive

        do_ping = _do_ping_w_event

        def do_close(self, session: FakeSession) -> None:
            session.close()

        do_terminate = do_close

        def do_rollback(self, proxy: Any) -> None:
            proxy.rollback()

    dialect: Any = Dialect()
    pool = fair_pool(driver, 1, check=None, pre_ping=True, dialect=dialect)
    first = pool.lease()
    first.give_back()
    first.session.alive = False
    second = pool.lease()
    assert second.session.alive
    assert second.session is not first.session
    second.give_back()
    assert_conserved(pool, 1)


# Events


@pytest.mark.parametrize(
    "end",
    [
        lambda proxy: proxy.close(),
        lambda proxy: proxy.invalidate(),
        lambda proxy: (proxy.invalidate(soft=True), proxy.close()),
    ],
    ids=["close", "invalidate", "soft"],
)
def test_events_come_in_queue_pools_order(end: Callable[[Any], Any]) -> None:
    histories = []
    kinds: tuple[Any, ...] = (FairQueuePool, QueuePool)
    for kind in kinds:
        pool = kind(FakeDriver().connect, pool_size=1, max_overflow=0)
        happened = record_events(pool)
        proxy = pool.connect()
        end(proxy)
        histories.append(happened[:])
    ours, theirs = histories
    if ours[-1] == "close" and "soft_invalidate" in ours:
        ours.pop()  # QueuePool closes it at the next checkout instead.
    assert ours == theirs


def test_a_lease_fires_what_a_proxy_fires(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, reset_on_return=None)
    happened = record_events(pool)
    pool.lease().give_back()
    assert happened == ["connect", "checkout", "reset", "checkin"]
    happened.clear()
    pool.lease().discard("test")
    assert happened == ["checkout", "invalidate", "close", "checkin"]
    assert pool.figures()["discards"] == {"test": 1}


def test_a_lease_without_checkout_listeners_fires_the_rest(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    happened = record_events(pool, tuple(name for name in EVENTS if name != "checkout"))
    pool.lease().give_back()
    assert happened == ["connect", "reset", "checkin"]
    happened.clear()
    pool.lease().discard("test")
    pool.lease().give_back()
    pool.dispose()
    assert happened == [
        *("invalidate", "close", "checkin"),
        *("connect", "reset", "checkin"),
        "close",
    ]


def test_a_checkout_listener_may_refuse_a_session(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    bad = pool.lease()
    bad.give_back()

    def refuse(session: Any, record: Any, proxy: Any) -> None:
        assert proxy.dbapi_connection is session
        if session is bad.session:
            raise exc.DisconnectionError

    event.listen(pool, "checkout", refuse)
    good = pool.lease()
    assert good.session is not bad.session
    assert driver.closed == [bad.session]
    good.give_back()
    assert_conserved(pool, 1)


# Size


def test_overflow_sessions_are_closed_when_they_come_back(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, max_overflow=2, timeout=0)
    leases = [pool.lease() for _ in range(3)]
    assert (pool.size(), pool.checkedout(), pool.checkedin(), pool.overflow()) == (1, 3, 0, 2)
    with pytest.raises(PoolTimeout):
        pool.lease()
    for lease in leases:
        lease.give_back()
    assert (pool.checkedout(), pool.checkedin(), pool.overflow()) == (0, 1, 0)
    assert len(driver.open) == 1
    assert pool.figures()["discards"] == {"overflow": 2}


@pytest.mark.parametrize("options", [{"pool_size": 0}, {"pool_size": 1, "max_overflow": -1}])
def test_no_limit_is_spelled_as_in_queue_pool(driver: FakeDriver, options: dict[str, int]) -> None:
    pool = fair_pool(driver, **options)
    leases = [pool.lease() for _ in range(50)]
    assert driver.peak == 50
    for lease in leases:
        lease.give_back()
    assert pool.checkedin() == (50 if options["pool_size"] == 0 else 1)


@pytest.mark.parametrize("use_lifo", [True, False])
def test_sessions_are_taken_in_the_order_of_use_lifo(driver: FakeDriver, use_lifo: bool) -> None:
    pool = fair_pool(driver, 3, use_lifo=use_lifo)
    leases = [pool.lease() for _ in range(3)]
    for lease in leases:
        lease.give_back()
    again = [pool.lease().session for _ in range(1)]
    assert again == [leases[2 if use_lifo else 0].session]


def test_sizes_and_status_read_as_queue_pools(driver: FakeDriver) -> None:
    ours = fair_pool(driver, 3, max_overflow=2, timeout=7.5)
    connect: Any = FakeDriver().connect
    theirs = QueuePool(connect, pool_size=3, max_overflow=2, timeout=7.5)
    for step in range(3):
        assert ours.status() == theirs.status(), step
        assert ours.timeout() == theirs.timeout()
        kept = [(ours.connect(), theirs.connect()) for _ in range(step + 1)]
        assert ours.status() == theirs.status()
        for pair in kept:
            for proxy in pair:
                proxy.close()


def test_its_repr_tells_the_state(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2)
    lease = pool.lease()
    pool.lease().give_back()
    assert repr(pool) == "<FairQueuePool 'fake': 1 of 2 in use, 1 idle, 0 waiting>"
    lease.give_back()


# Proxies


def test_a_proxy_that_is_dropped_gives_its_session_back(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    session = pool.connect().dbapi_connection
    gc.collect()
    proxy = pool.connect()
    assert proxy.dbapi_connection is session
    assert driver.attempts == 1
    proxy.close()


def test_a_detached_session_leaves_the_pool(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    proxy = pool.connect()
    session: Any = proxy.dbapi_connection
    proxy.detach()
    assert pool.lease().session is not session
    assert session in driver.open
    assert not pool.figures()["discards"]
    proxy.close()
    assert session not in driver.open


def test_a_second_close_of_a_proxy_is_harmless(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    proxy = pool.connect()
    proxy.close()
    other = pool.lease()
    proxy.close()
    with pytest.raises(PoolTimeout):
        pool.lease()
    other.give_back()
    assert_conserved(pool, 1)


def test_what_is_returned_by_a_proxy_is_reset(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 1)
    pool.connect().close()
    session = pool.lease().session
    assert session.rollbacks == 1


# The rest


def test_recreate_keeps_arguments_and_listeners(driver: FakeDriver) -> None:
    pool = fair_pool(
        driver, 3, max_overflow=2, timeout=4, use_lifo=False, max_idle=5, min_idle=1, recycle=6
    )
    happened = record_events(pool, ("connect",))
    other = pool.recreate()
    assert other is not pool
    assert other._options == pool._options
    assert repr(other) == repr(pool)
    other.lease().give_back()
    assert happened == ["connect"]
    assert pool.checkedin() == 0


def test_echo_and_logging_name_work(driver: FakeDriver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pool = FairQueuePool(driver.connect, echo="debug", logging_name="orders")
    pool.connect().close()
    assert "checked out from pool" in caplog.text
    assert any(record.name.endswith("FairQueuePool.orders") for record in caplog.records)


@pytest.mark.parametrize("number", [1040, 1203, 1226])
def test_errors_of_a_full_server_are_told_from_others(number: int) -> None:
    assert classify_connect_error(DriverError(number, "")) == "full"
    assert classify_connect_error(DriverError(1045, "")) is None
    assert classify_connect_error(KeyboardInterrupt()) is None


@pytest.mark.parametrize("args", [(), ([],), (["a"], {}), (None,), ("1040",)])
def test_an_error_of_a_creators_own_is_raised_whatever_its_arguments_are(
    args: tuple[Any, ...], driver: FakeDriver
) -> None:
    """Such as Django's ValidationError, whose first argument may be a list."""
    driver.faults["connect"].append(LookupError(*args))
    with pytest.raises(LookupError):
        fair_pool(driver, wait_for_server=True).lease()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("User 'app' has exceeded the 'max_user_connections' resource (current value: 2)", "full"),
        (
            "User 'app' has exceeded the 'max_connections_per_hour' resource (current value: 2)",
            None,
        ),
        ("Benutzer 'app' hat die Ressourcenbeschränkung 'max_questions' überschritten", None),
        ("User 'max_updates' has exceeded the 'max_user_connections' resource", "full"),
        ("", "full"),
    ],
)
def test_1226_means_a_full_account_unless_its_limit_is_by_the_hour(text: str, wanted: str) -> None:
    assert classify_connect_error(DriverError(1226, text)) == wanted


def test_the_figures_count(driver: FakeDriver) -> None:
    pool = fair_pool(driver, 2, timeout=0)
    driver.faults["connect"] = [DriverError(2003, "no server")]
    with pytest.raises(DriverError):
        pool.lease()
    held = pool.lease()
    pool.lease().give_back()
    pool.connect().close()
    found = pool.figures()
    times = {name: found.pop(name).count for name in ("wait", "connect", "lease")}
    assert times == {"wait": 3, "connect": 2, "lease": 2}
    assert found == {
        "pool_size": 2,
        "max_overflow": 0,
        "in_use": 1,
        "idle": 1,
        "waiting": 0,
        "leases": 3,
        "waits": 0,
        "timeouts": 0,
        "refused": 0,
        "connects": 2,
        "connect_errors": 1,
        "renewed": 0,
        "discards": {},
        "failures": {},
        "reaped": 0,
        "pinned": {},
        "rollbacks": 0,
        "unscoped": 0,
    }
    held.give_back()
