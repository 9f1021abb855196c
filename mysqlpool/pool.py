"""FairQueuePool: the SQLAlchemy pool that is first come first served, bounded and self-healing.

What can be decided in a moment is decided under the lock, in `mysqlpool.slots`, whose docstring has
the state machine and the lock rule. What takes time (connecting, checking, closing, listeners,
logging) is here and in `mysqlpool.keeper`, outside of the lock.

An exception at any point of that work, also one that a signal handler raises, gives the slot back.
One that a signal handler raises in the microsecond of a locked section (in the main thread) is
repaired from what was written down before it. What is not possible: a second such exception in
the midst of that repair costs the slot, and so does one that hits the main thread after
SQLAlchemy's `connect` got its record and before it has made its proxy, or in the first step of a
handle's finalizer.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy.pool import ConnectionPoolEntry

from . import clock
from .errors import PoolExhausted, PoolTimeout, TooManyWaiters
from .holders import Owner, Sentinel, Where, describe_holders, own_frame
from .keeper import Keeper, classify_connect_error
from .records import Lease, Record, Request
from .slots import Limits, Slots
from .waiting import Waiter

__all__ = ["FairQueuePool", "Lease", "classify_connect_error"]


class FairQueuePool(Keeper):
    """A drop-in for ``sqlalchemy.pool.QueuePool`` whose waiters are served in order.

    ``pool_size`` sessions are kept, and ``max_overflow`` more may be open at once; 0 and -1 mean
    no limit, as in QueuePool. A request ends with `PoolTimeout` after ``timeout`` seconds (None:
    never) of waiting, checking and connecting. All times are monotonic.

    ``recycle`` is a session's longest life, less up to 5 %; -1 and None mean no end. A session that
    was idle for ``max_idle`` seconds is closed, down to ``min_idle`` sessions. With ``max_waiting``
    other waiters a request fails at once with `TooManyWaiters`; 0 means no bound. A lease held for
    ``leak_after`` seconds is logged, once. All this rides on leases and returns: there is no
    background thread.

    ``check(session, idle_seconds)`` is asked before an idle session is handed out; False discards
    it. ``classify(error)`` is asked of a failed connect: ``"full"`` means that a later attempt may
    succeed, and one is made while the timeout lasts. Every other error goes to the requester at
    once.

    The limit is this object's: it holds across `dispose`. A pool made by
    `recreate`, as ``Engine.dispose()`` makes one, has a limit of its own.
    """

    def __init__(
        self,
        creator: Callable[..., Any],
        pool_size: int = 10,
        max_overflow: int = 0,
        timeout: float | None = 30.0,
        use_lifo: bool = True,
        *,
        max_idle: float | None = 600.0,
        min_idle: int = 0,
        max_waiting: int = 0,
        leak_after: float | None = None,
        check: Callable[[Any, float], bool] | None = None,
        classify: Callable[[BaseException], str | None] = classify_connect_error,
        recycle: float | None = -1,
        **kw: Any,
    ) -> None:
        self._options: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": max_overflow,
            "timeout": timeout,
            "use_lifo": use_lifo,
            "max_idle": max_idle,
            "min_idle": min_idle,
            "max_waiting": max_waiting,
            "leak_after": leak_after,
            "check": check,
            "classify": classify,
            "recycle": recycle,
        }
        unlimited = pool_size == 0 or max_overflow == -1
        limits = Limits(
            keep=pool_size or math.inf,
            total=math.inf if unlimited else pool_size + max_overflow,
            waiting=max_waiting or math.inf,
            max_idle=math.inf if max_idle is None else max_idle,
            min_idle=min_idle,
            leak_after=math.inf if leak_after is None else leak_after,
        )
        self.slots = Slots(limits, use_lifo, partial(Record, self))
        self._size, self._timeout = pool_size, timeout
        self._max_overflow = -1 if unlimited else max_overflow
        self._lifetime = math.inf if recycle is None or recycle < 0 else recycle
        self._check, self._classify = check, classify
        self._here = threading.local()
        # SQLAlchemy's own recycling goes by the wall clock.
        super().__init__(creator, recycle=-1, **kw)
        self._alias = self._orig_logging_name or f"{id(self):x}"

    def __repr__(self) -> str:
        slots = self.slots
        return (
            f"<FairQueuePool {self._alias!r}: {slots.in_use} of {slots.limits.total} in use, "
            f"{slots.at_rest} idle, {len(slots.waiters)} waiting>"
        )

    # Leasing

    def lease(self, prefer: Any = None) -> Lease:
        """Lease a session for this thread, without SQLAlchemy's proxy around it.

        It is ``prefer`` if that one is idle and nobody waits: a session that a thread had before.

        Raises `PoolTimeout`, `TooManyWaiters`, or what the creator, the check or a listener raised.
        Where somebody listens to ``checkout``, or ``pre_ping`` is on, the lease goes by way of
        SQLAlchemy's `connect`: such a listener is given its proxy, and may make it try again.
        """
        lease = Lease()
        lease.pool, lease.prefer = self, prefer
        lease.owner = self.this_thread()
        if self._pre_ping or self.dispatch.checkout:
            self._lease_by_proxy(lease)
        else:
            self._obtain(lease)
            assert lease.record is not None
            lease.session = lease.record.dbapi_connection
        return lease

    def _lease_by_proxy(self, lease: Lease) -> None:
        proxy: Any = self.connect()
        lease.proxy, lease.session = proxy, proxy.dbapi_connection
        lease.serial = proxy._connection_record.serial
        lease.record = proxy._connection_record

    def _do_get(self) -> ConnectionPoolEntry:
        request = Request()  # No handle: SQLAlchemy is about to make its own.
        self._obtain(request)
        assert request.record is not None
        return request.record

    def _obtain(self, lease: Request) -> None:
        """Give ``lease`` a session that is fit, or raise and leave nothing behind."""
        owner = self.this_thread()
        where = owner.where
        if where is None or lease.prefer is None:
            frame = own_frame(sys._getframe())
            where = owner.where = frame.f_code, frame.f_lasti
            del frame  # If it were this function's own, it would keep itself and the lease alive.
        now = clock.monotonic()
        slots = self.slots
        if slots.untidy or now >= slots.tidy_at:
            self.tidy(now)
        try:
            if not slots.take(lease, owner, where, now):
                raise self._exhausted(TooManyWaiters, owner, 0.0)
            record = lease.record
            fault = None if record is None else self.fault(record, now)
            if record is None or fault is not None:
                self._obtain_slowly(lease, fault, owner, where, now)
        except BaseException:
            self._give_up(lease)
            raise

    def replace(self, lease: Lease, fault: str, owner: Owner, since: float) -> None:
        """Give a lease that is being resumed another session instead of its own."""
        assert lease.record is not None
        try:
            self._obtain_slowly(lease, fault, owner, lease.record.where, since)
        except BaseException:
            self._give_up(lease)
            raise
        lease.session = lease.record.dbapi_connection

    def this_thread(self) -> Owner:
        """This thread, as the pool knows it; the pool is told when it ends."""
        try:
            owner: Owner = self._here.owner
            return owner
        except AttributeError:
            owner = Owner()
            self._here.sentinel = Sentinel(owner, self.slots)
            self._here.owner = owner
            return owner

    def _obtain_slowly(
        self, lease: Request, fault: str | None, owner: Owner, where: Where, since: float
    ) -> None:
        """Wait, discard what is not fit, and connect, until it is done or the time is over."""
        deadline = math.inf if self._timeout is None else since + self._timeout
        error: Exception | None = None
        while True:
            if lease.waiter is not None:
                self._wait(lease, lease.waiter, deadline, error)
                fault = self.fault(lease.record, clock.monotonic(), idle=False)
            record = lease.record
            assert record is not None
            if fault is None:
                break
            if record.dbapi_connection is not None:
                self.close_session(record, fault, invalidate=fault == "dead")
                if self.slots.swap(lease, clock.monotonic()):
                    fault = self.fault(lease.record, clock.monotonic())
                    continue
            error = self._connect(record, owner, deadline)
            if error is None:
                break
            self.slots.back_off(lease, Waiter(owner, where, since), clock.monotonic())

    def fault(self, record: Record | None, now: float, *, idle: bool = True) -> str | None:
        """Why the session of a record cannot serve its next holder, if it cannot."""
        assert record is not None
        session = record.dbapi_connection
        if session is None:
            return "none"
        if now >= record.expires:
            return record.reason or "expired"
        if record.generation != self.slots.generation:
            return "disposed"
        if idle and self._check is not None and not self._check(session, now - record.idle_since):
            return "dead"
        return None

    def _wait(
        self, lease: Request, waiter: Waiter, deadline: float, cause: Exception | None
    ) -> None:
        """Wait until served. The time ends it only while it was not: then `PoolTimeout`."""
        slots = self.slots
        while waiter.record is None:
            now = clock.monotonic()
            if slots.untidy or now >= slots.look_at():
                self.tidy(now)
            elif now < deadline:
                waiter.park(min(deadline, slots.look_at()) - now)
            else:
                self._time_out(lease, waiter, now, cause)
        lease.serial = waiter.serial
        lease.record = waiter.record
        lease.waiter = None

    def _time_out(
        self, lease: Request, waiter: Waiter, now: float, cause: Exception | None
    ) -> None:
        if not self.slots.withdraw(waiter):
            return  # Served at the very last moment.
        lease.waiter = None
        self.slots.count("timeouts")
        raise self._exhausted(PoolTimeout, waiter.owner, now - waiter.since) from cause

    def _exhausted(self, kind: type[PoolExhausted], owner: Owner, seconds: float) -> PoolExhausted:
        held, waiting, in_use = self.slots.situation(clock.monotonic())
        return kind(
            self._alias,
            limit=self.slots.limits.total,
            in_use=in_use,
            waiting=len(waiting),
            seconds=seconds,
            holders=describe_holders(held, [owner, *waiting]),
        )

    def _give_up(self, lease: Request) -> None:
        """Undo what was done for a request that ends in an exception."""
        waiter, lease.waiter = lease.waiter, None
        record, lease.record = lease.record, None
        if record is not None:
            self.slots.count("unserved")
            self.rescue(record, lease.serial)
        elif waiter is not None:
            self.slots.withdraw(waiter)
            if waiter.record is not None:
                self.slots.count("unserved")
                self.give_back(waiter.record, waiter.serial)

    def _connect(self, record: Record, owner: Owner, deadline: float) -> Exception | None:
        """Open the record's session; return the error if the server is full, raise all others."""
        owner.deadline = deadline
        try:
            record.get_connection()
        except Exception as error:
            if record.dbapi_connection is None and self._classify(error) == "full":
                # Its traceback would keep this request's frames, and with them the lease.
                return error.with_traceback(None)
            raise
        finally:
            owner.deadline = None
        return None

    def remaining(self) -> float | None:
        """Seconds left to this thread's present request for a lease, at least 0.

        For the creator, so that it connects with a timeout that keeps the pool's. None outside of
        such a request, and when the pool has no timeout. A session that took longer to connect is
        handed out all the same: it is there, and to close it would help nobody.
        """
        owner: Owner | None = getattr(self._here, "owner", None)
        if owner is None or owner.deadline is None or owner.deadline == math.inf:
            return None
        return max(0.0, owner.deadline - clock.monotonic())

    # What QueuePool has

    def recreate(self) -> FairQueuePool:
        """Return a new, empty pool with the same arguments and listeners."""
        self.logger.info("Pool recreating")
        return self.__class__(
            self._creator,
            **self._options,
            pre_ping=self._pre_ping,
            echo=self.echo,
            logging_name=self._orig_logging_name,
            reset_on_return=self._reset_on_return,
            _dispatch=self.dispatch,
            dialect=self._dialect,
        )

    def size(self) -> int:
        return self._size

    def timeout(self) -> float | None:
        return self._timeout

    def checkedin(self) -> int:
        return self.slots.at_rest

    def checkedout(self) -> int:
        return self.slots.in_use

    def overflow(self) -> int:
        return self.checkedin() + self.checkedout() - self._size if self._size else 0

    def status(self) -> str:
        return (
            f"Pool size: {self.size()}  Connections in pool: {self.checkedin()} "
            f"Current Overflow: {self.overflow()} Current Checked out "
            f"connections: {self.checkedout()}"
        )

    def figures(self) -> dict[str, Any]:
        """The fields of `mysqlpool.stats.PoolStats`, of one moment."""
        return {"pool_size": self._size, "max_overflow": self._max_overflow, **self.slots.figures()}
