"""Slots: what is idle, what is out and who waits; the pool's state, under its one lock.

A slot is a `Record`, which has a session or not, and is in one of three places:

    (nowhere) --room below the limit--> out     its holder connects
    idle      --lease-----------------> out
    out       --return, nobody waits--> idle
    out       --return, a waiter------> out     of the longest waiter: the direct hand-off
    out       --discard, closed-------> (nowhere), and the longest waiter has room

So ``len(idle) + len(out)`` is the number of sessions, counted from before they are connected until
after they are closed, and there is no other count that could drift from it. A record that is being
closed is in ``out`` with no owner and the serial 0: nobody else will touch it.

Lock rule. ``lock`` guards every attribute here, and the ``serial`` of records. Nothing blocks while
it is held: `mysqlpool.pool` connects, checks and closes sessions, calls listeners and logs outside
of it. It is reentrant for one reason only: the garbage collector or a signal handler may run code
in the midst of a locked section that ends a lease. ``busy`` tells, and what would change anything
is put off until the section is over (``deferred``, ``untidy``). Only a new lease cannot be put off,
and is refused.

Finalizers (`alarm`) take no lock at all: two pools' finalizers could otherwise wait for each other,
and in a forked child the lock may belong to a thread that does not exist. They set ``untidy`` and
wake the longest waiter, who looks after it in its own thread. Whoever has held the lock looks at
``untidy`` afterwards, so that none is overlooked.
"""

from __future__ import annotations

import bisect
import math
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from .errors import PoolError
from .holders import Held, Owner, Where
from .records import Record, Request
from .waiting import Waiter

__all__ = ["Found", "Limits", "Slots", "drain"]

# Seconds between two attempts to connect to a full server: at first, and at most.
FIRST_RETRY = 0.05
LAST_RETRY = 0.5

T = TypeVar("T")

COUNTERS = ("waits", "timeouts", "refused", "connects", "connect_errors", "reaped")

# Seconds between two looks at a thread that is just ending.
LAST_BREATH = 0.005


def drain(queue: deque[T]) -> Iterator[T]:
    """What is in a queue, one by one. Others may drain it too: each item comes to one of them."""
    while True:
        try:
            item = queue.popleft()
        except IndexError:
            return
        yield item


