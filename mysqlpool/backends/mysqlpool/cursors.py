"""Cursors that die with the lease they were made on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from django.db import InterfaceError
from django.db.backends.mysql import base as mysql

from .tenure import Tenure, TransactionTenure

__all__ = ["CountedCursor", "LeasedCursor"]


class LeasedCursor(mysql.CursorWrapper):
    """Django's cursor wrapper, which sends nothing once its lease has ended.

    mysqlclient's cursor would go on working, on a session that somebody else
    holds by then.  After the release every method, and an unfinished iterator,
    raises ``django.db.InterfaceError``; ``close()`` is harmless, and what the
    last statement told (``rowcount``, ``lastrowid``, ...) can still be read.
    """

    def __init__(self, cursor: Any, tenure: Tenure) -> None:
        super().__init__(cursor)
        self._tenure = tenure
        self._lease = tenure.lease

    def _revoked(self) -> bool:
        return self._tenure.lease is not self._lease

    def _refuse_revoked(self) -> None:
        # mysqlclient refuses to use a closed cursor itself, with ProgrammingError.
        if self._revoked() and self.cursor.connection is not None:
            raise InterfaceError(
                f"This cursor's lease on {self._tenure.wrapper.alias!r} has ended, and its session "
                "may be another thread's by now. Get a new cursor from connection.cursor()."
            )

    def execute(self, query: Any, args: Any = None) -> Any:
        self._refuse_revoked()
        set_up = self._tenure.set_up
        if set_up is not None and set_up.is_known(query, args):
            return 0
        return super().execute(query, args)

    def executemany(self, query: Any, args: Any) -> Any:
        self._refuse_revoked()
        return super().executemany(query, args)

    def close(self) -> None:
        # After the lease, an unread result belongs to a session that was discarded.
        if not self._revoked():
            self.cursor.close()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.cursor, name)
        if callable(value):
            self._refuse_revoked()
        return value

    def __iter__(self) -> Iterator[Any]:
        for row in self.cursor:
            self._refuse_revoked()
            yield row
            self._refuse_revoked()


class CountedCursor(LeasedCursor):
    """A cursor that tells its tenure when it is closed, or lost to the garbage collector."""

    _tenure: TransactionTenure
    _counted = False

    def __init__(self, cursor: Any, tenure: TransactionTenure) -> None:
        super().__init__(cursor, tenure)
        tenure.cursor_opened()
        self._counted = True

    def close(self) -> None:
        if self._revoked():
            return
        try:
            self.cursor.close()
        finally:
            if self._counted:
                self._counted = False
                self._tenure.cursor_closed()

    def __del__(self) -> None:
        if not self._counted or self._revoked():
            return
        if threading.get_ident() == self._tenure.wrapper._thread_ident:
            self._tenure.cursor_closed()
        else:  # Another thread's collector must neither count nor end the lease: only note it.
            self._tenure.strays.append(self._lease)
