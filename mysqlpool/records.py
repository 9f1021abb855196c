"""Record and Lease: a slot of the pool, and a holder's handle on it.

Everything that leans on SQLAlchemy's private `_ConnectionRecord` is here and in the overridden
methods of `mysqlpool.keeper` and `mysqlpool.pool`; it is the same in 2.0.0 and 2.1.
"""

from __future__ import annotations

import math
from threading import get_ident
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.pool.base import _ConnectionRecord

from . import clock

if TYPE_CHECKING:
    from .holders import Owner, Where
    from .pool import FairQueuePool
    from .waiting import Waiter

__all__ = ["Lease", "Record", "Request"]


class Record(_ConnectionRecord):
    """A slot: with a session, or (while its holder has yet to connect) without.

    The pool's lock guards all fields but ``lost`` and ``reason``, and those that say when and how
    often a lease was resumed, which are its holder's. Times are monotonic seconds.
    """

    __slots__ = (
        "expires",  # when its session is too old; -inf for one that was invalidated
        "generation",  # the pool's when its session was opened
        "idle_since",
        "leaked",  # when the lease began that was reported as a leak
        "lost",  # the serial of a lease whose handle was garbage-collected
        "pinned",  # the serial of a lease that had to stay with its holder, and why
        "pool",
        "reason",  # why it was invalidated
        "resumed",  # how often its present lease was
        "serial",  # of its present lease; 0 when it has none
        "since",  # when that lease began
        "where",  # and where in the application
    )

    where: Where

    def __init__(self, pool: FairQueuePool) -> None:
        super().__init__(pool, connect=False)
        self.pool = pool
        self.generation = -1
        self.serial = self.lost = self.resumed = 0
        self.expires = -math.inf
        self.since = self.idle_since = 0.0
        self.leaked = -math.inf
        self.reason: str | None = None
        self.pinned: tuple[int, str | None] = (0, None)

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """As SQLAlchemy does it. What was invalidated softly is closed when it comes back.

        The slot is freed here when that fails, and when the reason is not an Exception: SQLAlchemy
        2.0.0 never checks such a record in. Where a newer version does, it finds nothing to do.
        """
        self.expires = -math.inf
        serial, opened = self.serial, self.dbapi_connection is not None
        try:
            super().invalidate(e, soft)
        except BaseException:
            self._take_back(serial)
            raise
        finally:
            if opened and self.dbapi_connection is None:
                self.pool.note_discard(self.reason or "invalidated")
        if e is not None and not isinstance(e, Exception):
            self._take_back(serial)

    def _take_back(self, serial: int) -> None:
        # The proxy's finalizer looks at fairy_ref; 2.0.0's would stumble over the closed session.
        self.fairy_ref = None
        self.pool.rescue(self, serial)

    def checkin(self, _fairy_was_created: bool = True) -> None:
        """As SQLAlchemy does it, without losing the slot when a listener raises."""
        serial = self.serial
        if not serial:  # Taken back already: by invalidate(), or because its thread had ended.
            if self.pool.dispatch.checkin:
                self.pool.dispatch.checkin(None, self)
            return
        try:
            super().checkin(_fairy_was_created)
        except BaseException:
            self.pool.rescue(self, serial)
            raise

    def _checkin_failed(self, err: BaseException, _fairy_was_created: bool = True) -> None:
        serial = self.serial
        try:
            super()._checkin_failed(err, _fairy_was_created)
        except BaseException:
            self.pool.rescue(self, serial)
            raise


class Request:
    """What is being done for one request for a lease: it gets a record, or waits."""

    # Class attributes as defaults cost no call at each lease, as an __init__ would.
    record: Record | None = None
    serial = 0
    waiter: Waiter | None = None
    prefer: Any = None
    """The session to be had, if it is idle and nobody waits."""


