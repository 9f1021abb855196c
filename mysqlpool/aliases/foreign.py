"""The pool of an alias over SQLAlchemy's own pool classes, by way of their proxies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from sqlalchemy import event
from sqlalchemy import exc as sa_exc
from sqlalchemy.pool import (
    AssertionPool,
    ConnectionPoolEntry,
    Pool,
    PoolProxiedConnection,
    SingletonThreadPool,
    StaticPool,
)

from mysqlpool.conf.settings import PoolSettings
from mysqlpool.errors import PoolError, PoolTimeout
from mysqlpool.events.log import log_event
from mysqlpool.pool import Lease, clock
from mysqlpool.pool.locks import under
from mysqlpool.session.session import Session

from .access import Access
from .alias_pool import AliasPool

__all__ = ["ForeignAliasPool"]

logger = logging.getLogger("mysqlpool.pool")

# Keys of SQLAlchemy's ``info`` on a record.
FIT = "mysqlpool.fit"
SEAT = "mysqlpool.seat"
IDLE_SINCE = "mysqlpool.idle_since"  # monotonic seconds

# These classes would hand one session to two holders at once, which mysqlclient
# forbids. The value tells which session a holder would get.
_SEATS: Mapping[type[Pool], Callable[[], Hashable]] = {
    StaticPool: lambda: "the only session",
    SingletonThreadPool: threading.get_ident,
}
# Classes whose dispose() would close the sessions of holders, too.
_CLOSE_HOLDERS = (StaticPool, SingletonThreadPool, AssertionPool)


class ForeignAliasPool(AliasPool):
    """An AliasPool over any SQLAlchemy pool class.

    ``_lock`` guards ``_seats``; it is held while sessions of a closed pool are
    closed, so that each is closed once, and while a class with seats looks for a
    session.  It can be entered again, because the garbage collector may bring
    back a lost lease in the midst of that.
    """

    def __init__(self, alias: str, key: object, settings: PoolSettings) -> None:
        self.closed = False
        self._lock = threading.RLock()
        self._seats: dict[Hashable, str] = {}  # taken ones -> the holder's thread name
        self._records: dict[Session, ConnectionPoolEntry] = {}  # of the open sessions
        super().__init__(alias, key, settings)
        kinds = [make for cls, make in _SEATS.items() if isinstance(self.pool, cls)]
        self._seat = kinds[0] if kinds else None

    def serves(self, key: object) -> bool:
        return not self.closed and super().serves(key)

    def lease(self, access: Access, prefer: Session | None = None) -> Lease | None:
        asking = self._asking
        before, asking.access = getattr(asking, "access", None), access
        lease = Lease(self)
        try:
            lease.proxy = self._seated() if self._seat else self.pool.connect()
        except sa_exc.TimeoutError as error:
            raise self._timed_out() from error
        finally:
            asking.access = before  # As in FairAliasPool.
        lease.session = lease.proxy.dbapi_connection
        if self.closed:
            lease.discard("pool closed")
            return None
        return lease

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
            log_event(logger, logging.DEBUG, "session_discarded", self.alias, reason=reason)
            proxy.invalidate()

    def pin(self, lease: Lease, reason: str) -> None:
        """SQLAlchemy's own pools keep no statistics that could tell of it."""

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

    def _timed_out(self) -> PoolTimeout:
        size, overflow = (self.settings.arguments[key] for key in ("pool_size", "max_overflow"))
        return PoolTimeout(
            self.alias,
            limit=size + overflow,
            in_use=self.pool.checkedout(),  # type: ignore[attr-defined]
            waiting=0,
            seconds=self.settings.arguments["timeout"],
            holders=(),
        )

    def close(self) -> None:
        self.closed = True
        self.sweep()

    def sweep(self) -> None:
        """Close what is idle, where the pool is closed."""
        if self.closed:
            under(self._lock, self._close_idle)

    def _close_idle(self) -> None:
        if not isinstance(self.pool, _CLOSE_HOLDERS):
            self.pool.dispose()
            return
        for record in list(self._records.values()):
            if not record.in_use:
                record.close()

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
            raise sa_exc.DisconnectionError

    def _checked_in(self, session: Session | None, record: ConnectionPoolEntry) -> None:
        """Keep what was given back in order; a lease lost to the garbage collector is discarded."""
        info: dict[str, Any] = record.info
        fit, seat = info.pop(FIT, False), info.pop(SEAT, None)
        info[IDLE_SINCE] = clock.monotonic()
        if session is not None and (self.closed or not fit):
            under(self._lock, record.invalidate)
        if seat is not None:
            under(self._lock, self._seats.pop, seat, None)
