"""AliasPool: the pool of one alias, what opens its sessions, and how a lease ends.

A pool belongs to an alias *and* its connection parameters.  What opens sessions
works on parameters copied when the pool was made, never on a thread's wrapper.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import MySQLdb
from sqlalchemy import event
from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from . import registry
from .logs import log_event
from .session import Session
from .settings import PoolSettings

__all__ = ["AliasPool", "Lease", "close_session", "copied", "end_lease", "open_session"]

logger = logging.getLogger(__name__)

# Seconds; where the user sets none, mysqlclient waits as long as the network lets it.
CONNECT_TIMEOUT = 10


class Lease(Protocol):
    """A session out of its pool, until it is given back or discarded; only the first counts."""

    session: Session

    def pin(self, reason: str) -> None: ...

    def give_back(self) -> None: ...

    def offer(self) -> None: ...

    def resume(self, *, if_latest: bool) -> bool: ...

    def discard(self, reason: str) -> None: ...


def copied(value: Any) -> Any:
    """A copy of dicts, lists and tuples all the way down; what they hold is shared."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(copied(item) for item in value)
    return value


def open_session(alias: str, params: Mapping[str, Any]) -> Session:
    """Connect a session, and see to it that a forked child leaves it alone.

    Raises ``MySQLdb.Error`` as mysqlclient does.
    """
    session = Session(**params)
    registry.note_open(session)
    log_event(logger, logging.DEBUG, "session_opened", alias, session=session.thread_id())
    return session


def close_session(alias: str, session: Session) -> None:
    """Close a session that is in no pool."""
    try:
        session.close()
    finally:
        _strike_out(alias, session)


def _strike_out(alias: str, session: Session) -> None:
    registry.note_closed(session)
    log_event(logger, logging.DEBUG, "session_closed", alias)


def end_lease(lease: Lease, reason: str | None = None) -> None:
    """Offer the session, or discard it: for ``reason``, or when it cannot be restored."""
    try:
        reason = reason or lease.session.restore()
    except BaseException:
        lease.discard("interrupted")
        raise
    if reason is None:
        lease.offer()
    else:
        lease.discard(reason)


class AliasPool(ABC):
    """The pool of one alias, made for one set of connection parameters."""

    def __init__(
        self, alias: str, identity: object, params: Mapping[str, Any], settings: PoolSettings
    ) -> None:
        self.alias = alias
        self.identity = identity
        self.settings = settings
        # What Django asks of the server once, kept for the wrappers of all threads.
        self.server_data: dict[str, Any] | None = None
        self._server_info: str | None = None
        self._params: dict[str, Any] = copied(dict(params))
        # An ended session is restored by end_lease(), so SQLAlchemy has nothing to reset.
        own = {"logging_name": alias, **settings.arguments, "reset_on_return": None}
        self._arguments: dict[str, Any] = own
        self._always_ping = bool(own.pop("pre_ping", False))
        self.pool = self._made()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alias!r}: {self.pool.status()}>"

    def serves(self, identity: object) -> bool:
        """Whether leases for these connection parameters are to be had here."""
        return self.identity == identity

    @abstractmethod
    def lease(self, prefer: Session | None = None) -> Lease | None:
        """Take a session, ``prefer`` if it is idle and the class can choose.

        ``None`` where the pool was closed just now: ask for the new one.

        Raises ``PoolTimeout`` when none comes free in time, ``PoolError`` where
        the pool class lets nobody else in, and ``MySQLdb.Error`` when a session
        cannot be opened.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the idle sessions now, and the leased ones when they come back."""

    def _made(self) -> Pool:
        dialect = MySQLDialect_mysqldb(dbapi=MySQLdb)
        creator: Any = self._open
        pool = self.settings.pool_class(creator, dialect=dialect, **self._arguments)
        event.listen(pool, "connect", self._opened)
        event.listen(pool, "close", self._session_closed)
        return pool

    def _open(self) -> Session:
        timeout = {"connect_timeout": self._connect_timeout()}
        session = open_session(self.alias, {**timeout, **self._params})
        session.multiplexed = self.settings.lease == "transaction"
        session.single_use = self.settings.reset == "always"
        info = session.get_server_info()
        # Behind the same address there may be another server since a failover.
        if info != self._server_info:
            self._server_info, self.server_data = info, None
        return session

    def is_fit(self, session: Session, idle_seconds: float) -> bool:
        """Whether an idle session is alive, as far as one can tell without a round trip.

        After ``ping_after`` seconds of idleness, and at every lease with
        CONN_HEALTH_CHECKS, the server is asked, for ``ping_timeout`` seconds.
        """
        if session.readable():
            return session.has_tls_record() and session.check(self.settings.ping_timeout)
        if self._always_ping or idle_seconds >= self.settings.ping_after:
            return session.check(self.settings.ping_timeout)
        return True

    def _connect_timeout(self) -> int:
        """Seconds, for a user who sets none."""
        return CONNECT_TIMEOUT

    def _opened(self, session: Session, record: ConnectionPoolEntry) -> None:
        registry.note_open(session, record)

    def _session_closed(self, session: Session, record: ConnectionPoolEntry) -> None:
        _strike_out(self.alias, session)
