"""A main thread that ends with a lease: who gets it then, and who does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers import HANG

SCRIPT = """
import atexit, threading, time
from concurrent.futures import ThreadPoolExecutor

from mysqlpool.errors import PoolTimeout
from tests.fake_driver import FakeDriver, fair_pool, until, waiting

driver = FakeDriver()
pool = fair_pool(driver, 1, timeout=%(timeout)s)
lease = pool.lease()
atexit.register(lambda: print("main's is", "open" if lease.session in driver.open else "closed"))


def work():
    started = time.monotonic()
    try:
        taken = pool.lease()
    except PoolTimeout:
        print("timeout", flush=True)
    else:
        print("leased", "at once" if time.monotonic() - started < 10 else "late", flush=True)
        taken.give_back()


def late():
    threading.main_thread().join()
    work()


%(end)s
"""


def output(end: str, timeout: float = HANG) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT % {"end": end, "timeout": timeout}],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=HANG * 2,
        check=True,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "end",
    [
        "threading.Thread(target=work).start()",
        "threading.Thread(target=late).start()",
        "ThreadPoolExecutor(1).submit(work)",
    ],
    ids=["that waits then", "that asks later", "of an executor"],
)
def test_a_thread_gets_the_lease_of_a_main_thread_that_has_ended(end: str) -> None:
    assert output(end) == ["leased at once", "main's is closed"]


def test_a_daemon_does_not_get_it_because_functions_of_atexit_may_use_it() -> None:
    end = "threading.Thread(target=work, daemon=True).start(); until(lambda: waiting(pool))\n"
    end += "threading.Thread(target=lambda: time.sleep(0.2)).start()"
    assert output(end) == ["main's is open"]


def test_it_stays_where_nobody_waits() -> None:
    end = "threading.Thread(target=lambda: time.sleep(0.1)).start()"
    assert output(end) == ["main's is open"]


def test_only_as_many_are_taken_as_are_waited_for() -> None:
    end = "driver = FakeDriver(); pool = fair_pool(driver, 3, timeout=30)\n"
    end += "leases = [pool.lease() for _ in range(3)]; lease = leases[0]\n"
    end += "threading.Thread(target=work).start()\n"
    end += "atexit.register(lambda: print(len(driver.closed), 'closed'))"
    assert output(end)[:2] == ["leased at once", "1 closed"]
