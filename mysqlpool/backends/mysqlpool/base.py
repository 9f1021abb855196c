"""Django's MySQL backend with sessions leased from the process's pool.

Connecting leases and closing releases; everything else is inherited.  What
Django and the receivers of ``connection_created`` send when a session is opened
is its baseline: it is sent once per session and stays with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.mysql import base as mysql
from django.db.backends.signals import connection_created
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from mysqlpool import registry
from mysqlpool.announcements import Announcements, Said
from mysqlpool.fair import FairAliasPool
from mysqlpool.fairies import FairyAliasPool
from mysqlpool.leasing import AliasPool, Lease, close_session, copied, end_lease, open_session
from mysqlpool.pool import FairQueuePool
from mysqlpool.session import Session
from mysqlpool.settings import parse_pool_settings

from .creation import DatabaseCreation
from .cursors import LeasedCursor
from .multiplexing import Multiplexing

__all__ = ["DatabaseWrapper"]

# What a pool depends on: a change of any of these asks for another pool.
_identity = itemgetter("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS", "AUTOCOMMIT")
# What else a wrapper takes from its settings when it connects.
_wrapper_settings = itemgetter("CONN_HEALTH_CHECKS", "CONN_MAX_AGE")


class DatabaseWrapper(Multiplexing, mysql.DatabaseWrapper):
    """Django's wrapper, whose connection is a lease on one of the process's sessions."""

    uses_mysqlpool = True
    creation_class = DatabaseCreation

    _lease: Lease | None = None
    _ended: Lease | None = None  # the former one, to be resumed if nobody took its session
    _next_lease: Lease | None = None  # taken by connect(), for get_new_connection()
    _said: Sequence[Said] = ()  # what receivers told the session of the last connect()
    _rested = False  # closed in the state that connect() would bring it to
    _discarding: str | None = None  # why the session that is being closed is not to be kept
    _announced: Announcements | None = None  # while receivers of connection_created run
    _connecting = False  # connect() runs,
    _reusing = False  # and the session was set up by an earlier lease
    _params: dict[str, Any]
    _params_identity: tuple[Any, ...] | None = None  # what they were made from
    _rested_settings: tuple[Any, ...] = ()

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        pool = registry.current(alias)
        known = pool is not None and pool.serves(_identity(settings_dict))
        if alias != NO_DB_ALIAS and not known:
            # Bad input is refused at start, not at the first query.
            parse_pool_settings(alias, settings_dict)

    def get_connection_params(self) -> dict[str, Any]:
        """Django's, without the pool's own options; made again only when settings changed."""
        if not self._has_params():
            params: dict[str, Any] = super().get_connection_params()
            params.pop("pool", None)
            # mysqlclient would turn autocommit off and Django on again: two round trips.
            params.setdefault("autocommit", self.settings_dict["AUTOCOMMIT"])
            self._params = params
            self._params_identity = copied(_identity(self.settings_dict))
        return dict(self._params)

    def _is_rested(self) -> bool:
        """Whether connect() would change nothing, because nothing changed since close()."""
        if not self._rested or not self._has_params():
            return False
        if self._suspended:
            return True
        as_before = self._rested_settings == _wrapper_settings(self.settings_dict)
        return as_before and not connection_created.receivers

    def _has_params(self) -> bool:
        return bool(self._params_identity == _identity(self.settings_dict))

    def connect(self) -> None:
        """Lease a session and, if it is new, set it up; nothing stays leased when that fails.

        Django's ``connect()`` brings the wrapper to the state that it was closed in, where that
        was outside of a transaction.  So it is called for a wrapper's first lease, for a new
        session, and where receivers of ``connection_created`` listen; else the lease is enough.
        """
        if self._is_rested():
            lease, self._next_lease = self._next_lease, None
            lease = lease or self._resumed() or self._take_lease(self._params)
            if lease.session.settled:
                self._resume(lease)
                return
            self._next_lease = lease
        self._connect()

    def _resumed(self) -> Lease | None:
        """The lease that ended last, if its pool lets this thread go on with it."""
        lease, self._ended = self._ended, None
        if lease is not None and lease.resume(if_latest=not self._suspended):
            return lease
        return None

    def _hold(self, lease: Lease) -> None:
        self.connection, self._lease = lease.session, lease
        self._suspended = False

    def _resume(self, lease: Lease) -> None:
        suspended = self._suspended
        self._hold(lease)
        self._cursors = 0
        self.errors_occurred, self.health_check_done = False, True
        if suspended and self._said != lease.session.announcements.said:
            # What receivers told this wrapper's former session holds for this one, too.
            with self._set_up():
                self._announced = lease.session.announcements
                self._announced.begin()
                for query, args in self._said:
                    with self.cursor() as cursor:
                        cursor.execute(query, args)
                self._settle(lease.session)

    @async_unsafe
    def _connect(self) -> None:
        self._suspended, self._cursors = False, 0
        with self._set_up():
            super().connect()
            if self._lease is not None:
                self._settle(self._lease.session)

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        """While the session is made ready for this wrapper; nothing stays leased if that fails."""
        self._connecting = True
        try:
            yield
        except BaseException:
            lease, self._lease, self.connection = self._lease, None, None
            if lease is not None:
                lease.discard("set-up failed")
            raise
        finally:
            self._connecting = self._reusing = False
            self._announced = None

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Lease a session; Django's connections without a database are opened for themselves."""
        if self.alias == NO_DB_ALIAS:
            return open_session(self.alias, conn_params)
        lease, self._next_lease = self._next_lease, None
        self._lease = lease = lease or self._take_lease(conn_params)
        self._multiplexes = lease.session.multiplexed
        self._reusing = lease.session.settled
        return lease.session

    def _take_lease(self, params: dict[str, Any]) -> Lease:
        while True:
            lease = self._pool(params).lease(self._former)
            if lease is not None:
                return lease

    def _pool(self, params: dict[str, Any]) -> AliasPool:
        pool = registry.current(self.alias)
        if pool is not None and pool.serves(self._params_identity):
            return pool
        return registry.pool_for(self.alias, self._params_identity, lambda: self._made_pool(params))

    def _made_pool(self, params: dict[str, Any]) -> AliasPool:
        settings = parse_pool_settings(self.alias, self.settings_dict)
        fair = issubclass(settings.pool_class, FairQueuePool)
        kind = FairAliasPool if fair else FairyAliasPool
        return kind(self.alias, self._params_identity, params, settings)

    def init_connection_state(self) -> None:
        """Set a new session up; one that was leased before has it behind it."""
        if not self._reusing:
            super().init_connection_state()
        if self._connecting and self._lease is not None:
            # Django sends connection_created next.
            self._announced = self._lease.session.announcements
            self._announced.begin()

    def _settle(self, session: Session) -> None:
        """Take what Django and the receivers sent for the session's baseline."""
        announced, self._announced = self._announced, None
        for query, args in announced.to_repeat() if announced else ():
            with self.cursor() as cursor:
                cursor.execute(query, args)
        self._said = session.announcements.said
        if not self._reusing or session.dirty:
            session.settle()

    @cached_property
    def mysql_server_data(self) -> dict[str, Any]:
        """Django's probe of the server, made once a pool instead of once a thread."""
        if self.alias == NO_DB_ALIAS:
            return super().mysql_server_data
        pool = self._pool(self.get_connection_params())
        data = pool.server_data
        if data is None:
            data = pool.server_data = super().mysql_server_data
        return data

    def create_cursor(self, name: str | None = None) -> Any:
        if self._lease is None:
            return super().create_cursor(name)
        if self._multiplexes:
            return self._counted_cursor()
        return LeasedCursor(self.connection.cursor(), self)

    def _close(self) -> None:
        """End the lease: the session goes back to the pool, or is discarded if it is not clean."""
        lease, self._lease = self._lease, None
        session, self.connection = self.connection, None
        self._suspended = False
        if lease is not None:
            self._rest()
            self._ended = lease
            end_lease(lease, self._discarding)
        elif session is not None:
            with self.wrap_database_errors:
                close_session(self.alias, session)

    def _rest(self) -> None:
        """Remember whether the wrapper is left as Django's connect() made it."""
        settings = self.settings_dict
        self._rested = not self.in_atomic_block and self.autocommit == settings["AUTOCOMMIT"]
        self._rested_settings = _wrapper_settings(settings)

    def is_usable(self) -> bool:
        usable = self.connection is not None and super().is_usable()
        if not usable and self._lease is not None:
            self._lease.session.broken = "not usable"
        return usable

    def close_if_health_check_failed(self) -> None:
        """Django's; what it closes is discarded, or the next lease might get it again."""
        if not self.health_check_done:
            self._discarding = "health check failed"
        try:
            super().close_if_health_check_failed()
        finally:
            self._discarding = None

    def forget_session(self) -> None:
        """In a forked child: session, transaction and hooks are the parent's; start afresh."""
        self._lease = self._ended = self._next_lease = self.connection = None
        self._rested = self._suspended = False
        self._former = None
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = False
        self.savepoint_ids, self.atomic_blocks, self.run_on_commit = [], [], []
