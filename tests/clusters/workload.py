"""Threads that write through Django while nodes fail, and the audit of what became of it."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import MySQLdb
from django.db import DatabaseError, connections, transaction

from mysqlpool import release_connections
from mysqlpool.errors import PoolTimeout
from tests.helpers import HANG

__all__ = ["THREADS", "Failed", "Outage", "Workload"]

THREADS = 16
BACK_SECONDS = 60
"""Until all threads write again on a node that takes writes; what it really took is recorded."""

REST_SECONDS = 0.1
"""After each transaction of a thread, while a node catches up."""

# With these the server itself says that it has undone the transaction at its COMMIT.
CERTIFICATION = (1213, 3101)
LOST = ("OperationalError 2006", "OperationalError 2013", "OperationalError 2055")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Failed:
    """A transaction that ended with an error."""

    error: str
    """Its class and number."""
    session: int | None
    """Which session it was on; None where there was none."""
    committing: bool
    opening: bool


@dataclass
class Outage:
    """What the application saw of one."""

    name: str
    began: float
    failed: list[Failed] = field(default_factory=list)
    down: float | None = None
    """Seconds until a node took writes."""
    back: float | None = None
    """Seconds from a node that takes writes until all threads had written again."""

    @property
    def errors(self) -> Counter[str]:
        return Counter(failed.error for failed in self.failed)

    @property
    def lost(self) -> int:
        """How many transactions were lost with a session that was there."""
        return sum(f.error in LOST and not f.opening for f in self.failed)

    @property
    def by_session(self) -> Counter[int]:
        return Counter(f.session for f in self.failed if f.session is not None)

    def __str__(self) -> str:
        errors = ", ".join(f"{count} x {error}" for error, count in sorted(self.errors.items()))
        back = "never back" if self.back is None else f"back after {self.back:.2f} s"
        if self.down is not None:
            back = f"writable after {self.down:.2f} s, {back}"
        return f"{self.name}: {back}; {len(self.by_session)} sessions lost; {errors or 'no error'}"


class Workload:
    """Writers on one alias, one row a transaction, from start to the end of the ``with`` block.

    ``_lock`` guards all lists and sets.
    """

    def __init__(self, alias: str, threads: int = THREADS) -> None:
        self.alias = alias
        self.tried: set[str] = set()
        self.acknowledged: list[str] = []
        self.unknown: set[str] = set()
        self.failed: list[Failed] = []
        self.outages: list[Outage] = []
        self._wrote = [0.0] * threads
        """When each thread began the last transaction that succeeded."""
        self._broken: list[BaseException] = []
        self._over = threading.Event()
        self._rest = 0.0
        self._lock = threading.Lock()
        self._run = next(_numbers)
        self._threads = [
            threading.Thread(target=self._guarded, args=(number,), daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Workload:
        for thread in self._threads:
            thread.start()
        try:
            self.until_all_wrote(time.monotonic())
        except BaseException:
            self._over.set()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(HANG * 2)
        assert not any(thread.is_alive() for thread in self._threads), "a writer hangs"
        if self._broken and exc is None:
            raise self._broken[0]

    # The writers

    def _guarded(self, number: int) -> None:
        try:
            for turn in itertools.count(1):
                if self._over.is_set():
                    return
                self._write(number, f"{self._run}/{number}/{turn}")
                self._over.wait(self._rest)
        except BaseException as error:
            self._broken.append(error)  # Such as one that Django did not translate.
        finally:
            release_connections()

    def _write(self, number: int, text: str) -> None:
        began = time.monotonic()
        session: int | None = None
        committing = False
        with self._lock:
            self.tried.add(text)
        try:
            with transaction.atomic(using=self.alias):
                try:
                    with connections[self.alias].cursor() as cursor:
                        cursor.execute("INSERT INTO written (text) VALUES (%s)", [text])
                finally:
                    session = number_of(connections[self.alias].connection)
                committing = True
        except (DatabaseError, MySQLdb.Error) as error:
            if session is None:  # It failed as the transaction was begun.
                session = number_of(connections[self.alias].connection)
            # Lost in its handshake, no session was there yet.
            opening = session is None and " at '" in str(error)
            self._note(Failed(told(error), session, committing, opening), text, error)
            self._over.wait(0.01)  # Of what fails at once there would be thousands.
        else:
            with self._lock:
                self.acknowledged.append(text)
                self._wrote[number] = began
        finally:
            release_connections(self.alias)  # As a request ends.

    def _note(self, failed: Failed, text: str, error: BaseException) -> None:
        with self._lock:
            self.failed.append(failed)
            if failed.committing and number_in(error) not in CERTIFICATION:
                self.unknown.add(text)

    # Outages

    @contextmanager
    def outage(self, name: str) -> Iterator[Outage]:
        """The errors seen in this block belong to an outage of this name."""
        with self._lock:
            outage, first = Outage(name, time.monotonic()), len(self.failed)
            self.outages.append(outage)
        try:
            yield outage
        finally:
            with self._lock:
                outage.failed = self.failed[first:]

    @contextmanager
    def at_ease(self) -> Iterator[None]:
        """In this block the threads rest after each transaction.

        A node that comes back is a member once it has caught up with them. On a busy machine it
        takes minutes to catch up with threads that write as fast as they can.
        """
        self._rest = REST_SECONDS
        try:
            yield
        finally:
            self._rest = 0.0

    def until_all_wrote(self, since: float) -> float:
        """Wait until each thread wrote in a transaction begun after that; how long that took."""
        deadline = time.monotonic() + BACK_SECONDS
        while True:
            with self._lock:
                missing = sum(wrote < since for wrote in self._wrote)
                last = [failed.error for failed in self.failed[-3:]]
            if not missing:
                return time.monotonic() - since
            if self._broken:
                raise self._broken[0]
            assert time.monotonic() < deadline, f"{missing} threads do not write again; {last}"
            time.sleep(0.002)

    # Afterwards

    def audit(self, rows: Sequence[str]) -> None:
        """What was acknowledged is there once, and nothing that was undone or never tried is."""
        there = Counter(rows)
        acknowledged = set(self.acknowledged)
        assert len(self.acknowledged) == len(acknowledged)
        assert not [text for text, count in there.items() if count > 1], "rows are there twice"
        assert not acknowledged - there.keys(), "acknowledged rows are missing"
        assert not there.keys() - self.tried, "rows are there that nobody wrote"
        undone = self.tried - acknowledged - self.unknown
        assert not there.keys() & undone, "rows are there whose transaction failed before COMMIT"


_sessions: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_sessions_lock = threading.Lock()


def number_of(session: Any) -> int | None:
    """A number for a session that no other one has, also not on another server."""
    if session is None:
        return None
    with _sessions_lock:
        return _sessions.setdefault(session, next(_numbers))


def number_in(error: BaseException) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def told(error: BaseException) -> str:
    """An error as the application sees it: its class, and its number or a waiter's reason."""
    if isinstance(error, PoolTimeout):
        return "PoolTimeout"
    return f"{type(error).__name__} {number_in(error)}"
