"""The pool of an alias over SQLAlchemy's own pool classes, by way of their proxies."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event
from sqlalchemy import exc as sa_exc
from sqlalchemy.pool import (
    AssertionPool,
    ConnectionPoolEntry,
    Pool,
    PoolProxiedConnection,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)

from mysqlpool.conf.settings import PoolSettings
from mysqlpool.errors import Holder, PoolError, PoolTimeout
from mysqlpool.events.log import log_event, told_afterwards
from mysqlpool.pool import Lease, clock
from mysqlpool.pool.locks import under
from mysqlpool.pool.report import Held, describe_holders, tell_exhausted
from mysqlpool.pool.seldom import Seldom
from mysqlpool.pool.tally import Tally
from mysqlpool.pool.threads import KnownThread, Threads, Where, own_frame
from mysqlpool.scopes import is_scoped
from mysqlpool.session.session import Session

from .access import Access
from .alias_pool import AliasPool

__all__ = ["ForeignAliasPool"]

logger = logging.getLogger("mysqlpool.pool")

# Keys of SQLAlchemy's ``info`` on a record.
FIT = "mysqlpool.fit"
SEAT = "mysqlpool.seat"
IDLE_SINCE = "mysqlpool.idle_since"  # monotonic seconds
TAKEN = "mysqlpool.taken"
REASON = "mysqlpool.reason"  # why it is about to be closed

# These classes would hand one session to two holders at once, which mysqlclient
# forbids. The value tells which session a holder would get.
_SEATS: Mapping[type[Pool], Callable[[], Hashable]] = {
    StaticPool: lambda: "the only session",
    SingletonThreadPool: threading.get_ident,
}
# Classes whose dispose() would close the sessions of holders, too.
_CLOSE_HOLDERS = (StaticPool, SingletonThreadPool, AssertionPool)


@dataclass(slots=True)
class Taken:
    """A lease, as far as somebody may ask for it: its holder, its begin, its place and its pin."""

    thread: KnownThread
    since: float
    where: Where
    pinned: str | None = None


class ForeignAliasPool(AliasPool):
    """An AliasPool over any SQLAlchemy pool class.

    ``_lock`` guards ``_seats``; it is held while sessions of a closed pool are
    closed, so that each is closed once, and while a class with seats looks for a
    session.  It can be entered again, because the garbage collector may bring
    back a lost lease in the midst of that.  ``_counting`` guards ``_tally``, and is
    held for moments.
    """

    def __init__(self, alias: str, key: object, settings: PoolSettings) -> None:
        self.closed = False
        self._lock = threading.RLock()
        self._seats: dict[Hashable, str] = {}  # taken ones -> the holder's thread name
        self._records: dict[Session, ConnectionPoolEntry] = {}  # of the open sessions
        self._counting = threading.RLock()
        self._tally = Tally()
        self._exhaustions = Seldom()
        self._threads = Threads(self.alarm)
        super().__init__(alias, key, settings)
        kinds = [make for cls, make in _SEATS.items() if isinstance(self.pool, cls)]
        self._seat = kinds[0] if kinds else None

    def serves(self, key: object) -> bool:
        return not self.closed and super().serves(key)

    def lease(self, access: Access, prefer: Session | None = None) -> Lease | None:
        if not is_scoped():
            self.count("unscoped")
            self._unscoped.report()
        if not self._threads.present().waits and self._is_full():
            raise self._timed_out(0.0)
        asking = self._asking
        before, asking.access = getattr(asking, "access", None), access
        lease = Lease(self)
        try:
            lease.proxy = told_afterwards(self._seated if self._seat else self.pool.connect)
        except sa_exc.TimeoutError as error:
            self.count("timeouts")
            failure = self._timed_out(self.settings.arguments["timeout"])
            tell_exhausted(failure, self._exhaustions, self._threads.present())
            raise failure from error
        finally:
            asking.access = before  # As in FairAliasPool.
        lease.session = lease.proxy.dbapi_connection
        if self.closed:
            lease.discard("pool closed")
            return None
        self._note_lease(lease.proxy)
        return lease

    def _note_lease(self, proxy: PoolProxiedConnection) -> None:
        frame = own_frame(sys._getframe())
        where = frame.f_code, frame.f_lasti
        proxy.info[TAKEN] = Taken(self._threads.present(), clock.monotonic(), where)
        self.count("leases")

    def retire(self, is_gone: Callable[[Session], bool]) -> None:
        """The idle ones are closed when their turn comes: SQLAlchemy lets nobody choose."""
        for session in list(self._records):
            if is_gone(session):
                session.broken = session.broken or "settings changed"

    # What a lease tells

    def give_back(self, lease: Lease) -> None:
        proxy, lease.proxy = lease.proxy, None
        if proxy is not None:
            proxy.info[FIT] = True
            proxy.close()
            self.sweep()

    def discard(self, lease: Lease, reason: str) -> None:
        proxy, lease.proxy = lease.proxy, None
        if proxy is not None:
            told_afterwards(self._invalidate, proxy, reason)

    def _invalidate(self, proxy: PoolProxiedConnection, reason: str) -> None:
        log_event(logger, logging.DEBUG, "session_discarded", self.alias, reason=reason)
        proxy.info[REASON] = reason
        proxy.invalidate()

    def pin(self, lease: Lease, reason: str) -> None:
        taken = lease.proxy.info.get(TAKEN) if lease.proxy is not None else None
        if taken is not None and taken.pinned is None:
            taken.pinned = reason
            self.count(reason, "pinned")

    def note_rollback(self, lease: Lease) -> None:
        self.count("rollbacks")

    def share(self, lease: Lease) -> None:
        """SQLAlchemy's own pools take no lease back because its thread has ended."""

    def unshare(self, lease: Lease, is_own: bool) -> None:
        """As `share`."""

    def alarm(self) -> None:
        """SQLAlchemy's own finalizers bring back what was lost."""

    def _seated(self) -> PoolProxiedConnection:
        assert self._seat is not None
        return under(self._lock, self._take_seat, self._seat())

    def _take_seat(self, seat: Hashable) -> PoolProxiedConnection:
        if seat in self._seats:
            raise PoolError(
                f"{type(self.pool).__name__} of {self.alias!r} lets one holder at a time use "
                f"its session, and thread {self._seats[seat]!r} has it. Release it first "
                "(mysqlpool.release_connections), or choose FairQueuePool or QueuePool."
            )
        self._seats[seat] = threading.current_thread().name
        try:
            proxy = self.pool.connect()
        except BaseException:
            self._seats.pop(seat, None)
            raise
        proxy.info[SEAT] = seat
        return proxy

    def _is_full(self) -> bool:
        """Whether a request would have to wait, as far as SQLAlchemy tells that beforehand."""
        pool = self.pool
        return isinstance(pool, QueuePool) and pool.checkedout() >= sum(self._limit())

    def _limit(self) -> tuple[int, int]:
        size, overflow = (self.settings.arguments[key] for key in ("pool_size", "max_overflow"))
        return size, overflow

    def _timed_out(self, seconds: float) -> PoolTimeout:
        return PoolTimeout(
            self.alias,
            limit=sum(self._limit()),
            in_use=self.pool.checkedout(),  # type: ignore[attr-defined]
            waiting=0,
            seconds=seconds,
            holders=self.holders(),
        )

    def close(self) -> None:
        self.closed = True
        self.sweep()

    def sweep(self) -> None:
        """Close what is idle, where the pool is closed."""
        if self.closed:
            told_afterwards(under, self._lock, self._close_idle)

    def _close_idle(self) -> None:
        if not isinstance(self.pool, _CLOSE_HOLDERS):
            self.pool.dispose()
            return
        for record in list(self._records.values()):
            if not record.in_use:
                record.close()

    # Statistics

    def count(self, name: str, kind: str = "events") -> None:
        under(self._counting, self._tally.add, kind, name)

    def figures(self) -> dict[str, Any]:
        held = len(self._held(0.0))
        return {
            "pool_size": self._asked("size", 0),
            "max_overflow": getattr(self.pool, "_max_overflow", 0),
            "in_use": self._asked("checkedout", held),
            # QueuePool's own number is of entries, which need not have a session.
            "idle": max(0, len(self._records) - held),
            **under(self._counting, self._counted),
        }

    def _counted(self) -> dict[str, Any]:
        return {"leases": self._tally.events["leases"], **self._tally.figures()}

    def _asked(self, method: str, otherwise: int) -> int:
        # StaticPool and AssertionPool have none of these, and SingletonThreadPool's size is a
        # number.
        found = getattr(self.pool, method, otherwise)
        return int(found() if callable(found) else found)

    def waiting_seconds(self) -> float:
        return 0.0  # SQLAlchemy's own classes tell nobody who waits.

    def this_thread(self) -> KnownThread:
        return self._threads.present()

    def has_sessions(self) -> bool:
        return bool(self._records)

    def holders(self) -> tuple[Holder, ...]:
        is_idle = Session.is_idle if self.settings.lease == "task" else None
        return describe_holders(self._held(clock.monotonic()), is_idle=is_idle)

    def _held(self, now: float) -> list[Held]:
        found = [(record, record.info.get(TAKEN)) for record in list(self._records.values())]
        return [
            Held(
                taken.thread,
                max(0.0, now - taken.since),
                taken.where,
                taken.pinned,
                record.dbapi_connection,
            )
            for record, taken in found
            if taken is not None
        ]

    def _open(self) -> Session:
        begun = clock.monotonic()
        try:
            session = super()._open()
        except BaseException:
            self.count("connect_errors")
            raise
        self.count("connects")
        under(self._counting, self._tally.connect.add, clock.monotonic() - begun)
        return session

    def _made(self, arguments: Mapping[str, Any]) -> Pool:
        pool = super()._made(arguments)
        event.listen(pool, "checkout", self._checked_out)
        event.listen(pool, "checkin", self._checked_in)
        return pool

    def _opened(self, session: Session, record: ConnectionPoolEntry) -> None:
        super()._opened(session, record)
        self._records[session] = record

    def _session_closed(self, session: Session, record: ConnectionPoolEntry) -> None:
        self._records.pop(session, None)
        self.count(
            record.info.pop(REASON, "pool closed" if self.closed else "not kept"), "discards"
        )
        super()._session_closed(session, record)

    def _checked_out(
        self, session: Session, record: ConnectionPoolEntry, proxy: PoolProxiedConnection
    ) -> None:
        """Have SQLAlchemy open another session where an idle one is of no use to this holder."""
        since = record.info.get(IDLE_SINCE)
        if since is None:
            return
        if session.identity != self._asking.access.identity:
            reason = "identity"
        else:
            fit = not session.broken and self.is_fit(session, clock.monotonic() - since)
            reason = "" if fit else session.broken or "dead"
        if reason:
            log_event(logger, logging.DEBUG, "session_discarded", self.alias, reason=reason)
            record.info[REASON] = reason
            raise sa_exc.DisconnectionError

    def _checked_in(self, session: Session | None, record: ConnectionPoolEntry) -> None:
        """Keep what was given back in order; a lease lost to the garbage collector is discarded."""
        info: dict[str, Any] = record.info
        fit, seat = info.pop(FIT, False), info.pop(SEAT, None)
        info[IDLE_SINCE] = now = clock.monotonic()
        if (taken := info.pop(TAKEN, None)) is not None:
            under(self._counting, self._tally.lease.add, now - taken.since)
        if session is not None and (self.closed or not fit):
            if not fit:
                self.count("reaped")
                info[REASON] = "lost"
            told_afterwards(under, self._lock, record.invalidate)
        if seat is not None:
            under(self._lock, self._seats.pop, seat, None)
