"""Slots: what is idle, what is out and who waits; the pool's state, under its one lock.

A slot is a `Record`, which has a session or not, and is in one of three places:

    (nowhere) --room below the limit--> out     its holder connects
    idle      --lease-----------------> out
    out       --return, nobody waits--> idle
    out       --return, a waiter------> out     of the longest waiter: the direct hand-off
    out       --offer, nobody waits---> out     offered: of whoever is the first to pop it
    offered   --anybody but the owner-> idle
    out       --discard, closed-------> (nowhere), and the longest waiter has room

So ``len(idle) + len(out)`` is the number of sessions, counted from before they are connected until
after they are closed, and there is no other count that could drift from it. A record that is being
closed is in ``out`` with no owner and the serial 0: nobody else will touch it.

Lock rule. ``lock`` guards every attribute here, and the ``serial`` of records. Nothing blocks while
it is held: `mysqlpool.pool` and `mysqlpool.keeper` connect, check and close sessions outside of it.
It is held as `mysqlpool.locks` tells, and not by ``with``. It is reentrant, because the garbage
collector or a signal handler may run code in the midst of a locked section that ends a lease.
``busy`` tells, and what would change anything is put off until the section is over (``chores``,
``untidy``). Only a new lease cannot be put off, and is refused.

``offered`` changes without the lock, by single dictionary operations, which are atomic: whoever
pops a lease has its record. A holder that offers looks afterwards whether somebody waits, and who
begins to wait looks afterwards whether something was offered, so that one of them sees the other.
While somebody waits, nothing stays offered.

Finalizers (`alarm`) take no lock at all: two pools' finalizers could otherwise wait for each other,
and in a forked child the lock may belong to a thread that does not exist. They set ``untidy`` and
wake the longest waiter, who looks after it in its own thread. Whoever has held the lock looks at
``untidy`` afterwards, so that none is overlooked.
"""

from __future__ import annotations

import bisect
import functools
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeVar

from .errors import PoolError
from .fullness import Fullness
from .holders import Held, Owner, Where
from .locks import under
from .records import Lease, Record, Request
from .tally import Tally
from .waiting import Waiter

__all__ = ["Chore", "Limits", "Slots", "holding", "locked"]

P = ParamSpec("P")
T = TypeVar("T")

# What is put off until the lock is free: to close the session of a claimed record (no serial), to
# give a lease back (no reason), or to discard it.
Chore = tuple[Record, int | None, str | None]

IDLE_SINCE = attrgetter("idle_since")


@dataclass(frozen=True, slots=True)
class Limits:
    """The pool's numbers; ``inf`` where there is no bound. Times are seconds."""

    keep: float
    total: float
    waiting: float
    max_idle: float
    min_idle: int
    leak_after: float


def holding(record: Record, owner: Owner, now: float) -> Held:
    serial, reason = record.pinned
    pinned = reason if serial == record.serial else None
    return owner, now - record.since, record.where, pinned


