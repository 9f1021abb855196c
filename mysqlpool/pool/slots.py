"""Slots: what is idle, what is out and who waits; the pool's state, under its one lock.

A slot is a `Record`, which says itself in which state it is:

    GONE    --take, serve: room below the limit------> LEASED   its holder connects
    IDLE    --take, serve, swap----------------------> LEASED
    LEASED  --put, nobody waits----------------------> IDLE
    LEASED  --put, somebody waits--------------------> LEASED   of the longest waiter: the hand-off
    LEASED  --put, claim, condemn--------------------> CLOSING  whoever has the Closing closes it
    IDLE    --condemn--------------------------------> CLOSING
    CLOSING --free-----------------------------------> GONE     and the longest waiter has room
    LEASED  --swap, back_off: without a session------> GONE

``idle`` and ``out`` hold the records by that state: ``out`` those that are LEASED or CLOSING. Their
sizes add up to the number of sessions, counted from before they are connected until after they are
closed, and there is no other count that could drift from it.

Lock rule. ``lock`` guards every attribute here, and what `Record` says. It is held as
`mysqlpool.pool.locks` tells, and not by ``with``. Nothing blocks while it is held: sessions are
connected, checked and closed outside of it. It is reentrant, because the garbage collector or a
signal handler may end a lease in the midst of a locked section of the same thread. ``busy`` tells
them so. They then put the end off until the section is over (``returning``). A new lease cannot be
put off, so it is refused.

A signal handler may also raise in the midst of a section. So each step leaves a state that can be
read. A record is first entered where it goes, then its state changes, and only then is it taken
from where it was. An entry that does not fit the record's state is stale and is passed over. So is
a request in the queue that has its record already. ``untidy`` has somebody put both in order
(`straighten`).

What is out is out for somebody: a lease's handle, or a `Closing`. The record refers to it weakly.
Once it is gone the slot is lost and is taken back, whatever interrupted its owner.

Finalizers (`alarm`) take no lock at all: two pools' finalizers could otherwise wait for each other,
and in a forked child the lock may belong to a thread that does not exist.
"""

from __future__ import annotations

import bisect
import functools
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeVar

from mysqlpool.errors import PoolError

from .lease import Lease, Request
from .locks import under
from .record import CLOSING, GONE, IDLE, LEASED, Record
from .refusals import Refusals
from .report import Held
from .tally import Tally
from .threads import KnownThread

__all__ = ["Closing", "Limits", "QueueFull", "Returned", "Slots"]

P = ParamSpec("P")
T = TypeVar("T")

SINCE = attrgetter("since")

# For these reasons QueuePool closes an entry of the pool, and not only its session.
ENTRY_ENDS = frozenset(["disposed", "overflow"])

# A lease whose end was put off: its record, its serial, and why to discard it (None: put it back).
Returned = tuple[Record, int, str | None]


@dataclass(frozen=True, slots=True)
class Limits:
    """The pool's numbers; ``inf`` where there is no bound. Times are seconds."""

    keep: float
    total: float
    waiting: float
    max_idle: float
    min_idle: int
    leak_after: float


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Closing:
    """The order to close a record's session. If it is dropped before, the slot is taken back."""

    record: Record
    reason: str


