"""Upkeep: what is due, and what is found when somebody looks after the slots.

Leases whose thread has ended or whose handle is gone are taken back, those held for long are told
of, sessions that were disposed of or not needed for long are to be closed, and what an interruption
left behind is put in order. Whoever leases, waits or returns when something has come due also
looks: there is no background thread. `mysqlpool.pool.ending` does what is found.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Any

from mysqlpool.events.log import log_event

from .locks import under
from .record import CLOSING, LEASED
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

    The lock of the slots guards ``due``, the earliest time at which age alone is a reason to look,
    and ``dying``, whether a holder's thread is just ending.
    """

    def __init__(self, slots: Slots, alias: str) -> None:
        self.due = AT_ONCE
        self.dying = False
        self._slots = slots
        self._alias = alias

    def look_at(self) -> float:
        """When a waiter has to look, though nobody wakes it."""
        return self.due if self.dying else math.inf

    def look(self, now: float) -> Found:
        """Find what there is to do, log it, and give waiters the slots that are free."""
        found, reaped, leaked = Found(), list[tuple[Held, str]](), list[Held]()
        under(self._slots.lock, self._look, now, found, reaped, leaked)
        for held, reason in reaped:
            self._warn("lease_reaped", held, reason=reason)
        for held in leaked:
            self._warn("lease_leaked", held, location=describe_holders([held])[0].location)
        return found

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

    def _look(
        self, now: float, found: Found, reaped: list[tuple[Held, str]], leaked: list[Held]
    ) -> None:
        slots = self._slots
        if slots.busy:  # It interrupts a section of this thread, which will see to it.
            slots.untidy = True
            return
        slots.busy = True
        try:
            slots.untidy = False
            slots.straighten()
            self.due = now + min(slots.limits.max_idle, slots.limits.leak_after)
            found.returned.extend(slots.returning)
            slots.returning.clear()
            self._find_leaks(leaked, now)
            self._reap(found, reaped, now)
            self._prune(found, now)
            slots.serve(now)
        except BaseException:
            slots.interrupted()
            raise
        finally:
            slots.busy = False

    def _find_leaks(self, leaked: list[Held], now: float) -> None:
        """Find the leases that have lasted for ``leak_after`` and were not reported yet."""
        for record in self._slots.out:
            if record.state is not LEASED or record.leaked == record.serial:
                continue
            due = record.since + self._slots.limits.leak_after
            if now < due:
                self.due = min(self.due, due)
            else:
                record.leaked = record.serial
                leaked.append(self._slots.held(record, now))

    def _reap(self, found: Found, reaped: list[tuple[Held, str]], now: float) -> None:
        """Take back leases whose thread has ended or whose handle is gone."""
        slots = self._slots
        self.dying = False
        ending = {record for record, _, _ in found.returned}
        for record in [record for record in slots.out if record not in ending]:
            if record.state is CLOSING:
                if record.is_lost():  # Whoever was about to close it was interrupted.
                    found.closings.append(slots.condemn(record, "interrupted"))
                continue
            ended = record.holder.ended
            if ended and not record.holder.is_gone():
                self.dying, self.due = True, now + LAST_BREATH
            elif ended or record.is_lost():
                reason = "thread ended" if ended else "lost"
                reaped.append((slots.held(record, now), reason))
                slots.tally.events["reaped"] += 1
                record.fairy_ref = None  # SQLAlchemy's finalizer then leaves it alone.
                found.closings.append(slots.condemn(record, reason))

    def _prune(self, found: Found, now: float) -> None:
        """Find idle sessions that were disposed of, or not needed for ``max_idle``."""
        slots = self._slots
        for record in [r for r in slots.idle if r.generation != slots.generation]:
            found.closings.append(slots.condemn(record, "disposed"))
            slots.idle.remove(record)
        while len(slots.idle) > slots.limits.min_idle:
            record = slots.idle[0]
            due = record.idle_since + slots.limits.max_idle
            if now < due:
                self.due = min(self.due, due)
                return
            found.closings.append(slots.condemn(record, "idle"))
            slots.idle.popleft()
        if slots.idle:  # One that min_idle keeps may be superfluous soon.
            self.due = min(self.due, now + slots.limits.max_idle / 10)
