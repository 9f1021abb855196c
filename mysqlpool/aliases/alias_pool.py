"""AliasPool: the pool of one alias, whatever the parameters of its sessions.

Each session has an identity: what it was connected with, less the secret.  A
lease asks for its own.  So a changed password, host or database takes no second
pool, and the limit holds over all of them.
"""

from __future__ import annotations

import math
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Protocol

import MySQLdb
from django.db import connections
from MySQLdb.constants import ER
from sqlalchemy import event
from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from mysqlpool.conf.servers import Server
from mysqlpool.conf.settings import PoolSettings
from mysqlpool.errors import Holder
from mysqlpool.pool import Lease, clock
from mysqlpool.pool.locks import under
from mysqlpool.pool.threads import KnownThread
from mysqlpool.session.failures import Failure
from mysqlpool.session.session import Session
from mysqlpool.session.wire import NO_ANSWER

from . import forks
from .access import Access, Identity, resolved
from .connects import Connects
from .hosts import Hosts, at, connect_to_one, servers_of
from .opening import CONNECT_TIMEOUT, close_session, note_closed, open_session, server_of
from .unscoped import Unscoped

__all__ = ["AliasPool", "is_in_settings"]


def is_in_settings(alias: str) -> bool:
    return alias in connections.settings


class User(Protocol):
    """A wrapper, as far as a pool knows it."""

    def present_settings(self) -> object: ...

    def present_access(self) -> Access | None: ...


