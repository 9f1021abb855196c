"""Upkeep: what is due, and what is found when somebody looks after the slots.

Leases whose thread has ended or whose handle is gone are taken back, those held for long are told
of, sessions that were disposed of or not needed for long are to be closed, and what an interruption
left behind is put in order. Whoever leases, waits or returns when something has come due also
looks, and where nobody does `mysqlpool.pool.caretaker` looks. `mysqlpool.pool.ending` does what is
found.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mysqlpool.events.log import log_event

from .locks import under
from .record import CLOSING, LEASED, Record
from .report import Held, describe_holders, place
from .slots import Closing, Returned, Slots

__all__ = ["Upkeep"]

logger = logging.getLogger("mysqlpool.pool")

# Seconds between two looks at a thread that is just ending.
LAST_BREATH = 0.005

AT_ONCE = -math.inf


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be done: leases whose end was put off, and sessions to close."""

    returned: list[Returned] = field(default_factory=list)
    closings: list[Closing] = field(default_factory=list)


class Upkeep:
    """Looks after the slots of one pool, whose name in the log is ``alias``.

    The lock of the slots guards ``due``. Before that time nothing is old enough to look for it,
    whatever is leased and returned meanwhile; a connect may make it earlier. ``is_needed()``, if
    there is one, tells whether anybody may lease here again. If not, no idle session is kept.
    """

    def __init__(self, slots: Slots, alias: str) -> None:
        self.due = AT_ONCE
        self.is_needed: Callable[[], bool] | None = None
        self._coming = math.inf  # what ``due`` will be, while somebody looks
        self._slots = slots
        self._alias = alias

    def look_at(self) -> float:
        """When a waiter has to look, though nobody wakes it."""
        return self.due

    def next_look(self) -> float:
        """When to look though nobody leases or returns; inf until the next connect. No lock."""
        slots = self._slots
        return self.due if slots.idle or slots.out else math.inf

    def opened(self, record: Record, now: float) -> None:
        """Note that a session was opened, which has its time to live."""
        under(self._slots.lock, self._opened, record, now)

    def ends(self, record: Record, serial: int, now: float) -> None:
        """Report a lease that ends, if it is a leak that nobody has seen. For when it is due."""
        held = under(self._slots.lock, self._leak, record, serial, now)
        if held is not None:
            self._warn_of_leak(held)

    def look(self, now: float) -> Found:
        """Find what there is to do, log it, and give waiters the slots that are free."""
        found, reaped, leaked = Found(), list[tuple[Held, str]](), list[Held]()
        needed = self.is_needed is None or self.is_needed()
        under(self._slots.lock, self._look, now, needed, found, reaped, leaked)
        for held, reason in reaped:
            self._warn("lease_reaped", held, reason=reason)
        for held in leaked:
            self._warn_of_leak(held)
        return found

    def _warn_of_leak(self, held: Held) -> None:
        self._warn("lease_leaked", held, location=describe_holders([held])[0].location)

    def _warn(self, event: str, held: Held, **fields: Any) -> None:
        if held.pinned:
            fields["pinned"] = held.pinned
        log_event(
            logger,
            logging.WARNING,
            event,
            self._alias,
            holder=held.thread.thread.name,
            held_seconds=round(held.seconds, 3),
            leased_at=place(held.where),
            **fields,
        )

    # All below: the caller holds the lock.

    def _opened(self, record: Record, now: float) -> None:
        limits = self._slots.limits
        self.due = min(
            self.due, record.expires, record.since + limits.leak_after, now + self._idle_interval()
        )

    def _idle_interval(self) -> float:
        """In how many seconds any session may have become superfluous, whatever happens.

        One that ``min_idle`` keeps now, and that was idle for long, is superfluous as soon as
        another one comes back.
        """
        limits = self._slots.limits
        if len(self._slots.idle) + len(self._slots.out) <= limits.min_idle:
            return math.inf if self.is_needed is None else limits.max_idle
        return max(LAST_BREATH, limits.max_idle / 10 if limits.min_idle else limits.max_idle)

    def _leak(self, record: Record, serial: int, now: float) -> Held | None:
        if record.serial != serial or record.state is not LEASED or record.leaked == serial:
            return None
        if now < record.since + self._slots.limits.leak_after:
            return None
        held = self._slots.held(record, now)
        record.leaked = serial
        return held

    def _look(
        self,
        now: float,
        needed: bool,
        found: Found,
        reaped: list[tuple[Held, str]],
        leaked: list[Held],
    ) -> None:
        slots = self._slots
        if slots.busy:  # It interrupts a section of this thread, which will see to it.
            slots.untidy = True
            return
        slots.busy = True
        try:
            slots.untidy = False
            slots.straighten()
            self._coming = now + max(LAST_BREATH, slots.limits.leak_after)
            found.returned.extend(slots.returning)
            slots.returning.clear()
            self._find_leaks(leaked, now)
            self._reap(found, reaped, now)
            self._replace(found, now)
            self._prune(found, now, needed)
            self.due = self._coming
            slots.serve(now)
        except BaseException:
            slots.interrupted()
            raise
        finally:
            slots.busy = False

    def _find_leaks(self, leaked: list[Held], now: float) -> None:
        """Find the leases that have lasted for ``leak_after`` and were not reported yet."""
        for record in self._slots.out:
            if (held := self._leak(record, record.serial, now)) is not None:
                leaked.append(held)
            elif record.state is LEASED and record.leaked != record.serial:
                self._comes(record.since + self._slots.limits.leak_after)

    def _reap(self, found: Found, reaped: list[tuple[Held, str]], now: float) -> None:
        """Take back leases whose thread has ended or whose handle is gone."""
        slots = self._slots
        ending = {record for record, _, _ in found.returned}
        awaited = slots.awaited()
        for record in [record for record in slots.out if record not in ending]:
            if record.state is CLOSING:
                if record.is_lost():  # Whoever was about to close it was interrupted.
                    found.closings.append(slots.condemn(record, "interrupted"))
                continue
            ended = record.holder.ended and record.is_bound()
            if ended and record.holder.leaving:  # It may use the session again.
                ended, awaited = awaited > 0, awaited - 1
            if ended and not record.holder.is_gone():
                self._comes(now + LAST_BREATH)
            elif ended or record.is_lost():
                reason = "thread ended" if ended else "lost"
                reaped.append((slots.held(record, now), reason))
                slots.tally.events["reaped"] += 1
                slots.measure(record, now)
                record.fairy_ref = None  # SQLAlchemy's finalizer then leaves it alone.
                found.closings.append(slots.condemn(record, reason))

    def _replace(self, found: Found, now: float) -> None:
        """Find idle sessions that were disposed of or are too old. Leased ones may become idle."""
        slots = self._slots
        for record in tuple(slots.idle):
            reason = slots.unfit(record, now)
            if reason is not None:
                found.closings.append(slots.condemn(record, reason))
                slots.idle.remove(record)
        for record in (*slots.idle, *slots.out):
            if now < record.expires:
                self._comes(record.expires)

    def _prune(self, found: Found, now: float, needed: bool) -> None:
        """Find idle sessions that were not needed for ``max_idle``, or that nobody can need."""
        slots, limits = self._slots, self._slots.limits
        while len(slots.idle) > (limits.min_idle if needed else 0):
            record = slots.idle[0]
            due = record.idle_since + limits.max_idle
            if needed and now < due:
                self._comes(due)
                break
            found.closings.append(slots.condemn(record, "idle"))
            slots.idle.popleft()
        self._comes(now + self._idle_interval())

    def _comes(self, due: float) -> None:
        self._coming = min(self._coming, due)
