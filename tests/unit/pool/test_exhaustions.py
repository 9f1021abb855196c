"""Requests that fail because all sessions are in use are told of, once a second at most."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mysqlpool.errors import PoolExhausted, PoolTimeout, TooManyWaiters
from mysqlpool.pool.seldom import Seldom
from tests.fake_driver import FakeClock, FakeDriver, fair_pool, until, waiting

Told = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """The particulars of each event so far, as JSON has them."""

    def fields() -> list[dict[str, Any]]:
        events = [vars(one) for one in caplog.records if vars(one).get("event") == "pool_exhausted"]
        assert {one["levelname"] for one in events} <= {"WARNING"}
        return [json.loads(json.dumps(one["fields"], allow_nan=False)) for one in events]

    return fields


def test_a_timeout_tells_the_numbers_and_who_holds_what_and_where(
    driver: FakeDriver, clock: FakeClock, told: Told
) -> None:
    pool = fair_pool(driver, 1, max_overflow=1, timeout=2.0)
    leases = [pool.lease(), pool.lease()]
    clock.advance(5)
    with pytest.raises(PoolTimeout):
        pool.lease()
    [event] = told()
    holders = event.pop("holders")
    assert event.pop("seconds") >= 2.0
    assert event == {
        "error": "PoolTimeout",
        "limit": 2,
        "in_use": 2,
        "waiting": 0,
        "errno": None,
        "left_out": 0,
    }
    assert len(holders) == 2
    assert {one["holder"] for one in holders} == {threading.current_thread().name}
    assert all("test_exhaustions.py" in one["leased_at"] for one in holders)
    assert all("test_exhaustions.py" in one["location"] for one in holders)
    assert min(one["held_seconds"] for one in holders) >= 5
    for lease in leases:
        lease.give_back()


def test_a_queue_that_is_full_is_told_of_as_such(
    driver: FakeDriver, workers: ThreadPoolExecutor, told: Told
) -> None:
    pool = fair_pool(driver, 1, max_waiting=1)
    lease = pool.lease()
    waiter = workers.submit(lambda: pool.lease().give_back())
    until(lambda: waiting(pool) == 1)
    with pytest.raises(TooManyWaiters):
        pool.lease()
    lease.give_back()
    waiter.result()
    [event] = told()
    assert (event["error"], event["waiting"], event["seconds"]) == ("TooManyWaiters", 1, 0.0)


def test_it_is_told_once_a_second_with_how_many_were_left_out(
    driver: FakeDriver, clock: FakeClock, told: Told
) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    lease = pool.lease()

    def fails() -> None:
        with pytest.raises(PoolTimeout):
            pool.lease()

    for _ in range(10):
        fails()
        clock.advance(0.09)
    assert [event["left_out"] for event in told()] == [0]
    clock.advance(0.2)
    fails()
    fails()
    clock.advance(60)
    fails()
    assert [event["left_out"] for event in told()] == [0, 9, 1]
    lease.give_back()
    assert pool.figures()["timeouts"] == 13


def test_each_pool_is_told_of_by_itself(clock: FakeClock, told: Told) -> None:
    for name in ("one", "other"):
        pool = fair_pool(FakeDriver(), 1, timeout=0, logging_name=name)
        lease = pool.lease()
        with pytest.raises(PoolTimeout, match=name):
            pool.lease()
        lease.give_back()
    assert len(told()) == 2


def test_a_server_that_refuses_is_told_of_by_its_number(clock: FakeClock, told: Told) -> None:
    pool = fair_pool(FakeDriver(limit=0), 5, timeout=1)
    with pytest.raises(PoolTimeout):
        pool.lease()
    [event] = told()
    assert (event["errno"], event["in_use"], event["limit"]) == (1040, 0, 5)


def test_a_pool_without_a_limit_has_one_of_0_in_the_log(clock: FakeClock, told: Told) -> None:
    pool = fair_pool(FakeDriver(limit=0), 0, timeout=1)
    with pytest.raises(PoolTimeout):
        pool.lease()
    assert told()[0]["limit"] == 0


def test_of_200_holders_the_longest_ten_are_told(
    driver: FakeDriver, clock: FakeClock, told: Told
) -> None:
    pool = fair_pool(driver, 200, timeout=0)
    leases = []
    for _ in range(200):
        leases.append(pool.lease())
        clock.advance(1)
    with pytest.raises(PoolTimeout):
        pool.lease()
    [event] = told()
    assert [one["held_seconds"] for one in event["holders"]] == list(range(200, 190, -1))
    for lease in leases:
        lease.give_back()


def test_nothing_is_told_of_a_thread_that_would_not_wait(driver: FakeDriver, told: Told) -> None:
    pool = fair_pool(driver, 1)
    lease = pool.lease()
    pool.this_thread().waits = False
    with pytest.raises(TooManyWaiters):
        pool.lease()
    pool.this_thread().waits = True
    lease.give_back()
    assert told() == []


def test_it_is_told_outside_of_the_lock(driver: FakeDriver, clock: FakeClock) -> None:
    pool = fair_pool(driver, 1, timeout=0)
    free: list[bool] = []

    class Looks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            free.append(not pool.slots.busy and not pool.slots.lock._is_owned())  # type: ignore[attr-defined]

    handler = Looks()
    logging.getLogger("mysqlpool.pool").addHandler(handler)
    lease = pool.lease()
    try:
        with pytest.raises(PoolTimeout):
            pool.lease()
    finally:
        logging.getLogger("mysqlpool.pool").removeHandler(handler)
    lease.give_back()
    assert free == [True]


def test_a_handler_that_leases_from_the_pool_does_not_wait_once_more(
    driver: FakeDriver, clock: FakeClock
) -> None:
    """Such as one that writes records into the database. It would wait for the whole timeout, and
    then tell of that, for which it would be called again, and so on.
    """
    pool = fair_pool(driver, 1, timeout=0)
    failures: list[Exception] = []

    class Leases(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(failures) < 3:
                clock.advance(2)
                try:
                    pool.lease().give_back()
                except PoolExhausted as error:
                    failures.append(error)

    handler, lease = Leases(), pool.lease()
    logging.getLogger("mysqlpool.pool").addHandler(handler)
    try:
        with pytest.raises(PoolTimeout):
            pool.lease()
    finally:
        logging.getLogger("mysqlpool.pool").removeHandler(handler)
    lease.give_back()
    assert [type(error) for error in failures] == [TooManyWaiters]
    assert pool.figures()["waits"] == 1
    assert pool.this_thread().waits


def test_what_is_not_wanted_is_left_out_and_counted(clock: FakeClock) -> None:
    seldom = Seldom(10)
    assert seldom.left_out(wanted=False) is None
    assert seldom.left_out() == 1
    clock.advance(9.9)
    assert seldom.left_out() is None
    clock.advance(0.2)
    assert seldom.left_out(wanted=False) is None
    assert seldom.left_out() == 2
    assert seldom.left_out() is None


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 more threads wait"), (1, "1 more thread waits"), (2, "2 more threads wait")],
)
def test_a_timeout_counts_one_thread_as_one(number: int, words: str) -> None:
    error = PoolTimeout("default", limit=1, in_use=1, waiting=number, seconds=2.0)
    assert f"({words})" in str(error)