@dataclass(frozen=True, slots=True)
class Limits:
    """The pool's numbers; ``inf`` where there is no bound. Times are seconds."""

    keep: float
    total: float
    waiting: float
    max_idle: float
    min_idle: int
    leak_after: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the leases brought to light: those taken back, why, and those held long."""

    reaped: list[tuple[Held, str]]
    leaked: list[Held]


def holding(record: Record, owner: Owner, now: float) -> Held:
    serial, reason = record.pinned
    pinned = reason if serial == record.serial else None
    return owner, now - record.since, record.where, pinned


class Slots:
    """The state of one pool. "Locked": the caller holds the lock and has set ``busy``."""

    def __init__(self, limits: Limits, lifo: bool, make: Callable[[], Record]) -> None:
        self.limits = limits
        self.make = make
        self.lock = threading.RLock()
        self.busy = False
        self.idle: deque[Record] = deque()  # the longest idle first
        self.out: dict[Record, Owner | None] = {}  # the oldest lease first
        self.waiters: deque[Waiter] = deque()  # the longest waiting first
        self.end = -1 if lifo else 0  # of ``idle``, where leases are taken from
        self.pop = self.idle.pop if lifo else self.idle.popleft
        self.generation = 0  # grows when all sessions opened so far are to go
        self.serial = 0  # the number of leases granted, also of those that came to nothing
        self.tally: Counter[str] = Counter()
        self.discards: Counter[str] = Counter()
        self.pinned: Counter[str] = Counter()
        self.full_tries = 0  # attempts since the server began to say that it is full
        self.full_until = -math.inf  # when the next one may be made
        self.deferred: deque[tuple[Record, int, str | None]] = deque()
        self.closing: deque[tuple[Record, str]] = deque()  # for whoever tidies up
        self.untidy = False
        self.tidy_at = -math.inf  # when age alone makes something untidy, at the earliest
        self.dying = False  # some holder is just ending
        self.leaks_seen = 0  # the serial up to which leaks were reported

    def alarm(self) -> None:
        """Have somebody tidy up. For finalizers: takes no lock, and may run at any moment."""
        self.untidy = True
        try:
            waiter = self.waiters[0]
        except IndexError:
            return  # The next one who leases or returns will do it.
        waiter.wake()

    @contextmanager
    def section(self) -> Iterator[None]:
        """Hold the lock. For all but the two hottest methods, which spell it out."""
        with self.lock:
            if self.busy:
                raise self.reentered()
            self.busy = True
            try:
                yield
            finally:
                self.busy = False

    @staticmethod
    def reentered() -> PoolError:
        return PoolError(
            "a signal handler or a finalizer asked for a lease while it interrupted the pool itself"
        )

    # Leasing

    def take(self, lease: Request, owner: Owner, where: Where, now: float) -> bool:
        """Give ``lease`` a record, or else a place in the queue; False when that is full."""
        with self.lock:
            if self.busy:
                raise self.reentered()
            self.busy = True
            try:
                if not self.waiters:
                    if self.idle:
                        at = self.end if lease.prefer is None else self.find(lease.prefer)
                        # First what lets an exception in between be undone, and del last.
                        record = lease.record = self.idle[at]
                        lease.serial = record.serial = self.serial = self.serial + 1
                        record.since, record.where = now, where
                        self.out[record] = owner
                        del self.idle[at]
                        return True
                    if self.has_room(now):
                        self.lend(lease, self.make(), owner, where, now)
                        return True
                return self.enqueue(lease, Waiter(owner, where, now))
            finally:
                self.busy = False

    def find(self, session: object) -> int:
        """Where in ``idle`` a session is, or else where leases are taken from. Locked."""
        for at, record in enumerate(self.idle):
            if record.dbapi_connection is session:
                return at
        return self.end

    def lend(
        self, lease: Request | Waiter, record: Record, owner: Owner, where: Where, now: float
    ) -> None:
        """Give a record to a lease or a waiter. Locked."""
        self.out.pop(record, None)  # so that it becomes the youngest
        self.out[record] = owner
        record.since, record.where = now, where
        lease.serial = record.serial = self.serial = self.serial + 1
        lease.record = record  # The last: a waiter that is awake goes off with it at once.

    def enqueue(self, lease: Request, waiter: Waiter) -> bool:
        if len(self.waiters) >= self.limits.waiting:
            self.tally["refused"] += 1
            return False
        lease.waiter = waiter
        self.tally["waits"] += 1
        self.waiters.append(waiter)
        return True

    def has_room(self, now: float) -> bool:
        """Whether one more session may be opened. Locked.

        While the server is full one request at a time asks it again, at growing intervals.
        """
        if len(self.out) + len(self.idle) >= self.limits.total:
            return False
        if not self.full_tries:
            return True
        if now < self.full_until:
            return False
        self.full_until = now + self.retry_delay()
        return True

    def retry_delay(self) -> float:
        longest = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self.full_tries, 16))
        return longest * random.uniform(0.5, 1.0)

    def serve(self, now: float) -> None:
        """Serve waiters as long as there is something for them. Locked."""
        while self.waiters:
            if self.idle:
                self.hand(self.pop(), now)
            elif self.has_room(now):
                self.hand(self.make(), now)
            else:
                if self.full_tries:  # It may have to wake for the next attempt now.
                    self.waiters[0].wake()
                return

    def look_at(self) -> float:
        """When a waiter has to look again, though nobody wakes it."""
        if self.dying:
            return self.tidy_at
        if self.full_tries and len(self.out) + len(self.idle) < self.limits.total:
            return self.full_until
        return math.inf

    def hand(self, record: Record, now: float) -> None:
        """Give a record to the longest waiter. Locked."""
        waiter = self.waiters.popleft()
        try:
            self.lend(waiter, record, waiter.owner, waiter.where, now)
        finally:
            if waiter.record is None:  # A signal handler raised: the waiter must not suffer.
                self.lend(waiter, record, waiter.owner, waiter.where, now)
            waiter.wake()

    def withdraw(self, waiter: Waiter) -> bool:
        """Take a waiter out of the queue; False if it was served before that. Locked."""
        if waiter.record is not None:
            return False
        if waiter in self.waiters:
            self.waiters.remove(waiter)
        return True

    def swap(self, lease: Request, now: float) -> bool:
        """Exchange the lease's empty record for one with a session, if any is idle."""
        with self.section():
            empty = lease.record
            owner = None if empty is None else self.out[empty]
            if not self.idle or empty is None or owner is None:
                return False
            self.lend(lease, self.pop(), owner, empty.where, now)
            del self.out[empty]
            self.tally["unserved"] += 1
            self.serve(now)
            return True

    def back_off(self, lease: Request, waiter: Waiter, now: float) -> None:
        """The server is full: give the slot back, and queue for a session or another attempt."""
        with self.section():
            assert lease.record is not None
            record, lease.record, lease.waiter = lease.record, None, waiter
            self.out.pop(record, None)
            self.tally["unserved"] += 1
            self.full_tries += 1
            self.full_until = now + self.retry_delay()
            bisect.insort(self.waiters, waiter, key=lambda other: other.since)
            for other in self.waiters:  # so that whoever is the first then wakes up for it
                other.wake()
            self.serve(now)

    def connected(self, now: float, error: BaseException | None, *, full: bool = False) -> None:
        """Note the outcome of a connect; one that says nothing of a full server ends that state."""
        with self.section():
            self.tally["connects" if error is None else "connect_errors"] += 1
            if not full and self.full_tries:
                self.full_tries = 0
                self.serve(now)

    # Returning

    def put(self, record: Record, serial: int, now: float) -> str | None:
        """End a lease; the reason if the caller has to close the session, which stays out.

        Does nothing unless it is the record's present lease.
        """
        with self.lock:
            if self.busy:
                self.defer(record, serial, None)
                return None
            if record.serial != serial or not serial:
                return None
            self.busy = True
            try:
                if now >= record.expires:
                    reason = record.reason or "expired"
                elif record.generation != self.generation:
                    reason = "disposed"
                elif self.waiters:
                    self.hand(record, now)
                    return None
                elif len(self.idle) < self.limits.keep:
                    record.idle_since = now
                    self.idle.append(record)
                    record.serial = 0
                    del self.out[record]
                    return None
                else:
                    reason = "overflow"
                self.shut(record)
                return reason
            finally:
                self.busy = False

    def claim(self, record: Record, serial: int, reason: str) -> bool:
        """End a lease whose session the caller is going to close; False if it ended before."""
        with self.lock:
            if self.busy:
                self.defer(record, serial, reason)
                return False
            if record.serial != serial or not serial:
                return False
            self.shut(record)
            return True

    def shut(self, record: Record) -> None:
        """Mark a record as being closed. Locked."""
        record.serial = 0
        self.out[record] = None

    def defer(self, record: Record, serial: int, reason: str | None) -> None:
        self.deferred.append((record, serial, reason))
        self.untidy = True

    def free(self, record: Record, now: float) -> None:
        """A slot ends: its session is closed."""
        with self.section():
            self.out.pop(record, None)
            self.serve(now)

    def renew(self) -> None:
        """Have all sessions opened so far closed, the idle ones when somebody tidies up next."""
        with self.lock:
            self.generation += 1
            self.untidy = True

    def repair(self, record: Record, serial: int) -> bool:
        """Make sense of a record whose lease or return an exception interrupted.

        True if the caller has to close it.
        """
        with self.section():
            if record not in self.out or record.serial not in (0, serial):
                return False
            if record in self.idle:
                self.idle.remove(record)
            self.shut(record)
            return True

    # Looking after

    def collect(self, now: float) -> Found | None:
        """Claim what is to be closed, into ``closing``, and serve whom that helps.

        None when it interrupted a locked section of this thread, which will see to it afterwards.
        """
        with self.lock:
            if self.busy:
                self.untidy = True
                return None
            self.busy = True
            try:
                self.untidy = False
                leaked = self.find_leaks(now)
                reaped = self.reap(now)
                self.prune(now)
                self.serve(now)
                return Found(reaped, leaked)
            finally:
                self.busy = False

    def reap(self, now: float) -> list[tuple[Held, str]]:
        """Claim leases whose thread has ended or whose handle is gone. Locked."""
        self.dying = False
        reaped: list[tuple[Held, str]] = []
        for record, owner in list(self.out.items()):
            if owner is None or not (owner.ended or record.lost == record.serial):
                continue
            if owner.ended and not owner.gone():
                self.dying, self.tidy_at = True, now + LAST_BREATH
                continue
            reason = "thread ended" if owner.ended else "lost"
            reaped.append((holding(record, owner, now), reason))
            record.fairy_ref = None  # SQLAlchemy's finalizer then leaves it alone.
            self.shut(record)
            self.closing.append((record, reason))
        self.tally["reaped"] += len(reaped)
        return reaped

    def find_leaks(self, now: float) -> list[Held]:
        """The leases that have lasted for ``leak_after`` and were not reported yet. Locked."""
        leaks: list[Held] = []
        self.tidy_at = now + min(self.limits.max_idle, self.limits.leak_after)
        for record, owner in self.out.items():
            if owner is None or record.serial <= self.leaks_seen:
                continue
            if now - record.since < self.limits.leak_after:
                self.tidy_at = min(self.tidy_at, record.since + self.limits.leak_after)
                break
            self.leaks_seen = record.serial
            leaks.append(holding(record, owner, now))
        return leaks

    def prune(self, now: float) -> None:
        """Claim idle sessions that were disposed of, or not needed for ``max_idle``. Locked."""
        for record in [r for r in self.idle if r.generation != self.generation]:
            self.idle.remove(record)
            self.closing.append((record, "disposed"))
            self.out[record] = None
        while len(self.idle) > self.limits.min_idle:
            record = self.idle[0]
            due = record.idle_since + self.limits.max_idle
            if now < due:
                self.tidy_at = min(self.tidy_at, due)
                return
            self.out[record] = None
            self.closing.append((record, "idle"))
            self.idle.popleft()
        if self.idle:  # One that min_idle keeps may be superfluous soon.
            self.tidy_at = min(self.tidy_at, now + self.limits.max_idle / 10)

    def held(self, now: float) -> list[Held]:
        """All holders. Locked."""
        return [holding(r, o, now) for r, o in self.out.items() if o is not None]

    def count(self, what: str) -> None:
        with self.lock:
            self.tally[what] += 1

    def count_pinned(self, reason: str) -> None:
        with self.lock:
            self.pinned[reason] += 1

    def count_discard(self, reason: str) -> None:
        with self.lock:
            self.discards[reason] += 1

    def figures(self) -> dict[str, Any]:
        with self.lock:
            counted = {name: self.tally[name] for name in COUNTERS}
            return {
                "in_use": len(self.out),
                "idle": len(self.idle),
                "waiting": len(self.waiters),
                "leases": self.serial - self.tally["unserved"],
                "discards": MappingProxyType(dict(self.discards)),
                "pinned": MappingProxyType(dict(self.pinned)),
                **counted,
            }
