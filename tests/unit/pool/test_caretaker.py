"""Upkeep happens also where nobody leases or returns, and its thread is in nobody's way."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import mysqlpool.pool.caretaker
from mysqlpool.pool import Lease
from mysqlpool.pool.caretaker import Caretaker
from tests.fake_driver import FakeDriver, fair_pool, lease_and_return, listen, until
from tests.helpers import HANG, Handler


@pytest.fixture(autouse=True)
def caretaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Caretaker]:
    """One that looks after the pools of this test and no others."""
    caretaker = Caretaker()
    monkeypatch.setattr(mysqlpool.pool.caretaker, "watch", caretaker.watch)
    before = set(threading.enumerate())
    yield caretaker
    caretaker.rest()
    assert not caretakers() - before


def caretakers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "mysqlpool-caretaker"}


def test_idle_sessions_of_all_pools_are_closed_without_traffic_and_then_no_thread_is_left(
    caretaker: Caretaker,
) -> None:
    drivers = [FakeDriver(), FakeDriver()]
    pools = [fair_pool(driver, 3, max_idle=0.2) for driver in drivers]
    for pool in pools:
        leases = [pool.lease() for _ in range(3)]
        for lease in leases:
            lease.give_back()
    thread = caretaker._thread
    assert thread is not None
    assert thread.daemon
    until(lambda: not drivers[0].open and not drivers[1].open)
    thread.join(HANG)
    assert not thread.is_alive()
    assert [pool.figures()["discards"] for pool in pools] == [{"idle": 3}] * 2


def test_recycle_holds_without_traffic(driver: FakeDriver) -> None:
    pool = fair_pool(driver, recycle=0.2, max_idle=None, min_idle=2)
    lease_and_return(pool)
    until(lambda: not driver.open)
    assert pool.figures()["discards"] == {"expired": 1}


def test_a_lone_long_lease_is_reported_at_that_time_and_once(
    driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, leak_after=0.1, max_idle=None)
    lease = pool.lease()
    until(lambda: "lease leaked" in caplog.text)
    due = pool._terms.upkeep.due
    until(lambda: pool._terms.upkeep.due > due)  # It looked again.
    lease.give_back()
    assert caplog.text.count("lease leaked") == 1


def test_a_connect_that_makes_something_due_earlier_wakes_the_thread(
    driver: FakeDriver, caretaker: Caretaker
) -> None:
    slow, quick = fair_pool(FakeDriver(), max_idle=HANG * 100), fair_pool(driver, max_idle=0.1)
    lease_and_return(slow)
    until(lambda: time.monotonic() < caretaker._until < float("inf"))
    lease_and_return(quick)
    until(lambda: not driver.open)
    assert slow.checkedin() == 1


def test_an_interruption_as_the_thread_starts_is_the_error_that_is_seen(
    driver: FakeDriver, caretaker: Caretaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`threading` then looks for what the new thread has removed already: a KeyError."""

    class Interruption(BaseException):
        pass

    def start(thread: threading.Thread) -> None:
        try:
            raise Interruption
        except Interruption:
            limbo: dict[threading.Thread, None] = {}
            del limbo[thread]

    with monkeypatch.context() as patched:
        patched.setattr(mysqlpool.pool.caretaker._Thread, "start", start)
        with pytest.raises(Interruption) as caught:
            fair_pool(FakeDriver(), max_idle=HANG * 100).lease()
    assert caught.value.__cause__ is None
    pool = fair_pool(driver, max_idle=0.1)  # Kept: one that is collected is not looked after.
    lease_and_return(pool)
    until(lambda: not driver.open)


def test_a_thread_that_finds_another_in_its_place_ends(
    driver: FakeDriver, caretaker: Caretaker
) -> None:
    lease_and_return(fair_pool(driver, max_idle=HANG * 100))
    present = caretaker._thread
    assert present is not None
    other = mysqlpool.pool.caretaker._Thread(caretaker._work, 0.0)
    other.start()
    other.join(HANG)
    assert not other.is_alive()
    assert present is caretaker._thread
    assert present.is_alive()


def test_no_thread_is_started_where_nothing_can_become_due(
    driver: FakeDriver, caretaker: Caretaker
) -> None:
    lease_and_return(fair_pool(driver, max_idle=None))
    lease_and_return(fair_pool(driver, max_idle=60, min_idle=2))
    assert caretaker._thread is None


def test_a_pool_that_is_watched_can_be_collected(driver: FakeDriver, caretaker: Caretaker) -> None:
    pool = fair_pool(driver, max_idle=HANG * 100)
    lease_and_return(pool)
    until(lambda: time.monotonic() < caretaker._until < float("inf"))
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    lease_and_return(fair_pool(FakeDriver(), max_idle=0.1))  # Its connect wakes the thread.
    until(lambda: caretaker._thread is None)


