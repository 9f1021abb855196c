"""Acquisition: one request for a lease, from asking to a fit session or an exception.

What can be decided in a moment is decided under the lock, in `mysqlpool.pool.slots`. What takes
time (waiting, checking, connecting, closing) is here, outside of it. An exception at any point of
that, also one that a signal handler raises, gives the slot back.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mysqlpool.errors import PoolExhausted, PoolTimeout, TooManyWaiters
from mysqlpool.events.log import told_afterwards

from . import clock
from .ending import Ending
from .lease import Lease, Request
from .record import Record
from .report import IsIdle, describe_holders, tell_exhausted
from .seldom import Seldom
from .slots import QueueFull, Slots
from .threads import Threads, own_frame
from .upkeep import Upkeep

__all__ = ["Acquisition", "Terms"]

# How long a waiter sleeps at most, in seconds. Whatever it waits for wakes it. A signal handler
# that raises in a finalizer can prevent that, so nobody sleeps for longer.
NAP = 1.0

# Seconds between two garbage collections that requests of one pool ask for: those of threads that
# have a lease already, and those that are about to fail.
BETWEEN_COLLECTIONS, BEFORE_FAILURES = 1.0, 10.0

# Why a record cannot serve yet, beside the reasons that `Slots.unfit` gives.
NO_SESSION = "no session"
DEAD = "dead"
NOT_RENEWED = "not renewed"  # though it was given back for that
IDENTITY = "identity"  # It was opened for another one, and is closed to make room.


@dataclass(frozen=True, slots=True)
class Terms:
    """What all requests of one pool have in common; `FairQueuePool` says what it means."""

    alias: str
    slots: Slots
    threads: Threads
    ending: Ending
    upkeep: Upkeep
    timeout: float  # seconds; inf for none
    check: Callable[[Any, float], bool] | None
    waits_for: Callable[[BaseException], bool]  # whether a failed connect is to be tried again
    is_idle: IsIdle | None = None
    renew: Callable[[Any, float], bool] | None = None
    exhaustions: Seldom = field(default_factory=Seldom)


class Acquisition(Request):
    """One request of this thread, under way. ``run`` it once."""

    __slots__ = ("refusal", "terms", "waiting")

    def __init__(
        self,
        terms: Terms,
        lease: Lease,
        prefer: Any = None,
        identity: Any = None,
        scoped: bool = True,
    ) -> None:
        self.lease = lease
        self.prefer = prefer
        self.scoped = scoped
        self.thread = thread = terms.threads.present()
        self.terms = terms if thread.terms is None else thread.terms
        self.identity = thread.identity if identity is None else identity
        where = thread.where
        if where is None or prefer is None:
            frame = own_frame(sys._getframe())
            where = thread.where = frame.f_code, frame.f_lasti
            del frame  # If it were this function's own, it would keep itself and the lease alive.
        self.where = where
        self.since = clock.monotonic()
        self.waiting = self.waited = self.measured = False

    def run(self) -> Record:
        """Take a slot; then wait, close and connect until its session is fit. Each may raise."""
        slots, ending = self.terms.slots, self.terms.ending
        if slots.untidy or self.since >= self.terms.upkeep.due:
            ending.tidy(self.since)
        try:
            record = slots.take(self)
            fault = NO_SESSION if record is None else self._fault(record, self.since)
            while True:
                if record is None:
                    record = self._wait()
                    now = clock.monotonic()
                    record.idle_since = now  # It may have died in the hands that it came from.
                    fault = self._fault(record, now)
                if fault is None:
                    return record
                if fault is not NO_SESSION:
                    ending.close_session(record, fault, invalidate=fault is DEAD)
                    now = clock.monotonic()
                    another = slots.swap(self, record, now)
                    fault = NO_SESSION if another is None else self._fault(another, now)
                    record = another or record
                elif told_afterwards(self._connect, record):
                    slots.served(self, record)
                    return record
                else:
                    record = None
        except QueueFull:
            raise self._exhausted(TooManyWaiters, 0.0) from None
        except BaseException:
            self._give_up()
            raise

    def _fault(self, record: Record, now: float) -> str | None:
        """Why the session of a record cannot serve its next holder, if it cannot."""
        session = record.dbapi_connection
        if session is None:
            return NO_SESSION
        slots = self.terms.slots
        if now >= record.expires or record.generation != slots.generation:
            return slots.unfit(record, now)
        if record.to_renew or record.identity != self.identity:
            return self._renew(record, now)
        check = self.terms.check
        if check is not None:
            thread = self.thread
            thread.deadline = self.since + self.terms.timeout
            try:
                if not check(session, now - record.idle_since):
                    return DEAD
            finally:
                thread.deadline = None
        return None

    def _renew(self, record: Record, now: float) -> str | None:
        """Have a session made as new for this request, or tell why it cannot serve it."""
        renew = self.terms.renew
        fault = IDENTITY if record.identity != self.identity else NOT_RENEWED
        if renew is None:
            return fault
        with self._as_wanted():
            if not renew(record.dbapi_connection, now - record.idle_since):
                return fault
        record.to_renew, record.identity = False, self.identity
        self.terms.slots.count("renewed")
        return None

    @contextmanager
    def _as_wanted(self) -> Iterator[None]:
        """In this block the thread's request can be asked for: its identity, and its time."""
        thread, before = self.thread, self.thread.identity
        thread.deadline = self.since + self.terms.timeout
        thread.identity = self.identity
        try:
            yield
        finally:
            thread.deadline, thread.identity = None, before

    def _wait(self) -> Record:
        """Wait until served. Raises `PoolTimeout` if the time ends before that."""
        slots, upkeep = self.terms.slots, self.terms.upkeep
        deadline = self.since + self.terms.timeout
        self.waiting = True
        # Perhaps nobody has that lease any more: a wrapper that was dropped unclosed is one of a
        # cycle, and keeps its lease until the collector finds it.
        holds = slots.holds(self.thread)
        while True:
            record = self.lease.record
            if record is not None:
                self.waiting = False
                return record
            now = clock.monotonic()
            look = min(slots.look_at(), upkeep.look_at())
            if slots.untidy or now >= look:
                self.terms.ending.tidy(now)
            elif holds and slots.may_collect(now, BETWEEN_COLLECTIONS):
                gc.collect()
            elif now < deadline:
                self.park(min(deadline - now, look - now, NAP))
                self._look_if_nobody_woke(now)
            elif slots.may_collect(now, BEFORE_FAILURES):
                gc.collect()  # What other threads dropped may come back by this.
                slots.untidy = True
            else:
                self._time_out(now)

    def _look_if_nobody_woke(self, parked: float) -> None:
        if self.lease.record is None and clock.monotonic() - parked >= NAP:
            self.terms.slots.untidy = True

    def _time_out(self, now: float) -> None:
        if self.terms.slots.withdraw(self):
            self.terms.slots.timed_out(self, now)
            error = self._exhausted(PoolTimeout, now - self.since)
            raise error from error.refusal

    def _exhausted(self, kind: type[PoolExhausted], seconds: float) -> PoolExhausted:
        slots = self.terms.slots
        held, waiting, in_use, refusal = slots.situation(clock.monotonic())
        error = kind(
            self.terms.alias,
            limit=slots.limits.total,
            in_use=in_use,
            waiting=len(waiting),
            seconds=seconds,
            holders=describe_holders(held, [self.thread, *waiting], self.terms.is_idle),
            refusal=refusal,
        )
        tell_exhausted(error, self.terms.exhaustions, self.thread)
        return error

    def _connect(self, record: Record) -> bool:
        """Open the record's session; False where the server refuses it for now.

        All other errors are raised. In both cases the slot was given back, so that no other request
        waits for what the log is told afterwards.
        """
        try:
            with self._as_wanted():
                record.get_connection()
        except Exception as error:
            waits = self.thread.waits and self.terms.waits_for(error)
            if waits and record.dbapi_connection is None:
                # The traceback would keep this request's frames alive, and with them the lease.
                refusal = error.with_traceback(None)
                self.terms.slots.back_off(self, record, refusal, clock.monotonic())
                return False
            self._give_up()
            raise
        return True

    def _give_up(self) -> None:
        """Undo what was done for a request that ends in an exception."""
        slots, lease = self.terms.slots, self.lease
        if lease.record is None:
            slots.withdraw(self)
        record = lease.record
        if record is None:
            return
        slots.unserved(record, lease.serial)
        if self.waiting:  # It was served just then, and has not touched the session.
            self.terms.ending.put(record, lease.serial)
        else:
            self.terms.ending.rescue(record, lease.serial)
        lease.record = None  # The last: a lease that does not point at its record is a lost one.
