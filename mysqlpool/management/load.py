"""Threads that lease from the pool of an alias, and what that took. Nothing is written."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping

from django.db import connections, transaction

from mysqlpool.aliases.registry import close_pool
from mysqlpool.scopes import auto_close_db
from mysqlpool.stats import PoolStats, stats

from .advice import Level, quantile, since
from .interrupts import Interrupt

__all__ = ["WORKS", "Load", "Stuck"]

THREAD_NAME = "mysqlpool-bench"
GIVE_UP = 3  # errors of a thread in a row, after which it does no more
END_SECONDS = 10.0
LOOK_SECONDS = 0.02


def _lease(alias: str) -> None:
    connections[alias].ensure_connection()


def _query(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchall()


def _atomic(alias: str) -> None:
    with transaction.atomic(using=alias):
        _query(alias)


# Each begins without a session, and leases at least once.
WORKS: Mapping[str, Callable[[str], None]] = {
    "leases": _lease,
    "queries": _query,
    "atomic blocks": _atomic,
}


class Stuck(Exception):
    """Threads wait for the server, and do not end."""


class Load:
    """Puts the pool of an alias under load, and closes it at the end of the ``with`` block.

    ``interrupt`` ends a run early. ``error`` is the first error of a thread, if there was any.
    """

    def __init__(self, alias: str, interrupt: Interrupt | None = None) -> None:
        self.alias = alias
        self.interrupt = interrupt or Interrupt()
        self.error: Exception | None = None

    def __enter__(self) -> Load:
        close_pool(self.alias)
        return self

    def __exit__(self, *exc_info: object) -> None:
        close_pool(self.alias)

    def seen(self) -> PoolStats:
        return stats().get(self.alias) or PoolStats()

    def run(self, work: str, threads: int, seconds: float) -> Level:
        """Have so many threads work for so long, each after a first piece that does not count.

        Raises `Stuck` where they do not end.
        """
        workers = [Worker(self.alias, WORKS[work]) for _ in range(threads)]
        begun, cpu, before = time.perf_counter(), time.process_time(), self.seen()
        try:
            for worker in workers:
                worker.start()
            self._wait_until(lambda: all(worker.is_ready for worker in workers))
            begun, cpu, before = time.perf_counter(), time.process_time(), self.seen()
            for worker in workers:
                worker.may_begin.set()
            self._wait_until(lambda: not any(map(Worker.is_alive, workers)), begun + seconds)
        finally:
            _end(workers)
        took = time.perf_counter() - begun
        return self._level(work, workers, took, time.process_time() - cpu, before)

    def _wait_until(self, is_done: Callable[[], bool], until: float = math.inf) -> None:
        """Wait for that, or until then, or for Ctrl-C."""
        while not is_done() and (left := until - time.perf_counter()) > 0:
            if self.interrupt.comes_within(min(left, LOOK_SECONDS)):
                return

    def _level(
        self, work: str, workers: list[Worker], took: float, cpu: float, before: PoolStats
    ) -> Level:
        after = self.seen()
        times = [one for worker in workers for one in worker.times]
        errors = [error for worker in workers for error in worker.errors]
        self.error = self.error or next(iter(errors), None)
        lease, wait = since(before.lease, after.lease), since(before.wait, after.wait)
        return Level(
            work=work,
            threads=len(workers),
            seconds=took,
            done=len(times),
            failed=len(errors),
            median=quantile(times, 0.5),
            p95=quantile(times, 0.95),
            wait_p95=wait.p95 if wait.count else None,
            busy=lease.seconds / took if took else 0.0,
            held=lease.seconds / lease.count if lease.count else 0.0,
            cpu=cpu / len(times) if times else 0.0,
        )


class Worker(threading.Thread):
    """Does a piece of work again and again, each in a scope of its own."""

    def __init__(self, alias: str, work: Callable[[str], None]) -> None:
        # One that hangs in the driver must not keep the command from ending.
        super().__init__(name=THREAD_NAME, daemon=True)
        self.alias = alias
        self.work = auto_close_db(using=alias)(work)
        self.is_ready = False
        self.may_begin, self.is_over = threading.Event(), threading.Event()
        self.times: list[float] = []
        self.errors: list[Exception] = []

    def run(self) -> None:
        self._do(count=False)
        self.is_ready = True
        self.may_begin.wait()
        in_a_row = 0
        while not self.is_over.is_set() and in_a_row < GIVE_UP:
            in_a_row = 0 if self._do() else in_a_row + 1

    def _do(self, *, count: bool = True) -> bool:
        begun = time.perf_counter()
        try:
            self.work(self.alias)
        except Exception as error:  # Each is counted, and the first one told.
            self.errors.append(error)
            return False
        if count:
            self.times.append(time.perf_counter() - begun)
        return True


def _end(workers: list[Worker]) -> None:
    for worker in workers:
        worker.is_over.set()
        worker.may_begin.set()
    until = time.perf_counter() + END_SECONDS
    for worker in workers:
        if worker.ident is not None:
            worker.join(max(0.0, until - time.perf_counter()))
    if hanging := sum(worker.is_alive() for worker in workers):
        raise Stuck(f"{hanging} of {len(workers)} threads still wait for the server")