class AliasPool(ABC):
    """The pool of one alias.

    ``key`` is what of the alias's settings the pool was made from.  ``_lock`` guards
    ``_users``, the wrappers that lease here, and ``_known``, their settings;
    nothing blocks while it is held.
    """

    # Whether a request waits where the server has all the sessions it may have.
    waits_for_room = False

    def __init__(self, alias: str, key: object, settings: PoolSettings) -> None:
        self.alias = alias
        self.key = key
        self.settings = settings
        # They may lose the alias at run time. Others were never in them.
        self._was_in_settings = is_in_settings(alias)
        # What Django asks of a server once, kept for the wrappers of all threads.
        self.server_data: dict[object, dict[str, Any]] = {}
        self.hosts = Hosts(settings.hosts, settings.host_retry)
        self._connects = Connects(alias, waits=self.waits_for_room)
        self._asking = threading.local()  # ``access``: what the present request asks for
        self._lock = threading.RLock()
        self._users: weakref.WeakKeyDictionary[User, object] = weakref.WeakKeyDictionary()
        self._known: list[tuple[object, Identity]] = []
        self._server_info: str | None = None
        self._begin_mode = settings.begin
        self._unscoped = Unscoped(alias, settings.unscoped)
        self._silent: dict[object, float] = {}  # servers that gave no answer, until when last
        # An ended session is restored by its tenure, so SQLAlchemy has nothing to reset.
        own = {"logging_name": alias, **settings.arguments, "reset_on_return": None}
        self._always_ping = bool(own.pop("pre_ping", False))
        self.pool = self._made({**own, **self._further_arguments()})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.alias!r}: {self.pool.status()}>"

    def serves(self, key: object) -> bool:
        """Whether this pool gives leases to an alias with these settings."""
        return self.key == key

    def is_over(self) -> bool:
        """Whether the settings have lost the alias, and no session of it is left."""
        return self._was_in_settings and not is_in_settings(self.alias) and not self.has_sessions()

    def has_users(self) -> bool:
        """Whether there is a wrapper that leases here."""
        return bool(self._users)

    def welcome(self, user: User, access: Access) -> Identity:
        """Note a wrapper whose settings are new to it, and return its identity.

        Equal ones become one object, which is compared sooner.  Sessions that were opened with
        settings which no wrapper has any more are closed at the next upkeep.
        """
        identity, gone = under(self._lock, self._note, user, access)
        if gone:
            self.retire(lambda session: session.settings in gone)
        return identity

    def _note(self, user: User, access: Access) -> tuple[Identity, list[object]]:
        self._users[user] = None
        for settings, identity in self._known:
            if settings == access.settings:
                return identity if identity == access.identity else access.identity, []
        in_force = [one.present_settings() for one in self._users]
        gone = [settings for settings, _ in self._known if settings not in in_force]
        self._known = [one for one in self._known if one[0] not in gone]
        self._known.append((access.settings, access.identity))
        return access.identity, gone

    def _access_to(self, session: Session) -> Access | None:
        """That of a wrapper which has such sessions."""
        for user in under(self._lock, list, self._users):
            access = user.present_access()
            if access is not None and access.identity == session.identity:
                return access
        return None

    @abstractmethod
    def retire(self, is_gone: Callable[[Session], bool]) -> None:
        """Have the sessions closed of which this is true, and that nobody leases any more."""

    @abstractmethod
    def lease(self, access: Access, prefer: Session | None = None) -> Lease | None:
        """Take a session of this access's identity, or open one.

        It is ``prefer`` if that is idle and the class can choose.

        ``None`` where the pool was closed just now: ask for the new one.

        Raises ``PoolTimeout`` when none comes free in time, ``PoolError`` where
        the pool class lets nobody else in, and ``MySQLdb.Error`` when a session
        cannot be opened.
        """

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """In this block a request of this thread ends after so many seconds, if the pool's own
        timeout is longer, and the pool class can do that.
        """
        return nullcontext()

    @abstractmethod
    def close(self) -> None:
        """Close the idle sessions now, and the leased ones when they come back."""

    @abstractmethod
    def has_sessions(self) -> bool:
        """Whether a session is open, or on its way."""

    @abstractmethod
    def holders(self) -> tuple[Holder, ...]:
        """Who has a lease now, the longest first."""

    @abstractmethod
    def waiting_seconds(self) -> float:
        """For how long there have been waiters without a break; 0.0 where none is known."""

    @abstractmethod
    def this_thread(self) -> KnownThread:
        """This thread, as the pool knows it."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """The fields of `mysqlpool.stats.PoolStats`, of one moment."""

    @abstractmethod
    def count(self, name: str, kind: str = "events") -> None:
        """Count what the pool class cannot know of: see `mysqlpool.pool.tally`."""

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
        access: Access = self._asking.access
        return self._connects.by(access.identity.params, partial(self._opened_by, access))

    def _opened_by(self, access: Access) -> Session:
        session = self._connect(access)
        session.tune(self.settings.tcp_keepalive, self.settings.tcp_user_timeout)
        session.alias = self.alias
        session.multiplexed = self.settings.lease == "transaction"
        session.single_use = self.settings.reset == "always"
        info = session.get_server_info()
        # After a failover another server may answer at the same address.
        if info != self._server_info:
            self._begin_mode = self._asked_how_to_begin(session)
            self._server_info = info
            self.server_data.clear()
        session.begin_mode = self._begin_mode
        self._note_access(session, access)
        return session

    def _note_access(self, session: Session, access: Access) -> None:
        """Note for whom a session was opened, or renewed just now."""
        session.identity, session.settings = access.identity, access.settings
        if all(settings != access.settings for settings, _ in list(self._known)):
            session.broken = "settings changed"  # Meanwhile. It is closed when it comes back.

    def _asked_how_to_begin(self, session: Session) -> str:
        """The setting, unless the server begins a transaction after each COMMIT by itself.

        Then all that follows would be in one, where autocommit is not switched. Raises
        ``MySQLdb.Error``, with the session closed, where it cannot be found out.
        """
        wanted = self.settings.begin
        if wanted == "autocommit":
            return wanted
        try:
            kind = session.ask(b"SELECT @@completion_type")
        except MySQLdb.Error as error:
            if error.args[0] != ER.UNKNOWN_SYSTEM_VARIABLE:
                close_session(self.alias, session)
                raise
            return wanted  # A server that does not know of that does not do it.
        return wanted if kind == "NO_CHAIN" else "autocommit"

    def _connect(self, access: Access) -> Session:
        servers = servers_of(access.identity.params)
        if not servers:
            return self._connect_with(self.parameters(access))

        def connect(server: Server, left: int) -> Session:
            return self._connect_with(self.parameters(access, server, left))

        return connect_to_one(self.alias, self.hosts, servers, connect, self._is_time_over)

    def _connect_with(self, params: Mapping[str, Any]) -> Session:
        return self._connects.to(server_of(params), partial(open_session, self.alias, params))

    def parameters(
        self, access: Access, server: Server | None = None, left: int = 1
    ) -> dict[str, Any]:
        """With which mysqlclient is to connect a session now.

        Where the parameters name several servers it is to ``server``, or the first. ``left`` of
        them share the time that the request has left.
        """
        params = access.params()
        servers = servers_of(params)
        if not servers:
            timeout = {"connect_timeout": self._connect_timeout(CONNECT_TIMEOUT)}
            return {**timeout, **resolved(self.alias, params, self.settings.connect_args)}
        params = at(params, server if server in servers else servers[0])
        made = resolved(self.alias, params, self.settings.connect_args)
        longest = made.get("connect_timeout") or CONNECT_TIMEOUT
        return {**made, "connect_timeout": self._connect_timeout(longest, left)}

    def is_fit(self, session: Session, idle_seconds: float) -> bool:
        """Whether a session that was idle for so long is alive, as far as one can tell without
        a round trip.

        After ``ping_after`` seconds of idleness, and at every lease with CONN_HEALTH_CHECKS, the
        server is asked, for ``ping_timeout`` seconds.
        """
        if self._silent and self._was_silent(session, idle_seconds):
            session.broken = NO_ANSWER
            return False
        if session.readable():
            return session.has_tls_record() and self._answers(session)
        if self._always_ping or idle_seconds >= self.settings.ping_after:
            return self._answers(session)
        return True

    def _was_silent(self, session: Session, idle_seconds: float) -> bool:
        """Whether its server was waited for in vain since anybody heard of this session.

        Then it is not asked again: each session would cost the same time, or hang in use. Time has
        passed since ``idle_seconds`` was true. So the end of that wait counts: its begin may have
        been within that time of the session's return.
        """
        waited = self._silent.get(session.server, -math.inf)
        return clock.monotonic() - idle_seconds < waited

    def _answers(self, session: Session) -> bool:
        timeout = self._ping_timeout()
        if session.check(timeout):
            return True
        self._note_silence(session, timeout)
        return False

    def _note_silence(self, session: Session, timeout: float) -> None:
        """Note that a session's server was asked in vain, if it had its time to answer."""
        if session.broken == NO_ANSWER and timeout >= self.settings.ping_timeout:
            self._silent[session.server] = clock.monotonic()

    def _ping_timeout(self) -> float:
        """For how many seconds the server is asked."""
        return self.settings.ping_timeout

    def _connect_timeout(self, longest: int, left: int = 1) -> int:
        """The connect timeout in seconds, for one of so many attempts that are left."""
        return longest

    def _is_time_over(self) -> bool:
        """Whether the present request has no time left for another attempt."""
        return False

    def _opened(self, session: Session, record: ConnectionPoolEntry) -> None:
        forks.note_open(session, record)

    def _session_closed(self, session: Session, record: ConnectionPoolEntry) -> None:
        note_closed(self.alias, session)
        if session.failure is None:
            return
        self.count(session.failure.name.lower(), "failures")
        if session.failure.is_of_the_server:
            if session.failure is Failure.READ_ONLY:
                self.hosts.turned_read_only(session.server)
            elif session.failure is Failure.NOT_READY:
                self.hosts.turned_not_ready(session.server)
            if session.failure in (Failure.READ_ONLY, Failure.NOT_READY):
                self._connects.demoted(session.server, session.failure)
            self.retire(session.shares_failure)
