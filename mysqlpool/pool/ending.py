"""Ending: how leases end and sessions are closed. All of it is done outside of the pool's lock.

An exception at any point of that, also one that a signal handler raises, gives the slot back.
Where a slot becomes free, the log is told afterwards: a waiter is not to wait for its handlers.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import PoolResetState

from mysqlpool.events.log import log_event, told_afterwards

from . import caretaker, clock
from .lease import Lease
from .record import LEASED, Record
from .slots import Closing, Slots
from .threads import Threads
from .upkeep import Upkeep

__all__ = ["Ending"]

logger = logging.getLogger("mysqlpool.pool")

# What SQLAlchemy's log of a pool says of a session that is closed for a reason which QueuePool has,
# too. QueuePool finds it at the next checkout, and connects anew at once.
RECYCLED = {
    "expired": "Connection %r exceeded timeout; recycling",
    "pool invalidated": "Connection %r invalidated due to pool invalidation; recycling",
    "invalidated": "Connection %r invalidated due to local soft invalidation; recycling",
}


class Ending:
    """Ends the leases of one pool, whose name in the log is ``alias``.

    It is what a `Lease` and a `Record` know of their pool.
    """

    def __init__(
        self, pool: Pool, slots: Slots, threads: Threads, upkeep: Upkeep, alias: str
    ) -> None:
        self.pool = pool
        self._slots = slots
        self._threads = threads
        self._upkeep = upkeep
        self.alias = alias

    def opened(self, record: Record, now: float) -> None:
        """Note that a session was opened, and have it looked after also without traffic."""
        self._upkeep.opened(record, now)
        caretaker.watch(self)

    def next_look(self) -> float:
        """See `Upkeep.next_look`; for the caretaker."""
        return self._upkeep.next_look()

    def give_back(self, lease: Lease) -> None:
        """End a lease by putting its session back."""
        record = lease.record
        if record is None:
            return
        if lease.proxy is not None:
            lease.proxy.close()
        else:
            dispatch: Any = self.pool.dispatch
            if lease.echo and record.serial == lease.serial and record.state is LEASED:
                self.pool.logger.debug("Connection %r being returned to pool", lease.session)
            if dispatch.reset or dispatch.checkin:
                self._announce(record, lease.serial)
            self.put(record, lease.serial)
        lease.record = None

    def put(self, record: Record, serial: int) -> None:
        """Put a session back: to a waiter, to the idle ones, or closed where it is not fit."""
        try:
            now = clock.monotonic()
            if now >= self._upkeep.due:
                told_afterwards(self._put_due, record, serial, now)
            elif (closing := self._slots.put(record, serial, now)) is not None:
                self.carry_out(closing)
        except BaseException:
            self.rescue(record, serial)
            raise
        if self._slots.untidy or now >= self._upkeep.due:
            self.tidy(now)

    def _put_due(self, record: Record, serial: int, now: float) -> None:
        self._upkeep.ends(record, serial, now)
        closing = self._slots.put(record, serial, now)
        if closing is not None:
            self.carry_out(closing)

    def _announce(self, record: Record, serial: int) -> None:
        """Tell listeners of ``reset`` and ``checkin``, as SQLAlchemy does before a return."""
        session, dispatch = record.dbapi_connection, self.pool.dispatch
        try:
            if dispatch.reset:
                state = PoolResetState(
                    transaction_was_reset=True, terminate_only=False, asyncio_safe=True
                )
                dispatch.reset(session, record, state)
            dispatch.checkin(session, record)
        except BaseException:
            self.rescue(record, serial)
            raise

    def discard(self, lease: Lease, reason: str) -> None:
        """End a lease by closing its session."""
        record = lease.record
        if record is None:
            return
        if lease.proxy is not None:
            record.condemn(reason)
            told_afterwards(lease.proxy.invalidate)
        else:
            told_afterwards(self._discard, record, lease.serial, reason)
        lease.record = None

    def _discard(self, record: Record, serial: int, reason: str) -> None:
        try:
            if (now := clock.monotonic()) >= self._upkeep.due:
                self._upkeep.ends(record, serial, now)
            closing = self._slots.claim(record, serial, reason, now)
            if closing is None:
                return
            try:
                self.close_session(record, reason, invalidate=True)
                if self.pool.dispatch.checkin:
                    self.pool.dispatch.checkin(None, record)
            finally:
                self._slots.free(record, clock.monotonic())
        except BaseException:
            self.rescue(record, serial)
            raise

    def pin(self, lease: Lease, reason: str) -> None:
        """Note why a lease cannot be ended before the release."""
        if lease.record is not None:
            self._slots.pin(lease.record, lease.serial, reason)

    def share(self, lease: Lease) -> None:
        """Have a lease outlast its holder's thread."""
        if lease.record is not None:
            self._slots.share(lease.record, lease.serial)

    def unshare(self, lease: Lease, is_own: bool) -> None:
        """End that. From now on it is this thread's, if ``is_own``."""
        if lease.record is not None:
            holder = self._threads.present() if is_own else None
            self._slots.unshare(lease.record, lease.serial, holder)

    def note_rollback(self, lease: Lease) -> None:
        """A transaction was open as a lease was about to end, and was rolled back."""
        self._slots.count("rollbacks")

    def alarm(self) -> None:
        """A handle is gone whose lease had not ended."""
        self._slots.alarm()

    def rescue(self, record: Record, serial: int) -> None:
        """Close the session of a lease that was interrupted as it began or ended.

        It may be closed already in part, by what was interrupted: then somebody is made to look.
        """
        self._slots.alarm()
        closing = self._slots.claim(record, serial, "interrupted", clock.monotonic())
        if closing is not None:
            self.carry_out(closing)

    def tidy(self, now: float) -> None:
        """Do what finalizers asked for and what has come due.

        An error of a close listener is logged, because it does not concern the present caller. What
        an exception leaves undone is found again by the next look.
        """
        told_afterwards(self._tidy, now)

    def _tidy(self, now: float) -> None:
        try:
            found = self._upkeep.look(now)
            for record, serial, reason in found.returned:
                if reason is None:
                    self.put(record, serial)
                elif (closing := self._slots.claim(record, serial, reason, now)) is not None:
                    found.closings.append(closing)
            for closing in found.closings:
                self._carry_out_logged(closing)
        except BaseException:
            self._slots.interrupted()
            raise

    def _carry_out_logged(self, closing: Closing) -> None:
        try:
            self.carry_out(closing)
        except Exception:
            alias, reason = self.alias, closing.reason
            log_event(logger, logging.ERROR, "close_failed", alias, exc_info=True, reason=reason)

    def carry_out(self, closing: Closing) -> None:
        """Close a session as ordered, and free its slot whatever happens."""
        told_afterwards(self._carry_out, closing)

    def _carry_out(self, closing: Closing) -> None:
        try:
            if closing.record.dbapi_connection is not None:
                self.close_session(closing.record, closing.reason)
        finally:
            self._slots.free(closing.record, clock.monotonic())

    def close_session(self, record: Record, reason: str, *, invalidate: bool = False) -> None:
        """Close a record's session, also when a listener raises. The slot stays."""
        record.condemn(reason)
        try:
            if invalidate:
                record.invalidate()
            else:
                if reason in RECYCLED:
                    self.pool.logger.info(RECYCLED[reason], record.dbapi_connection)
                record.close()
                self.note_discard(reason)
        finally:
            session, record.dbapi_connection = record.dbapi_connection, None
            if session is not None:  # A listener raised before it was closed.
                self.note_discard(reason)
                self.pool._close_connection(session)

    def note_discard(self, reason: str) -> None:
        """Count and log a session that was closed; a `Record` calls it when it is invalidated."""
        self._slots.count(reason, "discards")
        log_event(logger, logging.DEBUG, "session_discarded", self.alias, reason=reason)