def locked(method: Callable[Concatenate[Slots, P], T]) -> Callable[Concatenate[Slots, P], T]:
    """Hold the lock while ``method`` runs, and tell by ``busy``. The hottest two spell this out."""

    def alone(self: Slots, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            self.lock.acquire()
            if self.busy:
                raise self.reentered()
            self.busy = True
            try:
                return method(self, *args, **kwargs)
            finally:
                self.busy = False
        finally:
            try:  # noqa: SIM105 - see mysqlpool.locks
                self.lock.release()
            except RuntimeError:
                pass

    return functools.update_wrapper(alone, method)


class Slots:
    """The state of one pool. "Locked": the caller holds the lock and has set ``busy``."""

    def __init__(self, limits: Limits, lifo: bool, make: Callable[[], Record]) -> None:
        self.limits = limits
        self.make = make
        self.lock = threading.RLock()
        self.busy = False
        self.idle: deque[Record] = deque()  # the longest idle first
        self.out: dict[Record, Owner | None] = {}  # the oldest lease first
        self.offered: dict[Lease, Record] = {}  # of leases that may be resumed; all are in ``out``
        self.latest: Record | None = None  # the one that came back last, if that was offered
        self.taken: list[Record | None] = []  # out of ``offered``, and not yet in ``idle``
        self.waiters: deque[Waiter] = deque()  # the longest waiting first
        self.lifo = lifo
        self.end = -1 if lifo else 0  # of ``idle``, where leases are taken from
        self.overflows = limits.total > limits.keep
        self.generation = 0  # grows when all sessions opened so far are to go
        self.serial = 0  # the number of leases granted, also of those that came to nothing
        self.resumed = 0  # how often ended leases were resumed
        self.tally = Tally()
        self.fullness = Fullness()
        self.chores: deque[Chore] = deque()  # for whoever tidies up
        self.untidy = False
        self.tidy_at = -math.inf  # when age alone makes something untidy, at the earliest
        self.dying = False  # some holder is just ending

    def alarm(self) -> None:
        """Have somebody tidy up. For finalizers: takes no lock, and may run at any moment."""
        self.untidy = True
        try:
            waiter = self.waiters[0]
        except IndexError:
            return  # The next one who leases or returns will do it.
        waiter.wake()

    @staticmethod
    def reentered() -> PoolError:
        return PoolError(
            "a signal handler or a finalizer asked for a lease while it interrupted the pool itself"
        )

    # Leasing

    def take(self, lease: Request, owner: Owner, where: Where, now: float) -> bool:
        """Give ``lease`` a record, or else a place in the queue; False when that is full."""
        try:
            self.lock.acquire()
            if self.busy:
                raise self.reentered()
            self.busy = True
            try:
                if not self.waiters:
                    # To prefer no session is to take them in their order, the offered ones, too.
                    if self.offered and (lease.prefer is None or not self.idle):
                        self.fold()
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
        finally:
            try:  # noqa: SIM105 - see mysqlpool.locks
                self.lock.release()
            except RuntimeError:
                pass

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
            self.tally.events["refused"] += 1
            return False
        lease.waiter = waiter
        self.tally.events["waits"] += 1
        self.waiters.append(waiter)
        if self.offered:
            self.serve(waiter.since)
        return True

    def has_room(self, now: float) -> bool:
        """Whether one more session may be opened, by the caller and now. Locked."""
        within = len(self.out) + len(self.idle) < self.limits.total
        return within and self.fullness.may_ask(now)

    def serve(self, now: float) -> None:
        """Serve waiters as long as there is something for them. Locked."""
        while self.waiters:
            if self.offered:
                self.fold()
            if self.idle:
                record = self.idle[self.end]
                try:
                    self.hand(record, now)
                finally:
                    if record in self.out:
                        self.idle.remove(record)
            elif self.has_room(now):
                self.hand(self.make(), now)
            else:
                if self.fullness.refusals:  # It may have to wake for the next attempt now.
                    self.waiters[0].wake()
                return

    def look_at(self) -> float:
        """When a waiter has to look again, though nobody wakes it."""
        if self.dying:
            return self.tidy_at
        if self.fullness.refusals and len(self.out) + len(self.idle) < self.limits.total:
            return self.fullness.until
        return math.inf

    def hand(self, record: Record, now: float) -> None:
        """Give a record to the longest waiter. Locked."""
        waiter = self.waiters[0]
        try:
            self.lend(waiter, record, waiter.owner, waiter.where, now)
        finally:
            if waiter.record is None:  # A signal handler raised: the waiter must not suffer.
                self.lend(waiter, record, waiter.owner, waiter.where, now)
            del self.waiters[0]
            try:  # noqa: SIM105 - no call may come before the release: a signal handler could raise
                waiter.gate.release()
            except RuntimeError:
                pass  # It was woken already.

    @locked
    def withdraw(self, waiter: Waiter) -> bool:
        """Take a waiter out of the queue; False if it was served before that."""
        if waiter.record is not None:
            return False
        if waiter in self.waiters:
            self.waiters.remove(waiter)
        return True

    @locked
    def swap(self, lease: Request, now: float) -> bool:
        """Exchange the lease's empty record for one with a session, if any is idle."""
        empty = lease.record
        owner = None if empty is None else self.out[empty]
        if not self.idle or empty is None or owner is None:
            return False
        record = self.idle[self.end]
        try:
            self.lend(lease, record, owner, empty.where, now)
        finally:
            if record in self.out:
                del self.out[empty]
                self.idle.remove(record)
        self.tally.events["unserved"] += 1
        self.serve(now)
        return True

    @locked
    def back_off(self, lease: Request, waiter: Waiter, now: float) -> None:
        """The server is full: give the slot back, and queue for a session or another attempt."""
        assert lease.record is not None
        record, lease.record, lease.waiter = lease.record, None, waiter
        self.out.pop(record, None)
        self.tally.events["unserved"] += 1
        self.fullness.refused(now)
        bisect.insort(self.waiters, waiter, key=lambda other: other.since)
        for other in self.waiters:  # so that whoever is the first then wakes up for it
            other.wake()
        self.serve(now)

    @locked
    def connected(self, now: float, error: BaseException | None, *, full: bool = False) -> None:
        """Note the outcome of a connect; one that says nothing of a full server ends that state."""
        self.tally.events["connects" if error is None else "connect_errors"] += 1
        if not full and self.fullness.ended():
            self.serve(now)

    # Returning

    def put(self, record: Record, serial: int, now: float) -> str | None:
        """End a lease; the reason if the caller has to close the session, which stays out.

        Does nothing unless it is the record's present lease.
        """
        try:
            self.lock.acquire()
            if self.busy:
                self.defer(record, serial, None)
                return None
            if record.serial != serial or not serial:
                return None
            self.busy = True
            try:
                self.resumed, record.resumed = self.resumed + record.resumed, 0
                if now >= record.expires:
                    reason = record.reason or "expired"
                elif record.generation != self.generation:
                    reason = "disposed"
                elif self.waiters:
                    self.hand(record, now)
                    return None
                elif len(self.idle) + len(self.offered) < self.limits.keep:
                    record.idle_since = now
                    self.latest = None
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
        finally:
            try:  # noqa: SIM105 - see mysqlpool.locks
                self.lock.release()
            except RuntimeError:
                pass

    def claim(self, record: Record, serial: int, reason: str) -> bool:
        """End a lease whose session the caller is going to close; False if it ended before."""
        try:
            self.lock.acquire()
            if self.busy:
                self.defer(record, serial, reason)
                return False
            if record.serial != serial or not serial:
                return False
            self.shut(record)
            return True
        finally:
            try:  # noqa: SIM105 - see mysqlpool.locks
                self.lock.release()
            except RuntimeError:
                pass

    def shut(self, record: Record) -> None:
        """Mark a record as being closed. Locked."""
        record.serial = 0
        self.resumed, record.resumed = self.resumed + record.resumed, 0
        self.out[record] = None

    def wants(self, record: Record, now: float) -> bool:
        """Whether a record that was offered must be given back instead. Needs no lock."""
        return bool(
            self.waiters
            or self.untidy
            or now >= self.tidy_at
            or now >= record.expires
            or record.generation != self.generation
            or (self.overflows and len(self.out) + len(self.idle) > self.limits.keep)
        )

    def fold(self) -> None:
        """Let what was offered be idle like the rest. Locked."""
        # One step as far as signal handlers are concerned, so that what was popped is not lost.
        self.taken += [*map(self.offered.pop, tuple(self.offered), repeat(None))]
        try:
            while self.taken:
                record = self.taken[-1]
                if record is not None:  # It was not resumed meanwhile.
                    self.settle(record)
                self.taken.pop()
        except BaseException:
            self.untidy = True
            raise

    def settle(self, record: Record) -> None:
        """Put a record that was offered where it belongs. Locked."""
        self.resumed, record.resumed = self.resumed + record.resumed, 0
        record.serial = 0
        if len(self.idle) >= self.limits.keep:
            self.out[record] = None
            self.chores.append((record, None, "overflow"))
            self.untidy = True
        elif record in self.out:
            bisect.insort(self.idle, record, key=IDLE_SINCE)
            del self.out[record]

    def defer(self, record: Record, serial: int, reason: str | None) -> None:
        self.chores.append((record, serial, reason))
        self.untidy = True

    def put_off(self, chores: Iterable[Chore]) -> None:
        """Leave chores to whoever tidies up next. Locked."""
        self.chores.extend(chores)
        self.untidy = True

    @locked
    def free(self, record: Record, now: float) -> None:
        """A slot ends: its session is closed."""
        self.out.pop(record, None)
        self.serve(now)

    def renew(self) -> None:
        """Have all sessions opened so far closed, the idle ones when somebody tidies up next."""
        under(self.lock, self._renew)

    def _renew(self) -> None:
        self.generation += 1
        self.untidy = True

    @locked
    def repair(self, record: Record, serial: int) -> bool:
        """Make sense of a record whose lease or return an exception interrupted.

        True if the caller has to close it.
        """
        if record not in self.out or record.serial not in (0, serial):
            return False
        if record in self.idle:
            self.idle.remove(record)
        self.shut(record)
        return True

    # Telling

    @locked
    def situation(self, now: float) -> tuple[list[Held], list[Owner], int]:
        """All holders, all waiters, and the number of sessions in use."""
        offered = set(self.offered.values())
        held = [
            holding(record, owner, now)
            for record, owner in self.out.items()
            if owner is not None and record not in offered
        ]
        return held, [waiter.owner for waiter in self.waiters], self.in_use

    @property
    def in_use(self) -> int:
        return len(self.out) - len(self.offered)

    @property
    def at_rest(self) -> int:
        return len(self.idle) + len(self.offered)

    def count(self, what: str) -> None:
        under(self.lock, self._add, self.tally.events, what)

    def count_pinned(self, reason: str) -> None:
        under(self.lock, self._add, self.tally.pinned, reason)

    def count_discard(self, reason: str) -> None:
        under(self.lock, self._add, self.tally.discards, reason)

    @staticmethod
    def _add(counter: Counter[str], name: str) -> None:
        counter[name] += 1

    def figures(self) -> dict[str, Any]:
        return under(self.lock, self._figures)

    def _figures(self) -> dict[str, Any]:
        resumed = self.resumed + sum(record.resumed for record in self.out)
        return {
            "in_use": self.in_use,
            "idle": self.at_rest,
            "waiting": len(self.waiters),
            "leases": self.serial + resumed - self.tally.events["unserved"],
            **self.tally.figures(),
        }
