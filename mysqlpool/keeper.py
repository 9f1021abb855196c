"""Keeper: the part of the pool that opens sessions, takes them back, closes them and tidies up.

An exception at any point of that, also one that a signal handler raises, gives the slot back.
"""

from __future__ import annotations

import logging
import math
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.pool import Pool, PoolProxiedConnection
from sqlalchemy.pool.base import PoolResetState

from . import clock
from .holders import Held, describe_holders, place
from .locks import under
from .logs import log_event
from .records import Record
from .slots import Chore, Slots
from .upkeep import look_after

__all__ = ["Keeper", "classify_connect_error"]

logger = logging.getLogger(__name__)

# ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
# https://mariadb.com/kb/en/mariadb-error-code-reference/
FULL = frozenset({1040, 1203, 1226})

# recycle is spread over its last 5 %, so that sessions opened together do not all end together.
JITTER = 0.05


def classify_connect_error(error: BaseException) -> str | None:
    """``"full"`` when the server or the account has all the sessions it may have, else None."""
    return "full" if error.args and error.args[0] in FULL else None


class Keeper(Pool):
    """A SQLAlchemy pool whose records are in `Slots`. It grants no leases: its subclass does."""

    slots: Slots
    _alias: str
    _lifetime: float
    _classify: Callable[[BaseException], str | None]

    # Opening and closing

    def _should_wrap_creator(self, creator: Any) -> Any:
        return partial(self._open, super()._should_wrap_creator(creator))

    def _open(self, make: Callable[[Record], Any], record: Record) -> Any:
        """Open a session. SQLAlchemy calls it for a record; all of this pool's begin here."""
        record.generation, record.reason = self.slots.generation, None
        try:
            session = make(record)
        except BaseException as error:
            self.slots.connected(clock.monotonic(), error, full=self._classify(error) == "full")
            raise
        now = clock.monotonic()
        record.expires = now + self._lifetime * random.uniform(1 - JITTER, 1)
        self.slots.connected(now, None)
        return session

    def close_session(self, record: Record, reason: str, *, invalidate: bool = False) -> None:
        """Close a record's session, whatever listeners do; the slot stays."""
        record.reason = reason
        try:
            if invalidate:
                record.invalidate()
            else:
                record.close()
                self.note_discard(reason)
        finally:
            session, record.dbapi_connection = record.dbapi_connection, None
            if session is not None:  # A listener raised before it was closed.
                self.note_discard(reason)
                self._close_connection(session)

    def note_discard(self, reason: str) -> None:
        """Count and log a session that was closed; a `Record` calls it when it is invalidated."""
        self.slots.count_discard(reason)
        log_event(logger, logging.DEBUG, "session_discarded", self._alias, reason=reason)

    def _retire(self, record: Record, reason: str) -> None:
        """Close the session of a claimed record, and free its slot whatever happens."""
        try:
            if record.dbapi_connection is not None:
                self.close_session(record, reason)
        finally:
            self.slots.free(record, clock.monotonic())

    # Returning

    def give_back(self, record: Record, serial: int) -> None:
        """End a lease by putting its session back. What `Lease.give_back` and SQLAlchemy call."""
        try:
            now = clock.monotonic()
            reason = self.slots.put(record, serial, now)
            if reason is not None:
                self._retire(record, reason)
            if self.slots.untidy or now >= self.slots.tidy_at:
                self.tidy(now)
        except BaseException:
            self.rescue(record, serial)
            raise

    def announce_return(self, record: Record, serial: int) -> None:
        """Tell listeners of ``reset`` and ``checkin``, as SQLAlchemy does before a return."""
        session = record.dbapi_connection
        try:
            if self.dispatch.reset:
                state = PoolResetState(
                    transaction_was_reset=True, terminate_only=False, asyncio_safe=True
                )
                self.dispatch.reset(session, record, state)
            self.dispatch.checkin(session, record)
        except BaseException:
            self.rescue(record, serial)
            raise

    def discard(self, record: Record, serial: int, reason: str) -> None:
        """End a lease by closing its session. What `Lease.discard` calls."""
        try:
            if self.slots.claim(record, serial, reason):
                self._discard_claimed(record, reason)
        except BaseException:
            self.rescue(record, serial)
            raise

    def _discard_claimed(self, record: Record, reason: str) -> None:
        try:
            self.close_session(record, reason, invalidate=True)
            if self.dispatch.checkin:
                self.dispatch.checkin(None, record)
        finally:
            self.slots.free(record, clock.monotonic())

    def rescue(self, record: Record, serial: int) -> None:
        """Close a session whose lease or return was interrupted, unless it has a holder again."""
        if serial and self.slots.repair(record, serial):
            self._retire(record, "interrupted")

    def _do_return_conn(self, record: Record) -> None:  # type: ignore[override]
        if record.dbapi_connection is None:  # Invalidated, or detached and not the pool's any more.
            record.expires = -math.inf
        self.give_back(record, record.serial)

    def _invalidate(
        self,
        connection: PoolProxiedConnection,
        exception: BaseException | None = None,
        _checkin: bool = True,
    ) -> None:
        """Have all sessions replaced that were opened in this one's generation: SQLAlchemy's call.

        SQLAlchemy's own compares wall-clock times.
        """
        record = getattr(connection, "_connection_record", None)
        if record is None or record.generation == self.slots.generation:
            self.slots.renew()
        if _checkin and getattr(connection, "is_valid", False):
            connection.invalidate(exception)

    # Looking after

    def tidy(self, now: float) -> None:
        """Do what finalizers asked for and what has come due, and serve whom that helps.

        An error of a close listener here is not the present caller's: it is logged.
        """
        slots = self.slots
        found = look_after(slots, now)
        if found is None:
            return
        try:
            for held, reason in found.reaped:
                self._warn("lease_reaped", held, reason=reason)
            for held in found.leaked:
                self._warn("lease_leaked", held, location=describe_holders([held])[0].location)
        finally:
            self._do_chores()

    def _do_chores(self) -> None:
        """Do what was put off. What an exception keeps from being done is left for the next time.

        Each of these is harmless when it is done again. Another thread finds other chores.
        """
        slots = self.slots
        chores: deque[Chore] = deque()
        try:
            try:
                slots.lock.acquire()
                # There is no call in this, so no signal handler can come between the two.
                chores, slots.chores = slots.chores, chores
            finally:
                try:  # noqa: SIM105 - see mysqlpool.locks
                    slots.lock.release()
                except RuntimeError:
                    pass
            while chores:
                self._do(*chores[0])
                chores.popleft()
        finally:
            if chores:
                under(slots.lock, slots.put_off, chores)

    def _do(self, record: Record, serial: int | None, reason: str | None) -> None:
        if serial is None:
            self._retire_logged(record, reason or "")
        elif reason is None:
            self.give_back(record, serial)
        else:
            self.discard(record, serial, reason)

    def _retire_logged(self, record: Record, reason: str) -> None:
        try:
            self._retire(record, reason)
        except Exception:
            # Once more, as it may be what was interrupted; it is harmless.
            self.slots.free(record, clock.monotonic())
            log_event(
                logger, logging.ERROR, "close_failed", self._alias, exc_info=True, reason=reason
            )

    def _warn(self, event: str, held: Held, **fields: Any) -> None:
        owner, seconds, where, pinned = held
        if pinned:
            fields["pinned"] = pinned
        log_event(
            logger,
            logging.WARNING,
            event,
            self._alias,
            holder=owner.thread.name,
            held_seconds=round(seconds, 3),
            leased_at=place(where),
            **fields,
        )

    def dispose(self) -> None:
        """Close idle sessions now, and leased ones when they come back; the pool stays usable.

        All of them count until they are closed, so the limit holds meanwhile.
        """
        self.slots.renew()
        self.tidy(clock.monotonic())
        self.logger.info("Pool disposed. %s", self.status())
