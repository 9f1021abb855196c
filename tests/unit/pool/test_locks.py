"""A lock is free again after its section, whatever a signal handler raises, and when."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mysqlpool.pool.locks import under
from tests.helpers import run_threads

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")

SECONDS = 1.0


class Alarm(Exception):
    """What the signal handler raises."""


@pytest.fixture
def alarms() -> Iterator[None]:
    def raise_alarm(*args: Any) -> None:
        raise Alarm

    handler = signal.signal(signal.SIGALRM, raise_alarm)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)


def test_a_lock_is_free_after_a_signal_at_any_moment(alarms: None) -> None:
    lock, over, caught = threading.RLock(), threading.Event(), 0

    def others() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        while not over.is_set():
            under(lock, pass_by)
            time.sleep(0)  # The other thread would starve else, as no lock of Python's is fair.

    thread = threading.Thread(target=others)
    thread.start()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1e-4))
            for _ in range(1000):
                under(lock, pass_by)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            caught += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    over.set()
    thread.join(30)
    assert not thread.is_alive(), "the lock was left taken"
    assert caught > 10
    assert run_threads(lambda: lock.acquire(blocking=False)) == [True]


def pass_by() -> None:
    """A section that does nothing, so that most of the time is spent at its edges."""


def test_a_section_within_a_section_of_one_thread_releases_once() -> None:
    lock = threading.RLock()

    def inner() -> bool:
        under(lock, pass_by)
        return run_threads(lambda: lock.acquire(blocking=False)) == [False]

    assert under(lock, inner)
    assert run_threads(lambda: lock.acquire(blocking=False)) == [True]


def test_an_exception_of_the_section_releases_and_passes_through() -> None:
    lock = threading.RLock()
    with pytest.raises(ZeroDivisionError):
        under(lock, lambda: 1 / 0)
    assert run_threads(lambda: lock.acquire(blocking=False)) == [True]


def test_a_lock_of_another_thread_is_not_released() -> None:
    """An interrupted wait for it ends in the interruption, and the other thread keeps it."""
    lock, taken, over = threading.RLock(), threading.Event(), threading.Event()

    def stay() -> None:
        taken.set()
        over.wait(30)

    def hold() -> None:
        under(lock, stay)

    class Interrupted:
        """An RLock whose wait is interrupted, as by a signal handler that raises."""

        def acquire(self) -> None:
            raise Alarm

        def release(self) -> None:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(30)
    with pytest.raises(Alarm):
        under(Interrupted(), pass_by)
    assert not lock.acquire(blocking=False)
    over.set()
    thread.join(30)
