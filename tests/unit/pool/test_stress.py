"""FairQueuePool under threads that switch all the time, die, forget and fail.

``MYSQLPOOL_STRESS_SECONDS`` says for how long (default 2).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mysqlpool.errors import PoolError
from mysqlpool.pool import FairQueuePool, Lease
from tests.fake_driver import DriverError, FakeDriver, assert_conserved
from tests.helpers import HANG, STRESS_SECONDS, without_logging

LIMIT = 4


@pytest.fixture
def restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    # A log record of a failed close, kept by pytest, has a traceback that keeps frames and with
    # them handles that are meant to be lost here.
    with without_logging():
        yield
    sys.setswitchinterval(before)


class Storm:
    """Threads that do to a pool whatever may be done to it, and note a session shared by two."""

    def __init__(self) -> None:
        self.driver = FakeDriver()
        self.driver.before = dict.fromkeys(("connect", "check", "close"), self.maybe_fail)
        self.pool = FairQueuePool(
            self.driver.connect,
            pool_size=LIMIT - 1,
            max_overflow=1,
            timeout=HANG,
            recycle=0.01,
            max_idle=0.005,
            check=self.driver.check,
        )
        self.failing = True
        self.end = time.monotonic() + STRESS_SECONDS
        self.forgotten: list[Lease] = []
        self.wrong: list[object] = []
        self.turns = 0
        self.users: dict[Any, int] = {}

    def maybe_fail(self) -> None:
        dice = random.random()
        if self.failing and dice < 0.02:
            raise DriverError(1040 if dice < 0.001 else 2013, "bad luck")

    def work(self) -> None:
        while time.monotonic() < self.end:
            try:
                random.choice(self.turn)(self)
            except DriverError:
                pass  # Bad luck, as ordered.
            except BaseException as error:
                self.wrong.append(error)
                raise
            self.turns += 1

    def use(self, session: Any) -> None:
        me = threading.get_ident()
        if self.users.setdefault(session, me) != me:
            self.wrong.append(session)
        if random.random() < 0.2:
            time.sleep(0.0002)
        if self.users.pop(session, None) != me:
            self.wrong.append(session)

    def lease(self) -> None:
        lease = self.pool.lease()
        self.use(lease.session)
        lease.give_back()

    def discard(self) -> None:
        lease = self.pool.lease()
        self.use(lease.session)
        lease.discard("test")

    def twice(self) -> None:
        lease = self.pool.lease()
        self.use(lease.session)
        other = threading.Thread(target=lease.give_back)
        other.start()
        lease.give_back()
        other.join()

    def connect(self) -> None:
        connection = self.pool.connect()
        self.use(connection.dbapi_connection)
        connection.close()

    def forget(self) -> None:
        self.use(self.pool.lease().session)

    def die(self) -> None:
        def forgetful() -> None:
            with contextlib.suppress(DriverError):  # Bad luck, as ordered.
                self.forgotten.append(self.pool.lease())

        thread = threading.Thread(target=forgetful)
        thread.start()
        thread.join()

    def dispose(self) -> None:
        if random.random() < 0.1:
            self.pool.dispose()

    def look(self) -> None:
        figures = self.pool.figures()
        if figures["in_use"] + figures["idle"] > LIMIT:
            self.wrong.append(figures)

    turn = (
        lease,
        lease,
        lease,
        discard,
        twice,
        connect,
        forget,
        die,
        dispose,
        look,
    )


def test_a_storm_costs_no_slot_and_never_exceeds_the_limit(restless: None) -> None:
    storm = Storm()
    threads = [threading.Thread(target=storm.work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STRESS_SECONDS + 2 * HANG)
        assert not thread.is_alive()
    assert storm.wrong == []
    assert storm.driver.peak <= LIMIT
    assert storm.turns > 100
    storm.failing = False
    lease = storm.pool.lease()  # Takes back what the last ones forgot.
    lease.give_back()
    assert_conserved(storm.pool, LIMIT)
    assert len(storm.driver.open) <= LIMIT


def test_timeouts_and_hand_offs_may_race(restless: None) -> None:
    driver = FakeDriver()
    pool = FairQueuePool(driver.connect, pool_size=2, timeout=0.0005)
    end = time.monotonic() + STRESS_SECONDS / 2
    outcomes = {"served": 0, "late": 0}
    lock = threading.Lock()

    def work() -> None:
        while time.monotonic() < end:
            try:
                lease = pool.lease()
            except PoolError:
                result = "late"
            else:
                time.sleep(0.0002)
                lease.give_back()
                result = "served"
            with lock:
                outcomes[result] += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(STRESS_SECONDS + HANG)
        assert not thread.is_alive()
    assert outcomes["served"]
    assert outcomes["late"] == pool.figures()["timeouts"]
    assert outcomes["served"] == pool.figures()["leases"]
    assert driver.peak <= 2
    assert_conserved(pool, 2)


COLLECTIONS = """
import gc, logging, sys, threading, time
from mysqlpool.errors import PoolError
from mysqlpool.pool import FairQueuePool
from tests.fake_driver import FakeDriver

