"""A wrapper whose transaction waits for its first statement, and has no lease until then.

``atomic`` and ``set_autocommit(False)`` begin a transaction.  Where this wrapper has no session at
that moment, it notes that one is wanted, and *waits*: the first statement leases a session, on
which the transaction begins with that statement (see `mysqlpool.session.block`).  A block without a
statement never leases.

It does not wait where somebody hears of the beginning, or of what connecting says: then the lease
is taken at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import InterfaceError
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.mysql import base as mysql
from django.db.backends.utils import debug_transaction
from django.utils.asyncio import async_unsafe

from mysqlpool.aliases.alias_pool import AliasPool
from mysqlpool.session.session import Session

from . import observers
from .tenure import RESTING, Tenure

__all__ = ["LateTransactions"]

# What Django's connect() sets back, as a new connection is outside of a transaction, and what the
# transaction of a receiver changes.
_TRANSACTION = (
    "autocommit",
    "in_atomic_block",
    "savepoint_ids",
    "atomic_blocks",
    "needs_rollback",
    "run_on_commit",
    "run_commit_hooks_on_set_autocommit_on",
    "commit_on_exit",
    "_waits",
)


class LateTransactions(mysql.DatabaseWrapper):
    """The part of our wrapper that begins transactions late."""

    # What the other part has.
    tenure: Tenure
    _is_setting_up: bool
    _is_somebody_listening: Callable[[], bool]
    _is_beginning_heard: Callable[[], bool]
    _are_statements_heard: Callable[[], bool]
    _knows_settings: Callable[[], bool]
    _note_settings: Callable[[], None]
    _connect_or_lease: Callable[[], None]
    _make_ready: Callable[..., None]
    _pool: Callable[[], AliasPool]

    _waits = False
    """Whether a transaction was begun that has no lease yet."""

    _waiting_savepoints: tuple[str, ...] = ()
    """The savepoints in it, the outermost first."""

    def _may_wait(self) -> bool:
        """Whether nobody would notice that a transaction has no lease before it needs one."""
        if self.connection is not None or self.in_atomic_block or self._waits:
            return False
        if self._is_setting_up or self.alias == NO_DB_ALIAS or not self.settings_dict["AUTOCOMMIT"]:
            return False
        if self._is_beginning_heard():
            return False
        if self.tenure.standing is not RESTING:
            if self._is_somebody_listening():
                return False
            if not self._knows_settings():
                self._note_settings()
        return bool(self._pool().settings.begin != "autocommit")

    @async_unsafe
    def _is_for_waiting(self, autocommit: bool) -> bool:
        """Whether autocommit was switched without a lease: a transaction waits, or has waited."""
        if self._waits:
            self.validate_no_atomic_block()
            if autocommit:
                self._end_waiting()
            else:
                self._log("BEGIN")
            return True
        if autocommit or not self._may_wait():
            return False
        self._be_as_connected()
        with debug_transaction(self, "BEGIN"):
            self._waits, self.autocommit = True, False
        return True

    def _be_as_connected(self) -> None:
        """Be as Django's connect() leaves a wrapper, also one that was closed in a block."""
        if self.tenure.standing is not RESTING:
            self.autocommit = True
            self.needs_rollback = self.closed_in_transaction = False

    def _end_waiting(self) -> None:
        if observers.onlookers:  # SET autocommit, off and on.
            observers.not_sent(self, 2)
        self._waits, self._waiting_savepoints = False, ()
        self.autocommit = True
        if self.run_commit_hooks_on_set_autocommit_on:
            self.run_and_clear_commit_hooks()
            self.run_commit_hooks_on_set_autocommit_on = False

    def _end_nothing(self, verb: str, end: Callable[[], None]) -> None:
        """A transaction ends that never began. The next one waits, too.

        Django's own ``end`` does nothing without a connection. Who patched it hears of it so, and
        may have leased and ended a transaction by then.
        """
        end()
        if not self._waits:
            return
        if observers.onlookers:
            observers.not_sent(self, 1 + len(self._waiting_savepoints))
        self._waiting_savepoints = ()
        self._log(verb)

    def _log(self, verb: str) -> None:
        """Have the log of queries tell what is not sent."""
        with debug_transaction(self, verb):
            pass

    def _close_waiting(self) -> None:
        """Close, while a transaction waits: as Django's does with a connection in one."""
        self._waits, self._waiting_savepoints = False, ()
        if self.in_atomic_block:
            self.closed_in_transaction = self.needs_rollback = True

    def _lease_outside_of_transaction(self) -> None:
        """Lease a session as ever, as a wrapper that has begun nothing.

        Receivers may begin, end and hook into transactions of their own then.
        """
        state = self.__dict__
        saved = {name: getattr(self, name) for name in _TRANSACTION}
        try:
            self._waits = self.in_atomic_block = self.needs_rollback = False
            self.autocommit = True
            self.savepoint_ids, self.atomic_blocks, self.run_on_commit = [], [], []
            self._connect_or_lease()
        finally:
            state.update(saved)  # At once: a signal handler may raise in any call.

    def _begin_waiting(self) -> None:
        """There is a lease: begin on it what waits. Where that fails it goes on waiting."""
        lease = self.tenure.lease
        if lease is None:  # A signal handler, or a finalizer, has released it by now.
            raise InterfaceError(
                f"The connection {self.alias!r} was released before its transaction began."
            )
        self._make_ready(self._begin_on, lease.session)
        self._waits, self._waiting_savepoints = False, ()

    def _begin_on(self, session: Session) -> None:
        with self.wrap_database_errors:
            self._set_autocommit(False)  # type: ignore[attr-defined]
            for sid in self._waiting_savepoints:
                session.savepoint(self.ops.savepoint_create_sql(sid))

    @contextmanager
    def temporary_connection(self) -> Iterator[Any]:
        """Django's. A transaction that waits has a connection afterwards, and needs it."""
        if not self._waits:
            with super().temporary_connection() as cursor:
                yield cursor
            return
        with self.cursor() as cursor:
            yield cursor

    # Savepoints

    def _savepoint(self, sid: str) -> None:
        if self._waits and not self._is_savepoint_heard():
            self._waiting_savepoints += (sid,)
        else:
            super()._savepoint(sid)  # type: ignore[misc]

    def _savepoint_rollback(self, sid: str) -> None:
        position = self._place_of(sid)
        if position is None:
            super()._savepoint_rollback(sid)  # type: ignore[misc]
        else:
            self._drop_savepoints(position + 1)

    def _savepoint_commit(self, sid: str) -> None:
        position = self._place_of(sid)
        if position is None:
            super()._savepoint_commit(sid)  # type: ignore[misc]
        else:
            self._drop_savepoints(position)

    def _drop_savepoints(self, position: int) -> None:
        """Forget the savepoints from there on: neither they nor what ends them is ever sent."""
        if observers.onlookers:
            observers.not_sent(self, 1 + len(self._waiting_savepoints) - position)
        self._waiting_savepoints = self._waiting_savepoints[:position]

    def _place_of(self, sid: str) -> int | None:
        """Where a savepoint stands among those that wait, if nobody hears that it ends."""
        if sid not in self._waiting_savepoints or self._is_savepoint_heard():
            return None
        return self._waiting_savepoints.index(sid)

    def _is_savepoint_heard(self) -> bool:
        """Whether somebody sees the statements that Django sends about savepoints."""
        return bool(
            self.queries_logged
            or self.execute_wrappers
            or observers.present is not None
            or self._are_statements_heard()
        )