def locked(method: Callable[Concatenate[Slots, P], T]) -> Callable[Concatenate[Slots, P], T]:
    """Hold the lock while ``method`` runs, and tell by ``busy``.

    `take` and `put` are the hottest, and spell this out.
    """

    def alone(self: Slots, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            self.lock.acquire()
            if self.busy:
                raise self.reentered()
            self.busy = True
            try:
                return method(self, *args, **kwargs)
            except BaseException:
                self.interrupted()
                raise
            finally:
                self.busy = False
        finally:
            try:  # noqa: SIM105 - see mysqlpool.pool.locks
                self.lock.release()
            except RuntimeError:
                pass

    return functools.update_wrapper(alone, method)


class Slots:
    """The state of one pool. "Locked": the caller holds the lock and has set ``busy``."""

    def __init__(self, limits: Limits, lifo: bool, make: Callable[[], Record]) -> None:
        self.limits = limits
        self.make = make
        self.end = -1 if lifo else 0  # of ``idle``, where leases are taken from
        self.overflows = limits.total > limits.keep
        self.lock = threading.RLock()
        self.busy = False
        self.idle: deque[Record] = deque()  # the longest idle first
        self.out: dict[Record, None] = {}  # the oldest lease first
        self.waiters: deque[Request] = deque()  # the longest waiting first
        self.waited_since = math.inf  # where there are waiters, since when without a break
        self.generation = 0  # grows when all sessions opened so far are to go
        self.disposed = 0  # the generation that began when the pool was last disposed of
        self.serial = 0  # the number of leases granted, also of those that came to nothing
        self.tally = Tally()
        self.refusals = Refusals()
        self.left: deque[dict[Any, Any]] = deque()  # what SQLAlchemy's users left in free slots
        self.returning: deque[Returned] = deque()
        self.untidy = False
        self.collected = -math.inf  # when a request last asked the garbage collector

    def alarm(self) -> None:
        """Have somebody tidy up. For finalizers: takes no lock, and may run at any moment."""
        self.untidy = True
        try:
            waiter = self.waiters[0]
        except IndexError:
            return  # The next one who leases or returns will do it.
        waiter.wake()

    def interrupted(self) -> None:
        """An exception came in the midst of a section: have its traces put in order, and soon."""
        self.untidy = True
        for waiter in tuple(self.waiters):
            waiter.wake()

    @staticmethod
    def reentered() -> PoolError:
        return PoolError(
            "a signal handler or a finalizer asked for a lease while it interrupted the pool itself"
        )

    # Leasing

    def take(self, request: Request) -> Record | None:
        """Grant a record at once, or queue the request.

        Returns None when it has to wait. Raises `QueueFull` when the queue may not grow.
        """
        try:
            self.lock.acquire()
            if self.busy:
                raise self.reentered()
            self.busy = True
            try:
                if not request.scoped:
                    self.tally.events["unscoped"] += 1
                if not self.waiters:
                    record = self.next_idle(request) if self.idle else None
                    if record is None:
                        record = self.next_other(request.since)
                    if record is not None:
                        self.lend(record, request, request.since)
                        if record.dbapi_connection is not None:  # As in `measure_wait`.
                            request.measured = True
                            self.tally.wait.counts[0] += 1
                        return record
                self.enqueue(request)
                return None
            except BaseException:
                self.interrupted()
                raise
            finally:
                self.busy = False
        finally:
            try:  # noqa: SIM105 - see mysqlpool.pool.locks
                self.lock.release()
            except RuntimeError:
                pass

    def next_idle(self, request: Request) -> Record | None:
        """The idle record to be leased next: the preferred session's if it is there. Locked."""
        prefer, identity = request.prefer, request.identity
        if prefer is not None:
            for record in self.idle:
                if (
                    record.dbapi_connection is prefer
                    and record.identity == identity
                    and record.state is IDLE
                ):
                    return record
        while self.idle:
            record = self.idle[self.end]
            if record.state is not IDLE:
                del self.idle[self.end]  # It is stale.
            elif record.identity == identity:
                return record
            else:
                break
        return self.another_idle(identity) if self.idle else None

    def another_idle(self, identity: Any) -> Record | None:
        """The next idle record of this identity, which is not the next of all. Locked."""
        order = reversed(self.idle) if self.end else iter(self.idle)
        return next((r for r in order if r.state is IDLE and r.identity == identity), None)

    def next_other(self, now: float) -> Record | None:
        """A record whose session is still to be opened. Locked.

        Where there is no room for one it is the longest idle one's. Its session is of another
        identity, and is closed for it.
        """
        if self.has_room(now):
            return self.vacant()
        return next((record for record in self.idle if record.state is IDLE), None)

    def vacant(self) -> Record:
        """A record for a free slot, with what SQLAlchemy's users left in one. Locked."""
        record = self.make()
        if self.left:
            record.own_info = self.left[self.end]
            del self.left[self.end]
        return record

    def lend(self, record: Record, request: Request, now: float) -> None:
        """Lease a record that is idle, or gone, or was returned just now. Locked."""
        lease, before = request.lease, record.state
        record.claim = weakref.ref(lease)
        if before is LEASED:
            del self.out[record]  # so that it becomes the youngest
        self.out[record] = None
        self.serial = serial = self.serial + 1
        record.serial = lease.serial = serial
        record.holder, record.where, record.since = request.thread, request.where, now
        record.state = LEASED
        # From here on it is the lease's. A waiter that is awake goes off with it at once.
        lease.record = record
        if before is IDLE:
            if self.idle[self.end] is record:
                del self.idle[self.end]
            else:
                self.idle.remove(record)

    def entrust(self, record: Record, lease: Lease) -> None:
        """Make this the handle of a record's present lease, instead of one that made way for
        SQLAlchemy's proxy.
        """
        under(self.lock, self._entrust, record, lease)

    def _entrust(self, record: Record, lease: Lease) -> None:
        lease.record, lease.serial = record, record.serial
        record.claim = weakref.ref(lease)

    def share(self, record: Record, serial: int) -> None:
        """Have a lease outlast its holder's thread."""
        under(self.lock, self._share, record, serial)

    def _share(self, record: Record, serial: int) -> None:
        if record.serial == serial:
            record.shared = serial

    def unshare(self, record: Record, serial: int, holder: KnownThread | None) -> None:
        """End that. The lease is ``holder``'s from now on, if there is one."""
        under(self.lock, self._unshare, record, serial, holder)

    def _unshare(self, record: Record, serial: int, holder: KnownThread | None) -> None:
        if record.serial != serial:
            return
        record.shared = 0
        record.holder = holder or record.holder
        if record.holder.ended:  # Nobody else tells of that any more.
            self.alarm()

    def enqueue(self, request: Request) -> None:
        if not request.thread.waits:
            raise QueueFull
        if len(self.waiters) >= self.limits.waiting:
            self.tally.events["refused"] += 1
            raise QueueFull
        request.prepare()
        self.note_wait(request)
        self.note_waiters(request)
        self.waiters.append(request)

    def note_wait(self, request: Request) -> None:
        """Count a request that has to wait, once, however often it queues. Locked."""
        if not request.waited:
            request.waited = request.lease.waited = True
            self.tally.events["waits"] += 1

    def note_waiters(self, request: Request) -> None:
        """Note since when there are waiters, before this one joins them. Locked.

        Whoever queues again after the server refused has waited since its request was made.
        """
        since = self.waited_since if self.waiters else math.inf
        self.waited_since = min(since, request.since)

    def waiting_seconds(self, now: float) -> float:
        """For how long there have been waiters without a break; 0.0 where there is none."""
        return under(self.lock, self._waiting_seconds, now)

    def _waiting_seconds(self, now: float) -> float:
        return max(0.0, now - self.waited_since) if self.waiters else 0.0

    def served(self, request: Request, record: Record) -> None:
        """A session was opened for a request, which waited until it had the slot for that."""
        under(self.lock, self.measure_wait, request, record.since)

    def measure_wait(self, request: Request, end: float) -> None:
        """Count how long a request waited, once. Locked.

        Where a session has to be opened that is counted afterwards: if the server refuses, the
        request waits again.
        """
        if not request.measured:
            request.measured = True
            self.tally.wait.add(end - request.since)

    def has_room(self, now: float) -> bool:
        """Whether one more session may be opened, by the caller and now. Locked."""
        return len(self.out) + len(self.idle) < self.limits.total and self.refusals.may_ask(now)

    def serve(self, now: float) -> None:
        """Serve waiters as long as there is something for them. Locked."""
        while self.waiters:
            waiter = self.waiters[0]
            if waiter.lease.record is not None:  # It was served, and this place is stale.
                waiter.wake()
                self.waiters.popleft()
                continue
            record = self.next_idle(waiter) or self.next_other(now)
            if record is None:
                if self.refusals.count:  # It may have to wake for the next attempt now.
                    waiter.wake()
                return
            self.hand(record, now)

    def hand(self, record: Record, now: float) -> None:
        """Lease a record to the longest waiter. Locked."""
        waiter = self.waiters[0]
        self.lend(record, waiter, now)
        if record.dbapi_connection is not None:
            self.measure_wait(waiter, now)
        waiter.wake()
        self.waiters.popleft()

    def look_at(self) -> float:
        """When a waiter has to ask a server that refused again, though nobody wakes it."""
        if self.refusals.count and len(self.out) + len(self.idle) < self.limits.total:
            return self.refusals.until
        return math.inf

    @locked
    def withdraw(self, request: Request) -> bool:
        """Take a request out of the queue; False if it was served before that."""
        if request in self.waiters:
            self.waiters.remove(request)
        return request.lease.record is None

    @locked
    def swap(self, request: Request, empty: Record, now: float) -> Record | None:
        """Exchange a lease's record without a session for an idle one that fits, if any does."""
        record = self.next_idle(request)
        if record is None:
            return None
        self.lend(record, request, now)
        self.drop(empty)
        self.tally.events["unserved"] += 1
        self.serve(now)
        return record

    @locked
    def back_off(self, request: Request, empty: Record, error: Exception, now: float) -> None:
        """The server refused: give the slot back, and queue for a session or another attempt."""
        request.prepare()
        self.note_wait(request)
        request.lease.record = None
        self.drop(empty)
        self.tally.events["unserved"] += 1
        self.refusals.refused(error, now)
        self.note_waiters(request)
        bisect.insort(self.waiters, request, key=SINCE)
        for other in self.waiters:  # so that whoever is the first then wakes up for it
            other.wake()
        self.serve(now)

    @locked
    def connected(self, now: float, seconds: float) -> None:
        """Count a connect, which took so long. The server does not refuse: serve waiters."""
        self.tally.events["connects"] += 1
        self.tally.connect.add(seconds)
        if self.refusals.ended():
            self.serve(now)

    @locked
    def not_connected(self, now: float, *, refused: bool) -> None:
        """Count a failed connect. If it shows that the server no longer refuses, serve waiters."""
        self.tally.events["connect_errors"] += 1
        if not refused and self.refusals.ended():
            self.serve(now)

    # Returning

    def put(self, record: Record, serial: int, now: float) -> Closing | None:
        """End a lease. Returns the order to close its session, if it is not fit.

        Does nothing unless it is the record's present lease.
        """
        try:
            self.lock.acquire()
            if self.busy:
                self.put_off(record, serial, None)
                return None
            if record.serial != serial or record.state is not LEASED:
                return None
            self.busy = True
            try:
                if record.unserved != serial:  # As in `measure`.
                    times, seconds = self.tally.lease, now - record.since
                    # The quickest ones, which are the most, pay no call for it.
                    quick = seconds <= times.bounds[0]
                    times.counts[0 if quick else bisect.bisect_left(times.bounds, seconds)] += 1
                    times.seconds += seconds
                if now >= record.expires or record.generation != self.generation:
                    return self.condemn(record, self.unfit(record, now) or "expired")
                if self.waiters and self.serve_with(record, now):
                    return None
                if self.overflows and len(self.idle) >= self.limits.keep:
                    return self.condemn(record, "overflow")
                record.idle_since = now
                self.idle.append(record)
                record.state = IDLE
                del self.out[record]
                return None
            except BaseException:
                self.interrupted()
                raise
            finally:
                self.busy = False
        finally:
            try:  # noqa: SIM105 - see mysqlpool.pool.locks
                self.lock.release()
            except RuntimeError:
                pass

    def serve_with(self, record: Record, now: float) -> bool:
        """Hand a record that comes back to the longest waiter; False if none is without. Locked."""
        while self.waiters:
            if self.waiters[0].lease.record is None:
                self.hand(record, now)
                return True
            self.waiters[0].wake()  # It was served, and this place is stale.
            self.waiters.popleft()
        return False

    def unfit(self, record: Record, now: float) -> str | None:
        """Why a record's session cannot be leased again, as far as can be told from here."""
        if now >= record.expires:
            return record.condemned or "expired"
        if record.generation == self.generation:
            return None
        return "disposed" if record.generation < self.disposed else "pool invalidated"

    def measure(self, record: Record, now: float) -> None:
        """Note how long a lease lasted that ends. Locked."""
        if record.unserved != record.serial:
            self.tally.lease.add(now - record.since)

    def claim(self, record: Record, serial: int, reason: str, now: float) -> Closing | None:
        """End a lease whose session is to be closed; None if it had ended, or is put off."""
        return under(self.lock, self._claim, record, serial, reason, now)

    def _claim(self, record: Record, serial: int, reason: str, now: float) -> Closing | None:
        if record.serial != serial or record.state is not LEASED:
            return None
        if self.busy:
            self.put_off(record, serial, reason)
            return None
        self.measure(record, now)
        return self.condemn(record, reason)

    def condemn(self, record: Record, reason: str) -> Closing:
        """Order that a record's session be closed. Locked."""
        closing = Closing(record, reason)
        record.claim = weakref.ref(closing)
        self.out[record] = None
        record.state = CLOSING
        return closing

    def put_off(self, record: Record, serial: int, reason: str | None) -> None:
        """Leave the end of a lease for later: it interrupts a section of this thread."""
        self.returning.append((record, serial, reason))
        self.untidy = True

    @locked
    def free(self, record: Record, now: float) -> None:
        """A slot ends: its session is closed."""
        if record.state is CLOSING:
            self.drop(record)
        self.serve(now)

    def drop(self, record: Record) -> None:
        """Forget a record that has no session. Locked.

        Its ``record_info`` stays where it would in QueuePool. There cannot be more of them than
        there are free slots, or were at once where there is no limit.
        """
        record.state = GONE
        self.out.pop(record, None)
        if record.own_info and record.condemned not in ENTRY_ENDS:
            self.left.append(record.own_info)

    def renew(self, *, disposed: bool) -> None:
        """Have all sessions opened so far closed. The idle ones go at the next tidying."""
        under(self.lock, self._renew, disposed)

    def _renew(self, disposed: bool) -> None:
        self.generation += 1
        if disposed:
            self.disposed = self.generation
            self.left.clear()
        self.untidy = True

    def retire(self, is_gone: Callable[[Any], bool]) -> None:
        """Have the sessions closed of which this is true. The idle ones go at the next tidying."""
        under(self.lock, self._retire, is_gone)

    def _retire(self, is_gone: Callable[[Any], bool]) -> None:
        # Also where it interrupts a section of this thread: a record's generation is in no table.
        for record in (*self.idle, *self.out):
            if record.dbapi_connection is not None and is_gone(record.dbapi_connection):
                record.generation = -1
        self.untidy = True

    def straighten(self) -> None:
        """Put what an interrupted section left where its state says that it belongs. Locked."""
        for record in [record for record in self.out if record.state is IDLE]:
            if record not in self.idle:
                self.idle.append(record)
            del self.out[record]
        for record in [record for record in self.out if record.state is GONE]:
            del self.out[record]
        for record in [record for record in self.idle if record.state is not IDLE]:
            self.idle.remove(record)

    @locked
    def may_collect(self, now: float, interval: float) -> bool:
        """Whether nobody asked the garbage collector for so many seconds. The caller does now."""
        due = now - self.collected >= interval
        if due:
            self.collected = now
        return due

    # Telling

    @locked
    def holds(self, thread: KnownThread) -> bool:
        """Whether a thread has a lease already. A holder that has ended is looked after soon."""
        holders = {record.holder for record in self.out if record.state is LEASED}
        if any(holder.ended for holder in holders):
            self.untidy = True
        return thread in holders

    def awaited(self) -> int:
        """How many leases are waited for by threads that Python waits for at its exit. Locked."""
        waiting = [waiter.thread for waiter in self.waiters if waiter.lease.record is None]
        return sum(not known.thread.daemon for known in waiting)

    def situation(self, now: float) -> tuple[list[Held], list[KnownThread], int, Exception | None]:
        """All holders, all waiters, the number of sessions in use, and why the server refuses.

        A signal handler may ask, too, in the midst of a section of its thread.
        """
        return under(self.lock, self._situation, now)

    def _situation(self, now: float) -> tuple[list[Held], list[KnownThread], int, Exception | None]:
        held = [self.held(record, now) for record in tuple(self.out) if record.state is LEASED]
        waiting = [waiter.thread for waiter in tuple(self.waiters)]
        return held, waiting, len(self.out), self.refusals.last

    @staticmethod
    def held(record: Record, now: float) -> Held:
        serial, reason = record.pinned
        pinned = reason if serial == record.serial else None
        session = record.dbapi_connection
        return Held(record.holder, max(0.0, now - record.since), record.where, pinned, session)

    def timed_out(self, request: Request, now: float) -> None:
        """Count a request that waited in vain."""
        under(self.lock, self._timed_out, request, now)

    def _timed_out(self, request: Request, now: float) -> None:
        self.tally.events["timeouts"] += 1
        self.measure_wait(request, now)

    def unserved(self, record: Record, serial: int) -> None:
        """Count a lease that comes to nothing, before it ends."""
        under(self.lock, self._unserved, record, serial)

    def _unserved(self, record: Record, serial: int) -> None:
        self.tally.events["unserved"] += 1
        if record.serial == serial:
            record.unserved = serial

    def count(self, name: str, kind: str = "events") -> None:
        """Count an event, or one of another kind that the tally has."""
        under(self.lock, self.tally.add, kind, name)

    def pin(self, record: Record, serial: int, reason: str) -> None:
        """Note, once a lease, why it cannot be ended before the release."""
        if record.serial == serial and record.pinned[0] != serial:
            record.pinned = serial, reason
            self.count(reason, "pinned")

    def figures(self) -> dict[str, Any]:
        return under(self.lock, self._figures)

    def _figures(self) -> dict[str, Any]:
        return {
            "in_use": len(self.out),
            "idle": len(self.idle),
            "waiting": len(self.waiters),
            "leases": self.serial - self.tally.events["unserved"],
            **self.tally.figures(),
        }


class QueueFull(Exception):
    """There are as many waiters as there may be, or the request is none that waits."""