logging.getLogger("mysqlpool").addHandler(logging.NullHandler())


class Cycle:
    def __init__(self):
        self.me = self

    def __del__(self):
        str(self)  # Other threads may go on here.


def work():
    while time.monotonic() < end:
        Cycle()
        try:
            lease = pool.lease()
        except PoolError:
            continue
        time.sleep(0.0002)
        lease.give_back()


gc.set_threshold(20)
sys.setswitchinterval(1e-6)
pool = FairQueuePool(FakeDriver().connect, pool_size=2, timeout=0.0005)
end = time.monotonic() + %f
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("timeouts", pool.figures()["timeouts"] > 0)
"""


def test_timeouts_amid_collections_are_nothing_but_timeouts() -> None:
    """Each describes the holders by the frames of their threads. In a process that may crash."""
    done = subprocess.run(
        [sys.executable, "-c", COLLECTIONS % STRESS_SECONDS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=HANG + STRESS_SECONDS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "timeouts True\n", "")


class Alarm(Exception):
    """What the signal handler raises."""


def raise_alarm(*args: Any) -> None:
    raise Alarm


@pytest.fixture
def alarms(restless: None) -> Iterator[None]:
    """A signal handler that raises, also in finalizers, where the interpreter only tells of it."""
    handler, hook = signal.signal(signal.SIGALRM, raise_alarm), sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    sys.unraisablehook = hook


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
@pytest.mark.parametrize("end", [Lease.give_back, lambda lease: lease.discard("test")])
def test_a_signal_at_any_moment_costs_no_slot(alarms: None, end: Callable[[Lease], None]) -> None:
    """Of the main thread, with two others that take its place in the queue and its sessions."""
    pool = FairQueuePool(FakeDriver().connect, pool_size=3, timeout=HANG)
    over = threading.Event()
    threads = [threading.Thread(target=lease_until, args=(pool, end, over)) for _ in range(3)]
    for thread in threads:
        thread.start()
    until, caught = time.monotonic() + STRESS_SECONDS / 2, 0
    while time.monotonic() < until:
        try:
            lease_under_alarm(pool, end)
        except Alarm:
            caught += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    over.set()
    for thread in threads:
        thread.join(HANG / 2)
        assert not thread.is_alive()
    assert caught > 10
    for _ in range(2):
        pool.lease().give_back()  # Takes back what was lost.
    assert_conserved(pool, 3)


def lease_under_alarm(pool: FairQueuePool, end: Callable[[Lease], None]) -> None:
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 3e-4))
    for _ in range(20):
        lease = pool.lease()
        end(lease)
    signal.setitimer(signal.ITIMER_REAL, 0)


def lease_until(pool: FairQueuePool, end: Callable[[Lease], None], over: threading.Event) -> None:
    # So that the main thread gets it, at once.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    while not over.is_set():
        end(pool.lease())