def test_an_error_of_one_pool_is_logged_and_does_not_end_it_for_the_others(
    driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = fair_pool(FakeDriver(), max_idle=0.1), fair_pool(driver, max_idle=0.2)

    def raises() -> bool:
        raise RuntimeError("broken is broken")

    lease = broken.lease()
    broken.needed_while(raises)
    lease_and_return(sound)
    until(lambda: not driver.open)
    assert "upkeep failed: alias=fake" in caplog.text
    broken._terms.upkeep.is_needed = None
    lease.give_back()


def test_an_error_of_a_close_listener_is_logged_and_ends_nothing(
    driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, max_idle=0.1)

    def fails(*_: object) -> None:
        raise RuntimeError("a listener")

    listen(pool, "close", fails)
    lease_and_return(pool)
    until(lambda: not driver.open and not pool.slots.out)
    until(lambda: "close failed: alias=fake reason=idle" in caplog.text)
    lease_and_return(pool)
    until(lambda: len(driver.closed) == 2 and not pool.slots.out)


@contextmanager
def handled_by(emit: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """A handler of the project's, which does this."""

    class Emitting(Handler):
        def emit(self, record: logging.LogRecord) -> None:
            emit(record)

    handler = Emitting()
    logging.getLogger("mysqlpool.pool").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("mysqlpool.pool").removeHandler(handler)


def leaks(**options: Any) -> Lease:
    """A lease that the caretaker finds to have leaked."""
    return fair_pool(FakeDriver(), leak_after=0.1, max_idle=None, **options).lease()


def test_a_log_handler_that_raises_ends_nothing(
    driver: FakeDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    told = threading.Event()

    def emit(record: logging.LogRecord) -> None:
        told.set()
        raise RuntimeError("a handler")

    with handled_by(emit):
        lease = leaks()
        assert told.wait(HANG)
        pool = fair_pool(driver, max_idle=0.1)  # Kept: one that is collected is not looked after.
        lease_and_return(pool)
        until(lambda: not driver.open)
    assert "RuntimeError: a handler" in capsys.readouterr().err
    lease.give_back()


def test_a_log_handler_that_hangs_keeps_no_pool_from_being_looked_after(
    driver: FakeDriver, caretaker: Caretaker
) -> None:
    """Two threads at most: one that looks, and one that logs."""
    before = caretakers()
    hangs, go_on, told = threading.Event(), threading.Event(), list[str]()

    def emit(record: logging.LogRecord) -> None:
        told.append(vars(record)["alias"])
        hangs.set()
        assert go_on.wait(HANG)

    with handled_by(emit):
        leases = [leaks(logging_name="first")]
        assert hangs.wait(HANG)
        leases += [leaks(logging_name=f"later {number}") for number in range(3)]
        until(lambda: len(caretaker._untold) == 3)
        pool = fair_pool(driver, max_idle=0.1)  # Kept: one that is collected is not looked after.
        lease_and_return(pool)
        until(lambda: not driver.open)
        assert len(caretakers() - before) <= 2
        assert told == ["first"]
        go_on.set()
        until(lambda: len(told) == 4)
    for lease in leases:
        lease.give_back()
    assert not caretaker._untold


def test_where_no_further_thread_can_be_started_the_one_that_looks_logs_too(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = fair_pool(driver, max_idle=0.5)  # Kept: one that is collected is not looked after.
    lease_and_return(pool)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    lease = leaks()
    until(lambda: "lease leaked" in caplog.text)
    until(lambda: not driver.open)
    assert caplog.text.count("no upkeep thread") == 1
    lease.give_back()


def test_a_fork_and_the_exit_wait_for_what_is_being_logged(caretaker: Caretaker) -> None:
    begun, told = threading.Event(), threading.Event()

    def emit(record: logging.LogRecord) -> None:
        begun.set()
        until(lambda: caretaker._resting)
        told.set()

    with handled_by(emit):
        lease = leaks()
        assert begun.wait(HANG)
        caretaker.rest()
        assert told.is_set()
    lease.give_back()


def test_each_look_and_what_is_logged_of_it_are_in_a_scope(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler may take what nobody else would give back in that thread."""
    depth, seen = threading.local(), list[tuple[str, int]]()

    @contextmanager
    def scope() -> Iterator[None]:
        depth.here = getattr(depth, "here", 0) + 1
        try:
            yield
        finally:
            depth.here -= 1
            seen.append(("end", depth.here))

    def note(what: str) -> None:
        seen.append((what, getattr(depth, "here", 0)))

    monkeypatch.setattr(mysqlpool.pool.caretaker, "_scope", scope)
    driver.before["close"] = lambda: note("close")
    with handled_by(lambda record: note("told")):
        lease = leaks()
        pool = fair_pool(driver, max_idle=0.1)  # Kept: one that is collected is not looked after.
        lease_and_return(pool)
        until(lambda: {("close", 1), ("told", 1)} <= set(seen))
        until(lambda: seen[-1] == ("end", 0))
    assert {place for what, place in seen if what in ("close", "told")} == {1}
    lease.give_back()


def test_an_error_as_the_scope_ends_is_logged_and_ends_nothing(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [RuntimeError("no release")]

    @contextmanager
    def scope() -> Iterator[None]:
        yield
        if errors:
            raise errors.pop()

    monkeypatch.setattr(mysqlpool.pool.caretaker, "_scope", scope)
    pool = fair_pool(driver, max_idle=0.1)  # Kept: one that is collected is not looked after.
    lease_and_return(pool)
    until(lambda: not driver.open)
    until(lambda: "no release" in caplog.text)
    pool = fair_pool(driver, max_idle=0.1)  # Kept: one that is collected is not looked after.
    lease_and_return(pool)
    until(lambda: not driver.open)


def test_where_no_thread_can_be_started_nothing_breaks_and_the_log_says_it_once(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pool = fair_pool(driver, max_idle=0.1)
        leases = [pool.lease(), pool.lease()]
        for lease in leases:
            lease.give_back()
    assert caplog.text.count("no upkeep thread: error=can't start new thread") == 1
    fair_pool(FakeDriver(), max_idle=60).lease().give_back()
    until(lambda: not driver.open)  # It came to be watched all the same.


def test_it_rests_and_goes_on_where_it_was(driver: FakeDriver, caretaker: Caretaker) -> None:
    pool = fair_pool(driver, max_idle=0.1)
    lease = pool.lease()
    caretaker.rest()
    caretaker.rest()
    assert caretaker._thread is None
    lease.give_back()
    pool.lease().give_back()
    caretaker.resume()
    assert caretaker._thread is None
    caretaker.resume()
    until(lambda: not driver.open)


PROGRAM = """
import atexit, os, sys, threading, time, warnings
at_exit = []
atexit.register(lambda: [function() for function in at_exit])
# Python may warn of a fork where the system still counts a thread that has just been joined.
warnings.filterwarnings("ignore", "This process")
at_forks = []
os.register_at_fork(before=lambda: at_forks.append(len(caretakers())))  # Called last.
from tests.fake_driver import FakeDriver, fair_pool, lease_and_return, until

def caretakers():
    return [t for t in threading.enumerate() if t.name == "mysqlpool-caretaker"]

driver = FakeDriver()
pool = fair_pool(driver, 2, max_idle=%s)
lease_and_return(pool)
"""


def run(program: str, max_idle: float = 60.0) -> str:
    """Run a program in a new interpreter, which ends well and in silence; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % max_idle + program],
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_fork_ends_the_thread_and_both_sides_have_one_again() -> None:
    """No thread is there during the fork, of which Python 3.12 warns."""
    out = run("""
for _ in range(20):
    assert caretakers()
    pid = os.fork()
    if not pid:
        try:
            assert not caretakers()
            own = FakeDriver()
            lease_and_return(fair_pool(own, max_idle=0.01))
            until(lambda: not own.open)
            pool.dispose()  # The parent's lock is free.
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
print(sum(at_forks), len(caretakers()))
""")
    assert out == "0 1\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_fork_waits_for_a_look_and_not_for_one_that_hangs() -> None:
    out = run(
        """
closing, go_on = threading.Event(), threading.Event()
driver.before["close"] = lambda: (closing.set(), go_on.wait())
assert closing.wait(20)
began = time.monotonic()
pid = os.fork()
if not pid:
    own = FakeDriver()
    lease_and_return(fair_pool(own, max_idle=0.01))
    until(lambda: not own.open)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert time.monotonic() - began < 5
go_on.set()
until(lambda: not driver.open)
print("well")
""",
        max_idle=0.2,
    )
    assert out == "well\n"


def test_the_exit_stops_a_sleeping_thread_at_once() -> None:
    """Before what logging and others do at exit, which registered for it earlier."""
    out = run("""
assert caretakers()
at_exit.append(lambda: print(len(caretakers()), time.monotonic() - began < 0.5))
began = time.monotonic()
""")
    assert out == "0 True\n"


def test_the_exit_waits_for_no_close_that_hangs() -> None:
    out = run(
        """
closing = threading.Event()
driver.before["close"] = lambda: (closing.set(), time.sleep(1000))
assert closing.wait(20)
print(time.monotonic())
""",
        max_idle=0.2,
    )
    assert time.monotonic() - float(out) < 2


def test_a_connect_at_exit_starts_no_thread_and_logs_nothing() -> None:
    run("""
atexit.register(lambda: lease_and_return(fair_pool(FakeDriver(), max_idle=60)))
""")
