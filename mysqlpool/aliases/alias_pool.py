"""AliasPool: the pool of one alias.

A pool belongs to an alias *and* its connection parameters.  What opens sessions
works on parameters copied when the pool was made, never on a thread's wrapper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import MySQLdb
from sqlalchemy import event
from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from mysqlpool.conf.settings import PoolSettings
from mysqlpool.pool import Lease
from mysqlpool.session.session import Session

from . import forks
from .opening import CONNECT_TIMEOUT, copied, note_closed, open_session

__all__ = ["AliasPool"]


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
        # An ended session is restored by its tenure, so SQLAlchemy has nothing to reset.
        own = {"logging_name": alias, **settings.arguments, "reset_on_return": None}
        self._always_ping = bool(own.pop("pre_ping", False))
        self.pool = self._made({**own, **self._further_arguments()})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alias!r}: {self.pool.status()}>"

    def serves(self, identity: object) -> bool:
        """Whether this pool gives leases for these connection parameters."""
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

    def _further_arguments(self) -> dict[str, Any]:
        """What the pool class is given besides what the settings say."""
        return {}

    def _made(self, arguments: Mapping[str, Any]) -> Pool:
        dialect = MySQLDialect_mysqldb(dbapi=MySQLdb)
        creator: Any = self._open
        pool = self.settings.pool_class(creator, dialect=dialect, **arguments)
        event.listen(pool, "connect", self._opened)
        event.listen(pool, "close", self._session_closed)
        return pool

    def _open(self) -> Session:
        timeout = {"connect_timeout": self._connect_timeout()}
        session = open_session(self.alias, {**timeout, **self._params})
        session.multiplexed = self.settings.lease == "transaction"
        session.single_use = self.settings.reset == "always"
        info = session.get_server_info()
        # After a failover another server may answer at the same address.
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
        """The connect timeout in seconds, where the user sets none."""
        return CONNECT_TIMEOUT

    def _opened(self, session: Session, record: ConnectionPoolEntry) -> None:
        forks.note_open(session, record)

    def _session_closed(self, session: Session, record: ConnectionPoolEntry) -> None:
        note_closed(self.alias, session)
