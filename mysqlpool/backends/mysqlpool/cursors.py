"""Cursors that die with the lease they were made on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError
from django.db.backends.mysql import base as mysql

if TYPE_CHECKING:
    from .base import DatabaseWrapper

__all__ = ["LeasedCursor"]


class LeasedCursor(mysql.CursorWrapper):
    """Django's cursor wrapper, which sends nothing once its lease has ended.

    mysqlclient's cursor would go on working, on a session that somebody else
    holds by then.  After the release every method, and an unfinished iterator,
    raises ``django.db.InterfaceError``; ``close()`` is harmless, and what the
    last statement told (``rowcount``, ``lastrowid``, ...) can still be read.
    """

    def __init__(self, cursor: Any, wrapper: DatabaseWrapper) -> None:
        super().__init__(cursor)
        self._wrapper = wrapper
        self._lease = wrapper._lease

    def _revoked(self) -> bool:
        return self._wrapper._lease is not self._lease

    def _refuse_revoked(self) -> None:
        # mysqlclient refuses to use a closed cursor itself, with ProgrammingError.
        if self._revoked() and self.cursor.connection is not None:
            raise InterfaceError(
                f"This cursor's lease on {self._wrapper.alias!r} has ended, and its session may "
                "be another thread's by now. Get a new cursor from connection.cursor()."
            )

    def execute(self, query: Any, args: Any = None) -> Any:
        self._refuse_revoked()
        announced = self._wrapper._announced
        if announced is not None and announced.is_known(query, args):
            return 0
        return super().execute(query, args)

    def executemany(self, query: Any, args: Any) -> Any:
        self._refuse_revoked()
        return super().executemany(query, args)

    def close(self) -> None:
        # An unread result of a former lease is the discarded session's.
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