class Lease(Request):
    """A session out of the pool, until it is given back or discarded.

    Only the first of these ends it; whatever comes later does nothing, from whichever thread, and
    also when the pool took the session back because the holder's thread had ended. A handle that
    is dropped without either is found by the pool, which then discards the session: nobody knows
    what state it was left in.

    A lease may also be offered: it has ended then, and others can have the session; but for as long
    as nobody took it this handle can resume the lease, at a fraction of the cost.
    """

    pool: FairQueuePool

    owner: Owner

    offered: Record | None = None
    """What the lease was on when it was offered last."""

    session: Any = None
    """The DBAPI connection."""

    proxy: PoolProxiedConnection | None = None
    """SQLAlchemy's, where its listeners want one."""

    def pin(self, reason: str) -> None:
        """Note why this lease stays with its holder until the release. Counted once a lease."""
        record = self.record
        if record is not None and record.pinned[0] != self.serial:
            record.pinned = self.serial, reason
            self.pool.slots.count_pinned(reason)

    def give_back(self) -> None:
        """Put the session back. Whoever does that has reset it before: nothing is sent.

        An exception of a listener passes through, after the session has been discarded.
        """
        record = self.record
        if record is None:
            return
        if self.proxy is not None:
            self.proxy.close()
        else:
            dispatch = self.pool.dispatch
            if dispatch.reset or dispatch.checkin:
                self.pool.announce_return(record, self.serial)
            self.pool.give_back(record, self.serial)
        self.record = None

    def offer(self) -> None:
        """End the lease as `give_back` does, but be able to resume it while nobody else wants it.

        Takes no lock, unless somebody waits or there is something to tidy up.
        """
        record = self.record
        if record is None:
            return
        dispatch, slots = self.pool.dispatch, self.pool.slots
        if self.proxy is not None or dispatch.reset or dispatch.checkin:
            self.give_back()
            return
        now = record.idle_since = clock.monotonic()
        slots.latest = self.offered = record
        # There is no call between these two: no signal handler can come between them.
        self.record = None
        slots.offered[self] = record
        # Only now, so that who began to wait meanwhile sees the offer, or is seen here.
        if slots.wants(record, now) and self._withdraw(record):
            self.give_back()

    def resume(self, *, if_latest: bool = False) -> bool:
        """Go on with a lease that was offered; False when that cannot be, and nothing is held.

        With ``if_latest`` only while the pool would choose this session, too, for who prefers none:
        while no other came back since, in a pool that is LIFO. A session that is not fit any more
        is replaced, as by `FairQueuePool.lease`, which tells what may be raised.
        """
        record, owner, pool = self.offered, self.owner, self.pool
        slots = pool.slots
        if record is None or (if_latest and not (slots.latest is record and slots.lifo)):
            return False
        # From a thread that ended the pool takes leases back, whoever uses their sessions now.
        if owner.ended or owner.ident != get_ident() or not self._withdraw(record):
            return False
        record.since = now = clock.monotonic()
        record.resumed += 1
        fault = pool.fault(record, now)
        if fault is not None:
            pool.replace(self, fault, owner, now)
        if pool.dispatch.checkout:  # `FairQueuePool.lease` has to ask whoever listens now.
            self.give_back()
            return False
        return True

    def _withdraw(self, record: Record) -> bool:
        """Take the offer back, unless the session is somebody else's by now."""
        # First, so that an exception after it makes the handle a lost one, which the pool finds.
        self.record = record
        if self.pool.slots.offered.pop(self, None) is None:
            self.record = None
            return False
        return True

    def discard(self, reason: str) -> None:
        """Close the session instead of putting it back. ``reason`` is counted in the statistics."""
        record = self.record
        if record is None:
            return
        if self.proxy is not None:
            record.reason = reason
            self.proxy.invalidate()
        else:
            self.pool.discard(record, self.serial, reason)
        self.record = None

    def __del__(self) -> None:
        # May run at any bytecode of any thread, under any lock, and in a forked child: so it
        # leaves a note and wakes somebody, and takes no lock.
        record = self.record
        if record is not None and record.serial == self.serial:
            if self.proxy is not None:  # SQLAlchemy's finalizer gives the record back.
                record.expires, record.reason = -math.inf, "lost"
                return
            record.lost = self.serial
            self.pool.slots.alarm()
