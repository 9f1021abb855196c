"""Transaction leasing: the lease ends with the statement or the transaction.

With ``lease="transaction"`` a wrapper *suspends* its lease as soon as nothing
binds it to its session: autocommit is on, no ``atomic`` block and no cursor is
open, no error is unresolved, and the session is clean.  The next statement
resumes it, or takes another one if somebody has the session by then.  A session
that is not clean stays with its thread (it is pinned) until the release, and is
discarded then.

A suspended wrapper has no connection, as a closed one has none, but is still
connected in Django's sense: ``connection_created`` is not sent again for a lease
on a session that was set up before.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import MySQLdb

from .cursors import LeasedCursor

if TYPE_CHECKING:
    from mysqlpool.leasing import Lease
    from mysqlpool.session import Session

__all__ = ["CountedCursor", "Multiplexing"]


class CountedCursor(LeasedCursor):
    """A cursor that tells its wrapper when it is closed, or lost to the garbage collector."""

    _counted = True

    def close(self) -> None:
        if self._revoked():
            return
        try:
            self.cursor.close()
        finally:
            if self._counted:
                self._counted = False
                self._wrapper.cursor_closed()

    def __del__(self) -> None:
        if not self._counted or self._revoked():
            return
        wrapper: Any = self._wrapper
        if threading.get_ident() == wrapper._thread_ident:
            wrapper.cursor_closed()
        else:  # Another thread's collector must neither count nor end the lease.
            wrapper.strays.append(self._lease)


class Multiplexing:
    """The part of the wrapper that ends and takes leases between statements."""

    if TYPE_CHECKING:
        alias: str
        autocommit: bool
        in_atomic_block: bool
        errors_occurred: bool
        connection: Any
        settings_dict: dict[str, Any]
        _lease: Lease | None
        _ended: Lease | None
        _next_lease: Lease | None
        _connecting: bool
        _rested: bool

        wrap_database_errors: Any

        def connect(self) -> None: ...

        def _resumed(self) -> Lease | None: ...

        def _hold(self, lease: Lease) -> None: ...

        def _rest(self) -> None: ...

    _multiplexes = False  # the pool's lease mode is "transaction"
    _suspended = False  # without a lease, but connected in Django's sense
    _former: Session | None = None  # of the suspended lease
    _cursors = 0  # open ones of the present lease
    _opening = False  # a cursor is about to be opened
    strays: deque[Lease | None]
    """The leases of cursors that another thread's garbage collector found."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.strays = deque()

    def _cursor(self, name: str | None = None) -> Any:
        opening, self._opening = self._opening, True
        try:
            if self._suspended:
                self._reconnect()
            return super()._cursor(name)  # type: ignore[misc]
        finally:
            self._opening = opening

    def _counted_cursor(self) -> CountedCursor:
        cursor = CountedCursor(self.connection.cursor(), self)  # type: ignore[arg-type]
        self._cursors += 1
        return cursor

    def cursor_closed(self) -> None:
        """One of the present lease's cursors is closed."""
        self._cursors -= 1
        while self.strays:
            self._cursors -= self.strays.popleft() is self._lease
        self._suspend_if_free()

    def close(self) -> None:
        """Django's. What was suspended is closed, too."""
        super().close()  # type: ignore[misc]
        if self._suspended:
            self._rest()
        self._suspended, self._former = False, None

    @property
    def is_suspended(self) -> bool:
        """Whether a release has something to end here, though there is no connection."""
        return self._suspended

    def get_autocommit(self) -> bool:
        """Django's; a suspended wrapper knows without a lease."""
        if self._suspended:
            return self.autocommit
        autocommit: bool = super().get_autocommit()  # type: ignore[misc]
        return autocommit

    def set_autocommit(self, autocommit: bool, *args: Any, **kwargs: Any) -> None:
        """Django's. Switching it on is also the end of an ``atomic`` block, and of its lease."""
        super().set_autocommit(autocommit, *args, **kwargs)  # type: ignore[misc]
        if autocommit and self._multiplexes:
            self._suspend_if_free()

    def _reconnect(self) -> None:
        # What ensure_connection() does, in fewer steps: between statements it counts.
        try:
            lease = self._resumed()
            if lease is None or lease.session is not self._former:
                self._next_lease = lease
                self.connect()
            else:
                self._hold(lease)
        except MySQLdb.Error:
            with self.wrap_database_errors:
                raise

    def _suspend_if_free(self) -> None:
        lease = self._lease
        if (
            lease is None
            or self._cursors
            or self.in_atomic_block
            or not self.autocommit
            or self.errors_occurred
            or self._connecting
            or self._opening
            or not self._multiplexes
        ):
            return
        session = lease.session
        if session.dirty:
            lease.pin(session.dirty)
        elif session.is_at_rest():
            self._former = session
            self._lease = self.connection = None
            self._rested = self._suspended = bool(self.settings_dict["AUTOCOMMIT"])
            self._ended = lease
            lease.offer()
