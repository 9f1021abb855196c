"""Signal handlers that raise at any moment, in the midst of real queries on the real server.

KeyboardInterrupt, gunicorn's SystemExit and Celery's SoftTimeLimitExceeded are such exceptions, and
they hit the main thread wherever it is: in the pool, in the driver, in Django.
``MYSQLPOOL_STRESS_SECONDS`` says for how long (default 2).
"""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

from mysqlpool import close_pool, release_connections, stats
from mysqlpool.errors import PoolTimeout
from tests.helpers import STRESS_SECONDS, run_threads, session_id, without_logging
from tests.rows.models import Row

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers"),
]


class Alarm(BaseException):
    """What the signal handler raises."""


@pytest.fixture
def alarms() -> Iterator[None]:
    def raise_alarm(*args: Any) -> None:
        raise Alarm

    handler, hook = signal.signal(signal.SIGALRM, raise_alarm), sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None  # A finalizer may be hit, too.
    with without_logging():
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    sys.unraisablehook = hook


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    mode: str = request.param
    settings = connections["default"].settings_dict
    pool = {"pool_size": 3, "timeout": 20, "lease": mode}
    monkeypatch.setitem(settings, "OPTIONS", {"pool": pool})
    return mode


def asked(number: int) -> None:
    """Ask for a number in both ways that a session is used, and get that number."""
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT %s", (number,))
        assert cursor.fetchone() == (number,)
    with transaction.atomic():
        assert Row.objects.filter(pk=-number).count() == 0


def test_signals_cost_no_session_and_mix_up_no_answers(
    alarms: None, lease: str, observer: Any
) -> None:
    over, wrong = threading.Event(), []
    counter = iter(range(1, 10**9))

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            while not over.is_set():
                asked(next(counter))
                release_connections()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    caught = storm(counter)
    over.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread hangs"
    assert wrong == []
    assert caught > 10
    release_connections()
    numbers = run_threads(*[lambda: session_id() for _ in range(3)])
    assert len(set(numbers)) <= 3
    assert stats()["default"].pool_size == 3
    observer.until(lambda: len(sessions(observer)) <= 3)
    gc.collect()  # An error of Django's that was hit may be in a cycle, and keep a lease's frames.
    close_pool()
    observer.until(lambda: not sessions(observer))


def sessions(observer: Any) -> set[int]:
    found: set[int] = observer.sessions(connections["default"].settings_dict["NAME"])
    return found


def storm(counter: Iterator[int]) -> int:
    """Work under alarms, and release whatever happened, as a worker's loop does."""
    until, caught = time.monotonic() + STRESS_SECONDS, 0
    while time.monotonic() < until:
        try:
            work_under_alarm(counter)
        except Alarm:  # Only one is set at a time, so from here on there is none.
            caught += 1
        wrapper = connections["default"]
        wrapper.close()
        if wrapper.in_atomic_block:  # Django's own book-keeping was hit, as on every engine.
            del connections["default"]
    return caught


def work_under_alarm(counter: Iterator[int]) -> None:
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-3))
    try:
        for _ in range(10):
            asked(next(counter))
            release_connections()
    except PoolTimeout:
        raise
    except DatabaseError:
        pass  # What an alarm interrupted was an exchange with the server; a finalizer swallowed it.
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
