"""Django's MySQL backend with sessions leased from the process's pool.

Connecting leases and closing releases; everything else is inherited.  Django's
own statements are sent once a session, as they are the same for every holder.
What an engine made of this one and the receivers of ``connection_created`` send
is the set-up of one holder: see `mysqlpool.session.set_up`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, cast

import MySQLdb
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.mysql import base as mysql
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper
from django.utils.asyncio import async_unsafe
from django.utils.functional import cached_property

from mysqlpool.aliases import registry
from mysqlpool.aliases.access import Access, Identity, resolved
from mysqlpool.aliases.alias_pool import AliasPool
from mysqlpool.aliases.hosts import Hosts, at, connect_to_one, servers_of
from mysqlpool.aliases.kinds import make_pool
from mysqlpool.aliases.opening import CONNECT_TIMEOUT, close_session, open_session
from mysqlpool.conf.servers import Server, one_server, parse_servers, written
from mysqlpool.conf.settings import parse_pool_settings
from mysqlpool.pool import Lease
from mysqlpool.session.driver_state import copied
from mysqlpool.session.parameters import SECRETS, hide, public
from mysqlpool.session.session import Session

from . import observers
from .client import DatabaseClient
from .creation import DatabaseCreation
from .hearing import Methods, djangos, others_behind
from .late import LateTransactions
from .tenure import CLOSED, RESTING, TENURES, Tenure

__all__ = ["DatabaseWrapper"]

# What connection parameters are made from.
_PARAMETERS = ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS", "AUTOCOMMIT")
_settings_of = itemgetter(*_PARAMETERS)
# What else a wrapper takes from its settings when it connects.
_wrapper_settings = itemgetter("CONN_HEALTH_CHECKS", "CONN_MAX_AGE")


class DatabaseWrapper(LateTransactions):
    """Django's wrapper, whose connection is a lease on one of the process's sessions."""

    uses_mysqlpool = True
    client_class = DatabaseClient
    creation_class = DatabaseCreation

    _settings: tuple[Any, ...] | None = None  # those that the next five were made from
    _pool_key: object = None
    _params: Mapping[str, Any] | None = None
    _isolation_level: str | None = None  # which Django notes beside the parameters
    _own_access: Access | None = None  # with these parameters
    _known_to: AliasPool | None = None  # the pool that was told of these settings
    _access: Access | None = None  # of the present tenure, or of the last one
    _given: dict[str, Any] | None = None  # the parameters that connect() has just asked for
    _is_setting_up = False
    _left: tuple[Any, ...] | None = None
    """The settings with which the wrapper was closed as connect() would leave it, if it was."""
    _failure: MySQLdb.Error | None = None
    """By what the next try to lease fails, without a try."""

    has_others_behind = False
    """Whether another engine stands between ours and Django's, and wants to be heard."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.has_others_behind = others_behind(cls, DatabaseWrapper, _heard())

    def __init__(self, settings_dict: dict[str, Any], alias: str = DEFAULT_DB_ALIAS) -> None:
        super().__init__(settings_dict, alias)
        self.tenure = Tenure(self)
        pool = registry.current(alias)
        known = pool is not None and pool.serves(_key(settings_dict))
        if alias != NO_DB_ALIAS and not known and not _is_left_to_the_app():
            # Bad input is refused at start, not at the first query.
            parse_pool_settings(alias, settings_dict)

    def get_connection_params(self) -> dict[str, Any]:
        """Django's, without the pool's own options; made again only when settings changed.

        The password is a string whose repr does not tell it, or the callable of the settings.
        """
        if not self._knows_settings():
            self._note_settings()
        patched = mysql.DatabaseWrapper.get_connection_params is not _PARAMETERS_OF_DJANGO
        if patched or self.has_others_behind:
            # They may answer otherwise each time, such as with a new token.
            self._params = self._own_access = None
            return self._make_params()
        if self._params is None:
            self._params, self._isolation_level = self._make_params(), self.isolation_level
        # At each call, as Django does: an engine may have put another one here since.
        self.isolation_level = self._isolation_level
        return dict(self._params)

    def _make_params(self) -> dict[str, Any]:
        with self._without_servers() as servers:
            params: dict[str, Any] = super().get_connection_params()
        if servers:
            params["host"] = written(servers)
        params.pop("pool", None)
        # mysqlclient would turn autocommit off and Django on again: two round trips.
        params.setdefault("autocommit", self.settings_dict["AUTOCOMMIT"])
        hide(params)
        return params

    @contextmanager
    def _without_servers(self) -> Iterator[tuple[Server, ...]]:
        """In this block Django finds no server where ``HOST`` lists several, which are given."""
        settings = self.settings_dict
        servers = parse_servers(f"DATABASES[{self.alias!r}]", settings)
        if servers is None:
            yield ()
            return
        is_one = len(servers) == 1
        shown = one_server(settings, "") if is_one else {**settings, "HOST": "", "PORT": ""}
        try:
            self.settings_dict = _Shown(shown, settings)
            yield () if is_one else servers
        finally:
            self.settings_dict = settings

    def _knows_settings(self) -> bool:
        return bool(self._settings == _settings_of(self.settings_dict))

    def _note_settings(self) -> None:
        settings = {name: copied(self.settings_dict[name]) for name in _PARAMETERS}
        hide(settings["OPTIONS"])
        self._settings = _settings_of(hide(settings, ["PASSWORD"]))
        self._pool_key = _key(self.settings_dict)
        self._params = self._own_access = self._known_to = None

    def present_settings(self) -> tuple[Any, ...]:
        """What this wrapper would connect with now. Its pool asks, from any thread."""
        settings_dict = self.settings_dict
        settings: tuple[Any, ...] = _settings_of(getattr(settings_dict, "original", settings_dict))
        return settings

    def present_access(self) -> Access | None:
        """How its sessions are opened. Its pool asks, from any thread."""
        return self._access

    # Leasing

    def connect(self) -> None:
        """Lease a session and make it ready; nothing stays leased when that fails.

        Django's ``connect()`` brings the wrapper to the state that it was closed in, where that
        was outside of a transaction.  So it is called for a wrapper's first lease, for a new
        session, and where somebody listens: an engine that overrides a method which takes part in
        connecting, or receivers of ``connection_created``.  Else the lease is enough.
        """
        if self._waits:
            self._lease_outside_of_transaction()
            self._begin_waiting()
        else:
            self._connect_or_lease()

    def _connect_or_lease(self) -> None:
        if self.tenure.lease is not None:  # Called by hand: that is a new connection in Django.
            self.tenure.abandon("connected anew")
        if self._needs_no_set_up():
            if self.tenure.standing is not RESTING:
                self._access = self._own_access
            self._begin(self._take_lease(self._access))
        else:
            self._connect()

    def _needs_no_set_up(self) -> bool:
        """Whether Django's connect() would change nothing, because nothing changed since."""
        if not self._knows_settings():
            return False
        if self.tenure.standing is RESTING:
            return self._access is not None
        if self._own_access is None:
            return False
        as_left = self._left is not None and self._left == _wrapper_settings(self.settings_dict)
        is_patched = _connecting() != _CONNECTING_OF_DJANGO
        return as_left and not (is_patched or self._is_somebody_listening())

    def _is_somebody_listening(self) -> bool:
        """Whether connect() is heard by receivers, an engine, or who patched this wrapper."""
        return bool(
            connection_created.receivers or _CONNECTING.are_replaced(self) or _djangos() != _DJANGOS
        )

    def _is_beginning_heard(self) -> bool:
        """Whether an engine, or who patched one, hears of a transaction that begins."""
        return _BEGINNING.are_replaced(self)

    def _are_statements_heard(self) -> bool:
        """Whether an engine, or who patched one, hears of the statements that Django sends."""
        return (
            _STATEMENTS.are_replaced(self)
            or CursorWrapper.execute is not _EXECUTE
            or _code_of_cursor() is not _CODE_OF_CURSOR
        )

    def _speaks_after_connecting(self) -> bool:
        """Whether an engine made of this one may speak as connect() or ensure_connection() ends."""
        kind = type(self)
        return (
            kind.connect is not DatabaseWrapper.connect
            or kind.ensure_connection is not DatabaseWrapper.ensure_connection
        )

    def _begin(self, lease: Lease) -> None:
        """Hold a lease, and bring its session to this wrapper's set-up.

        Nobody may use the session before that, so whatever interrupts it has the lease discarded.
        """
        session, set_up = lease.session, self.tenure.set_up
        if (
            session.carried != set_up.said
            or session.has_baseline != set_up.has_baseline
            or set_up.driver is not None
        ):
            self._make_ready(self._bring, lease)
        else:
            self.tenure.hold(lease)
            self.errors_occurred, self.health_check_done = False, True

    def _bring(self, lease: Lease) -> None:
        """Bring a session to the set-up that this wrapper said when it connected, if it did."""
        session, set_up = lease.session, self.tenure.set_up
        self.tenure.hold(lease)
        self.errors_occurred, self.health_check_done = False, True
        if set_up.has_baseline and not session.has_baseline:
            session.begin_set_up(self._new_parameters)
            with session.baseline(), self._unheard():
                self.isolation_level = session.identity.isolation_level
                mysql.DatabaseWrapper.init_connection_state(self)
            session.end_set_up()
        session.bring(set_up, self._new_parameters)
        self._must_still_hold(lease)
        self.tenure.set_up = set_up

    @contextmanager
    def _unheard(self) -> Iterator[None]:
        """In this block neither execute wrappers nor the log of queries hear anything: on Django's
        engine this is not sent now.
        """
        heard, self.execute_wrappers = self.execute_wrappers, []
        logged, self.queries_log = self.queries_log, deque(maxlen=self.queries_log.maxlen)
        try:
            yield
        finally:
            self.execute_wrappers, self.queries_log = heard, logged

    @async_unsafe
    def _connect(self) -> None:
        self._set_up_by(super().connect)

    def _set_up_by(self, connect: Callable[[], None]) -> None:
        """Have Django connect. The outermost one sees the end of the set-up."""
        if self._is_setting_up:
            connect()
            return
        self._is_setting_up = True
        try:
            self._make_ready(self._see_set_up, connect)
        finally:
            self._is_setting_up = False

    def _see_set_up(self, connect: Callable[[], None]) -> None:
        connect()
        lease = self.tenure.lease
        if lease is not None and lease.session.recording is not None:
            with self.wrap_database_errors:  # Django's own may have ended: see _connect_as_engine.
                set_up = lease.session.end_set_up()
            self._must_still_hold(lease)
            self.tenure.set_up = set_up

    def _must_still_hold(self, lease: Lease) -> None:
        """Raise InterfaceError where a signal handler or a finalizer has ended this lease by now.

        What it leaves, a closed session and what could be read of it, is nobody's connection.
        """
        if self.tenure.lease is not lease:
            raise InterfaceError(
                f"The connection {self.alias!r} was released while it was being connected."
            )

    def _connect_as_engine(self) -> None:
        """Connect, where an engine speaks to the session after connect() or ensure_connection()."""
        if self.tenure.standing is CLOSED and self._speaks_after_connecting():
            self._set_up_by(self.ensure_connection)

    def _make_ready(self, work: Callable[..., object], *args: Any) -> None:
        """Have this work make a session ready. Where it fails the session is discarded.

        It is no context manager: one that an alarm interrupts as it begins or ends may be closed
        by the garbage collector, and would discard what is leased then.
        """
        try:
            self._at_the_session(work, *args)
        except BaseException:
            self.tenure.abandon("set-up failed")
            raise

    @async_unsafe
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Lease a session that was connected with these parameters, or connect one.

        Django's connections without a database are opened for themselves.
        """
        hide(conn_params)
        if self.alias == NO_DB_ALIAS:
            return self._open_without_database(conn_params)
        lease = self.tenure.lease
        if lease is None:
            self._access, self._given = self._access_for(conn_params), conn_params
            try:
                lease = self._take_lease(self._access)
            finally:
                self._given = None
            try:  # Before it is held: what others said is not to be seen by a signal handler.
                lease.session.begin_set_up(self._new_parameters)
            except BaseException:
                lease.discard("interrupted")
                raise
            self.tenure.hold(lease)
            self._must_still_hold(lease)
        return lease.session

    def _open_without_database(self, params: dict[str, Any]) -> Session:
        """Of several servers it is the first that answers: where test databases are made."""
        alias = self.alias
        connect_args = parse_pool_settings(alias, self.settings_dict).connect_args
        servers = servers_of(params)
        if not servers:
            return open_session(alias, resolved(alias, params, connect_args))

        def connect(server: Server, left: int) -> Session:
            bounded = {"connect_timeout": CONNECT_TIMEOUT, **at(params, server)}
            return open_session(alias, resolved(alias, bounded, connect_args))

        return connect_to_one(alias, Hosts("first", 0), servers, connect)

    def _access_for(self, params: dict[str, Any]) -> Access:
        """How sessions with these parameters are opened: the settings', or an engine's own."""
        if not self._knows_settings():  # An engine makes all parameters itself.
            self._note_settings()
        isolation_level = getattr(self, "isolation_level", None)
        is_own = params == self._params
        own = self._own_access
        if is_own and own is not None and own.identity.isolation_level == isolation_level:
            return own
        identity = Identity(copied(public(params)), isolation_level)
        is_fixed = not any(callable(params.get(name)) for name in SECRETS)
        access = Access(
            identity, self._settings or (), lambda: self._fresh(identity, params), is_fixed
        )
        if is_own:
            identity = self._pool().welcome(self, access)
            access = self._own_access = replace(access, identity=identity)
        return access

    def _fresh(self, identity: Identity, params: dict[str, Any]) -> Mapping[str, Any]:
        """What the parameters are now, as the token in them may have been renewed."""
        if self._given is not None:
            return self._given
        fresh = self.get_connection_params()
        return fresh if public(fresh) == identity.params else params

    def _new_parameters(self) -> Mapping[str, Any]:
        """With which a session for this wrapper would be connected now."""
        assert self._access is not None
        lease = self.tenure.lease
        server = lease.session.server if lease is not None else None
        return self._pool().parameters(self._access, server)

    def _take_lease(self, access: Access | None) -> Lease:
        assert access is not None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        while True:
            pool = self._pool()
            if pool is not self._known_to:
                pool.welcome(self, access)
                self._known_to = pool
            take = observers.leasing(self, pool) if observers.onlookers else pool.lease
            lease = take(access, self.tenure.former)
            if lease is not None:
                self._take_tenure(pool.settings.lease)
                return lease

    def _take_tenure(self, mode: str) -> None:
        """Have the tenure that the pool's lease mode asks for; it may have changed meanwhile."""
        kind = TENURES[mode]
        if type(self.tenure) is not kind:
            before, self.tenure = self.tenure, kind(self)
            self.tenure.set_up, self.tenure.opening = before.set_up, before.opening

    def _pool(self) -> AliasPool:
        alias, key = self.alias, self._pool_key
        pool = registry.current(alias)
        if pool is None or not pool.serves(key):
            pool = registry.pool_for(
                alias, key, lambda: make_pool(key, parse_pool_settings(alias, self.settings_dict))
            )
        return pool

    def init_connection_state(self) -> None:
        """Django's, for a session that has not heard it yet, or was told otherwise just now."""
        lease = self.tenure.lease
        session: Session | None = lease.session if lease is not None else None
        heard = self.has_others_behind or _djangos() != _DJANGOS
        if session is None or session.recording is None or heard:
            super().init_connection_state()
        elif not session.has_baseline or session.recording.said:
            with session.baseline():
                super().init_connection_state()

    @cached_property
    def mysql_server_data(self) -> dict[str, Any]:
        """Django's probe of the server, made once a pool instead of once a thread."""
        if self.alias == NO_DB_ALIAS:
            return super().mysql_server_data
        if _are_refusals_reported() and self._is_refused():
            return dict(_NOT_ASKED)
        lease = self.tenure.lease
        recording = lease.session.recording if lease is not None else None
        if recording is not None and recording.said:  # An engine spoke before Django asks.
            return super().mysql_server_data
        # An engine is not asked for its parameters once more, where there is a session that knows.
        params = self.get_connection_params() if lease is None else lease.session.identity.params
        where: tuple[object, ...] = tuple(str(params.get(name)) for name in _SERVER)
        if lease is not None and servers_of(params):
            where = (*where, lease.session.server)
        known = self._pool().server_data
        data = known.get(where)
        if data is None:
            data = known[where] = super().mysql_server_data
        return data

    def _is_refused(self) -> bool:
        try:
            parse_pool_settings(self.alias, self.settings_dict)
        except ImproperlyConfigured:
            return True
        return False

    # Between leasing and releasing

    def _cursor(self, name: str | None = None) -> Any:
        if (observers.watched in self.execute_wrappers) is (observers.present is None):
            observers.adjust(self.execute_wrappers)
        tenure = self.tenure
        opening, tenure.opening = tenure.opening, True
        try:
            if tenure.standing is RESTING:
                self._resume()
            elif self.connection is None:
                if self._is_closed_in_block():  # On Django's engine the first statement says so.
                    self.validate_no_broken_transaction()
                self._connect_as_engine()
            elif self._waits and not opening:  # A signal handler raised as the lease was taken.
                self._begin_waiting()
            return super()._cursor(name)  # type: ignore[misc]
        finally:
            self.tenure.opening = opening

    def _resume(self) -> None:
        """Lease again after a rest: what ensure_connection() does, in fewer steps.

        Where that cannot connect, and somebody stands around Django's connecting who may try it
        again, that one is told so by what fails: see `_fail_in_djangos_way`.
        """
        pool, access, lease = self._known_to, self._access, None
        is_known = pool is registry.current(self.alias) and self._knows_settings()
        try:
            if is_known and pool is not None and access is not None:
                take = observers.leasing(self, pool) if observers.onlookers else pool.lease
                lease = take(access, self.tenure.former)
            if lease is None:
                self.connect()
            else:  # Others may have had the session meanwhile, also the one that was preferred.
                self._begin(lease)
                if self._waits:
                    self._begin_waiting()
        except MySQLdb.Error as error:
            if self.tenure.standing is RESTING and _TRYING.are_replaced(self):
                self._fail_in_djangos_way(error)
                return
            with self.wrap_database_errors:
                raise

    def _fail_in_djangos_way(self, error: MySQLdb.Error) -> None:
        """Fail amid Django's connecting by what failed already, once. Who tries again connects."""
        self.tenure.end()  # The connection is lost.
        self._failure = error
        try:
            self._connect_as_engine()
            self.ensure_connection()
        finally:
            self._failure = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """In this block a request of this thread for a lease ends after so many seconds, if the
        pool's own timeout is longer. SQLAlchemy's own pool classes know their own one only.
        """
        if not self._knows_settings():
            self._note_settings()
        with self._pool().within(seconds):
            yield

    @property
    def is_suspended(self) -> bool:
        """Whether a release has something to end here, though there is no connection."""
        return self.tenure.standing is RESTING or self._waits

    @async_unsafe
    def get_autocommit(self) -> bool:
        """Django's; a wrapper that rests, or whose transaction waits, knows without a lease."""
        if self.tenure.standing is RESTING or self._waits or self._is_closed_in_block():
            return bool(self.autocommit)
        if self._may_wait():  # Perhaps to begin a transaction. A new connection is outside of one.
            self._be_as_connected()
            return True
        if self.connection is None:
            self._connect_as_engine()
        return bool(super().get_autocommit())

    def _is_closed_in_block(self) -> bool:
        """Whether it was closed in an ``atomic`` block that has not ended yet."""
        return bool(self.in_atomic_block and self.closed_in_transaction)

    def set_autocommit(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        """Django's. Switching it on is also the end of an ``atomic`` block, and of its lease.

        A block that lost its connection ends without another one: what Django would connect for
        has no transaction, and nobody waits for a lease who has an error to raise. Switching it
        off waits for the first statement, where it can.
        """
        if self._is_for_waiting(autocommit):
            return
        if autocommit and self._would_connect_with_autocommit():
            self._be_as_connected()
            return
        if self.connection is None:
            self._connect_as_engine()
        super().set_autocommit(autocommit, *args, **kwargs)
        if autocommit:
            self.tenure.rest_if_free()

    def run_and_clear_commit_hooks(self) -> None:
        """Django's. The lease of the block ends before its hooks, which may take long or fail."""
        self.tenure.rest_if_free()
        super().run_and_clear_commit_hooks()

    def _would_connect_with_autocommit(self) -> bool:
        """Whether a wrapper that is not connected finds autocommit on when it is, and has no hooks
        to run for that, nor an engine that wants to hear of it.
        """
        return (
            self.connection is None
            and self.tenure.standing is CLOSED
            and bool(self.settings_dict["AUTOCOMMIT"])
            and not self.in_atomic_block
            and not self.run_commit_hooks_on_set_autocommit_on
            and _setting_autocommit(type(self)) is _setting_autocommit(DatabaseWrapper)
        )

    @property
    def allow_thread_sharing(self) -> bool:
        """Django's, without its lock, which reading a number does not need.

        From Python 3.14 on a signal handler that raises as ``with lock:`` begins leaves the lock
        taken (see `mysqlpool.pool.locks`), and Django looks here for each cursor.
        """
        count: int = self._thread_sharing_count  # type: ignore[attr-defined]
        return count > 0

    def inc_thread_sharing(self) -> None:
        """Django's. The lease of a wrapper that is shared outlasts the thread that took it."""
        super().inc_thread_sharing()
        self.tenure.share()

    def dec_thread_sharing(self) -> None:
        """Django's. After the last one the lease ends again with its thread."""
        super().dec_thread_sharing()
        if not self.allow_thread_sharing:
            self.tenure.unshare()

    def _commit(self) -> None:
        observer, end = observers.present, super()._commit  # type: ignore[misc]
        if self._waits:
            self._end_nothing("COMMIT", end)
        elif observer is None or not self._has_transaction():
            self._at_the_session(end)
        else:
            self._at_the_session(observer.ending, self, "COMMIT", end)
        self.tenure.rest_if_free()  # It may have been begun by a statement.

    def _rollback(self) -> None:
        observer, end = observers.present, super()._rollback  # type: ignore[misc]
        if self._waits:
            self._end_nothing("ROLLBACK", end)
        elif observer is None or not self._has_transaction():
            self._at_the_session(end)
        else:
            self._at_the_session(observer.ending, self, "ROLLBACK", end)
        self.tenure.rest_if_free()  # It may have been begun by a statement.

    def _set_autocommit(self, autocommit: bool) -> None:
        self._at_the_session(super()._set_autocommit, autocommit)  # type: ignore[misc]

    def _at_the_session(self, use: Callable[..., object], *args: Any) -> None:
        """Use the session. Whoever ends the lease meanwhile has it discarded."""
        before, self.tenure.opening = self.tenure.opening, True
        try:
            use(*args)
        finally:
            self.tenure.opening = before  # Of another tenure, where the lease mode has changed.

    def _has_transaction(self) -> bool:
        """Whether there is a session, and in it something to end."""
        if self.connection is None:
            return False
        lease = self.tenure.lease
        return lease is None or lease.session.has_transaction()

    # Releasing

    def close(self) -> None:
        """Django's. A tenure that rests ends, too."""
        try:
            super().close()
        except BaseException:
            if self.connection is None:  # Interrupted before the lease was ended, perhaps.
                self.tenure.abandon("interrupted")
            raise
        if self.tenure.standing is RESTING or self._waits:
            self._remember_how_left()
            self._close_waiting()
            self.tenure.end()

    def _close(self) -> None:
        """End the lease: the session goes back to the pool, or is discarded if it is not clean."""
        session, self.connection = self.connection, None
        if self.tenure.lease is not None or self.tenure.standing is RESTING:
            self._remember_how_left()
            self.tenure.end()
        elif session is not None:
            with self.wrap_database_errors:
                close_session(self.alias, session)

    def _remember_how_left(self) -> None:
        """Remember whether the wrapper is left as Django's connect() made it."""
        settings = self.settings_dict
        as_made = (
            self.autocommit == settings["AUTOCOMMIT"]
            and not self.in_atomic_block
            and not self.needs_rollback
        )
        self._left = _wrapper_settings(settings) if as_made else None

    def is_usable(self) -> bool:
        """Django's. A resting wrapper is connected, so it leases and asks."""
        if self.tenure.standing is not RESTING and not self._waits:
            return self._is_usable()
        try:
            with self.cursor():
                return self._is_usable()
        except DatabaseError:
            return False

    def _is_usable(self) -> bool:
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

    def close_if_unusable_or_obsolete(self) -> None:
        """Django's, which closes each connection outside of ``atomic``: none outlasts a request.

        A tenure that rests, and a transaction by hand that waits, are connected in its sense, too.
        """
        super().close_if_unusable_or_obsolete()
        # As `is_suspended`, which would cost each request two calls more.
        if (self.tenure.standing is RESTING or self._waits) and not self.in_atomic_block:
            self.close()

    def forget_session(self) -> None:
        """In a forked child: session, transaction and hooks are the parent's; start afresh."""
        self.tenure.forget()
        self._left = self._known_to = None
        self._is_setting_up = False
        self._waits, self._waiting_savepoints = False, ()
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = False
        self.savepoint_ids, self.atomic_blocks, self.run_on_commit = [], [], []


class _Shown(dict[str, Any]):
    """Settings as Django's method is to find them; whoever else looks wants the ``original``."""

    def __init__(self, shown: Mapping[str, Any], original: Mapping[str, Any]) -> None:
        super().__init__(shown)
        self.original = original


# Of the parameters, those on which the answers of Django's probe depend.
_SERVER = ("host", "port", "unix_socket", "sql_mode", "init_command")


def _is_left_to_the_app() -> bool:
    """Whether mysqlpool's app will tell in a moment what is wrong with any alias.

    It does so when all models are imported, and models make wrappers as they are.
    """
    return apps.apps_ready and not apps.ready and apps.is_installed("mysqlpool")


def _are_refusals_reported() -> bool:
    """Whether this is ``manage.py check``, which mysqlpool's app has let start with them."""
    return apps.ready and any(
        getattr(config, "reports_refusals", False) for config in apps.get_app_configs()
    )


# What Django's checks of models and of the database find of a server that cannot be asked, because
# the alias is refused: nothing to say. Since 6.1 Django asks for it at every ``manage.py check``.
_NOT_ASKED: Mapping[str, Any] = {
    "version": "8.4.0",
    "sql_mode": "STRICT_TRANS_TABLES",
    "default_storage_engine": "InnoDB",
    "sql_auto_is_null": False,
    "lower_case_table_names": False,
    "has_zoneinfo_database": True,
}


def _key(settings: Mapping[str, Any]) -> object:
    """What of an alias's settings its pool is made from."""
    return copied(settings["OPTIONS"].get("pool")), settings["CONN_HEALTH_CHECKS"]


_setting_autocommit = attrgetter("_set_autocommit")


def _djangos() -> tuple[Any, ...]:
    return mysql.DatabaseWrapper.init_connection_state, BaseDatabaseWrapper.init_connection_state


def _code_of_cursor() -> object:
    """ddtrace leaves the function, and puts other code into it."""
    return getattr(mysql.DatabaseWrapper.cursor, "__code__", None)


# Who patches one of Django's own, as agents do, wants to be heard, and speaks for one holder.
_DJANGOS = tuple(map(djangos, _djangos()))
_EXECUTE = djangos(CursorWrapper.execute)
# The code of all that Django decorates like this, also where an agent was here before.
_CODE_OF_CURSOR: object = cast(Any, async_unsafe(_code_of_cursor)).__code__
_PARAMETERS_OF_DJANGO = djangos(mysql.DatabaseWrapper.get_connection_params)


def _of_django(*names: str) -> Callable[[], tuple[Any, ...]]:
    """How to get these methods as they are now, behind ours."""
    return partial(attrgetter(*names), mysql.DatabaseWrapper)


# A block need not be leased at once for these: they are called when its first statement connects.
_connecting = _of_django("connect", "set_autocommit", "_set_autocommit")
_CONNECTING_OF_DJANGO = tuple(map(djangos, _connecting()))

# On Django's engine each of these has a connection in a block.
_DIVIDING = (
    "set_autocommit",
    "_set_autocommit",
    "commit",
    "rollback",
    "_savepoint",
    "_savepoint_rollback",
    "_savepoint_commit",
)
# Django's own _commit() and _rollback() are called without one, too: agents patch these.
_BEGINNING = Methods(
    DatabaseWrapper,
    [*_DIVIDING, "_commit", "_rollback"],
    behind=_of_django(*_DIVIDING),
)
_CONNECTING = Methods(
    DatabaseWrapper,
    [
        "check_settings",
        "connect",
        "ensure_connection",
        "get_connection_params",
        "get_new_connection",
        "init_connection_state",
        "set_autocommit",
        "_set_autocommit",
    ],
)
_TRIED_AGAIN = ("ensure_connection", "connect", "get_new_connection")
_TRYING = Methods(
    DatabaseWrapper,
    _TRIED_AGAIN,
    behind=_of_django(*_TRIED_AGAIN),
)
_MAKING_CURSORS = (
    "cursor",
    "_cursor",
    "create_cursor",
    "make_cursor",
    "make_debug_cursor",
    "_prepare_cursor",
    "_savepoint",
    "_savepoint_rollback",
    "_savepoint_commit",
)
_STATEMENTS = Methods(
    DatabaseWrapper,
    _MAKING_CURSORS,
    behind=_of_django(*_MAKING_CURSORS),
)


def _heard() -> Iterator[str]:
    """The methods whose replacement is heard."""
    return chain(_BEGINNING.names, _CONNECTING.names, _TRYING.names, _STATEMENTS.names)
