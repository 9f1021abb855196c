"""Django's MySQL backend with sessions leased from the process's pool.

Connecting leases and closing releases; everything else is inherited.  What
Django and the receivers of ``connection_created`` send when a session is opened
is its baseline: it is sent once per session and stays with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import MySQLdb
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.mysql import base as mysql
from django.db.backends.signals import connection_created
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from mysqlpool.aliases import registry
from mysqlpool.aliases.alias_pool import AliasPool
from mysqlpool.aliases.kinds import make_pool
from mysqlpool.aliases.opening import close_session, copied, open_session
from mysqlpool.conf.settings import parse_pool_settings
from mysqlpool.pool import Lease
from mysqlpool.session.session import Session

from .creation import DatabaseCreation
from .cursors import CountedCursor, LeasedCursor
from .tenure import RESTING, TENURES, SetUp, Tenure, TransactionTenure

__all__ = ["DatabaseWrapper"]

# What a pool depends on: a change of any of these asks for another pool.
_identity = itemgetter("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS", "AUTOCOMMIT")
# What else a wrapper takes from its settings when it connects.
_wrapper_settings = itemgetter("CONN_HEALTH_CHECKS", "CONN_MAX_AGE")


class DatabaseWrapper(mysql.DatabaseWrapper):
    """Django's wrapper, whose connection is a lease on one of the process's sessions."""

    uses_mysqlpool = True
    creation_class = DatabaseCreation

    _params: dict[str, Any]
    _params_identity: tuple[Any, ...] | None = None  # what they were made from
    _left: tuple[Any, ...] | None = None
    """The settings with which the wrapper was closed as connect() would leave it, if it was."""

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self.tenure = Tenure(self)
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

    def _has_params(self) -> bool:
        return bool(self._params_identity == _identity(self.settings_dict))

    # Leasing

    def connect(self) -> None:
        """Lease a session and, if it is new, set it up; nothing stays leased when that fails.

        Django's ``connect()`` brings the wrapper to the state that it was closed in, where that
        was outside of a transaction.  So it is called for a wrapper's first lease, for a new
        session, and where receivers of ``connection_created`` listen; else the lease is enough.
        """
        if self.tenure.lease is not None:  # Called by hand: that is a new connection in Django.
            self.tenure.abandon("connected anew")
        if self._needs_no_set_up():
            self._begin(self._take_lease(self._params))
        else:
            self._connect()

    def _begin(self, lease: Lease) -> None:
        """Hold a lease; its session is set up if it is new, or told what this wrapper was told.

        Nobody may use the session before that, so whatever interrupts it has the lease discarded.
        """
        if not lease.session.settled:
            self._connect(lease)
        elif self.tenure.standing is RESTING and (
            self.tenure.said != lease.session.announcements.said
        ):
            self._say_again(lease)
        else:
            self.tenure.hold(lease)
            self.errors_occurred, self.health_check_done = False, True

    def _needs_no_set_up(self) -> bool:
        """Whether Django's connect() would change nothing, because nothing changed since."""
        if not self._has_params():
            return False
        if self.tenure.standing is RESTING:
            return True
        as_left = self._left is not None and self._left == _wrapper_settings(self.settings_dict)
        return as_left and not connection_created.receivers

    def _say_again(self, lease: Lease) -> None:
        """Tell this session what receivers told the wrapper's former one."""
        session: Session = lease.session
        with self._setting_up() as set_up:
            self.tenure.hold(lease)
            self.errors_occurred, self.health_check_done = False, True
            set_up.announcements = session.announcements
            set_up.announcements.begin()
            for query, args in self.tenure.said:
                with self.cursor() as cursor:
                    cursor.execute(query, args)
            self._settle(session, set_up)

    @async_unsafe
    def _connect(self, lease: Lease | None = None) -> None:
        with self._setting_up() as set_up:
            if lease is not None:
                self.tenure.hold(lease)
            super().connect()
            if self.tenure.lease is not None:
                self._settle(self.tenure.lease.session, set_up)

    @contextmanager
    def _setting_up(self) -> Iterator[SetUp]:
        """While the session is made ready for this wrapper; nothing stays leased if that fails."""
        set_up = self.tenure.set_up = SetUp()
        try:
            yield set_up
        except BaseException:
            self.tenure.abandon("set-up failed")
            raise
        finally:
            self.tenure.set_up = None

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Lease a session; Django's connections without a database are opened for themselves."""
        if self.alias == NO_DB_ALIAS:
            return open_session(self.alias, conn_params)
        lease = self.tenure.lease
        if lease is None:
            lease = self._take_lease(conn_params)
            self.tenure.hold(lease)
        if self.tenure.set_up is not None:
            self.tenure.set_up.reused = lease.session.settled
        return lease.session

    def _take_lease(self, params: dict[str, Any]) -> Lease:
        while True:
            pool = self._pool(params)
            lease = pool.lease(self.tenure.former)
            if lease is not None:
                self._take_tenure(pool.settings.lease)
                return lease

    def _take_tenure(self, mode: str) -> None:
        """Have the tenure that the pool's lease mode asks for; it may have changed meanwhile."""
        kind = TENURES[mode]
        if type(self.tenure) is not kind:
            before, self.tenure = self.tenure, kind(self)
            self.tenure.set_up, self.tenure.opening = before.set_up, before.opening

    def _pool(self, params: dict[str, Any]) -> AliasPool:
        alias, identity = self.alias, self._params_identity
        pool = registry.current(alias)
        if pool is not None and pool.serves(identity):
            return pool
        return registry.pool_for(
            alias, identity, lambda: make_pool(alias, identity, params, self.settings_dict)
        )

    def init_connection_state(self) -> None:
        """Set a new session up. One that was leased before has been set up already."""
        set_up, lease = self.tenure.set_up, self.tenure.lease
        if set_up is None or not set_up.reused:
            super().init_connection_state()
        if set_up is not None and lease is not None:
            # Django sends connection_created next.
            set_up.announcements = lease.session.announcements
            set_up.announcements.begin()

    def _settle(self, session: Session, set_up: SetUp) -> None:
        """Make what Django and the receivers sent the session's baseline."""
        announced, set_up.announcements = set_up.announcements, None
        for query, args in announced.to_repeat() if announced else ():
            with self.cursor() as cursor:
                cursor.execute(query, args)
        self.tenure.said = session.announcements.said
        if not set_up.reused or session.dirty:
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

    # Between leasing and releasing

    def _cursor(self, name: str | None = None) -> Any:
        tenure = self.tenure
        opening, tenure.opening = tenure.opening, True
        try:
            if tenure.standing is RESTING:
                self._resume()
            return super()._cursor(name)  # type: ignore[misc]
        finally:
            self.tenure.opening = opening

    def _resume(self) -> None:
        """Lease again after a rest: what ensure_connection() does, in fewer steps."""
        pool, lease = registry.current(self.alias), None
        try:
            if pool is not None and pool.serves(_identity(self.settings_dict)):
                lease = pool.lease(self.tenure.former)
            if lease is None:
                self.connect()
            else:  # Others may have had the session meanwhile, also the one that was preferred.
                self._begin(lease)
        except MySQLdb.Error:
            with self.wrap_database_errors:
                raise

    def create_cursor(self, name: str | None = None) -> Any:
        tenure = self.tenure
        if tenure.lease is None:
            return super().create_cursor(name)
        if isinstance(tenure, TransactionTenure):
            return CountedCursor(self.connection.cursor(), tenure)
        return LeasedCursor(self.connection.cursor(), tenure)

    @property
    def is_suspended(self) -> bool:
        """Whether a release has something to end here, though there is no connection."""
        return self.tenure.standing is RESTING

    def get_autocommit(self) -> bool:
        """Django's; a resting wrapper knows without a lease."""
        if self.tenure.standing is RESTING:
            return bool(self.autocommit)
        return bool(super().get_autocommit())

    def set_autocommit(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        """Django's. Switching it on is also the end of an ``atomic`` block, and of its lease."""
        super().set_autocommit(autocommit, *args, **kwargs)
        if autocommit:
            self.tenure.rest_if_free()

    # Releasing

    def close(self) -> None:
        """Django's. A tenure that rests ends, too."""
        try:
            super().close()
        except BaseException:
            if self.connection is None:  # Interrupted before the lease was ended, perhaps.
                self.tenure.abandon("interrupted")
            raise
        if self.tenure.standing is RESTING:
            self._remember_how_left()
            self.tenure.end()

    def _close(self) -> None:
        """End the lease: the session goes back to the pool, or is discarded if it is not clean."""
        session, self.connection = self.connection, None
        if self.tenure.lease is not None:
            self._remember_how_left()
            self.tenure.end()
        elif session is not None:
            with self.wrap_database_errors:
                close_session(self.alias, session)

    def _remember_how_left(self) -> None:
        """Remember whether the wrapper is left as Django's connect() made it."""
        settings = self.settings_dict
        as_made = not self.in_atomic_block and self.autocommit == settings["AUTOCOMMIT"]
        self._left = _wrapper_settings(settings) if as_made else None

    def is_usable(self) -> bool:
        usable = self.connection is not None and super().is_usable()
        if not usable and self.tenure.lease is not None:
            self.tenure.lease.session.broken = "not usable"
        return usable

    def close_if_health_check_failed(self) -> None:
        """Django's. A session that it closes is discarded: the next lease might get it again."""
        if not self.health_check_done:
            self.tenure.distrust = "health check failed"
        try:
            super().close_if_health_check_failed()
        finally:
            self.tenure.distrust = None

    def forget_session(self) -> None:
        """In a forked child: session, transaction and hooks are the parent's; start afresh."""
        self.tenure.forget()
        self._left = None
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = False
        self.savepoint_ids, self.atomic_blocks, self.run_on_commit = [], [], []
