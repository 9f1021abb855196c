"""Cursors that die with the lease they were made on."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Protocol

from django.db import InterfaceError
from MySQLdb import Error
from MySQLdb.cursors import BaseCursor

__all__ = ["CountedCursor", "GuardedCursor", "Tenure", "guarded"]


@functools.cache
def guarded(kind: type[Any], guard: type[GuardedCursor]) -> type[Any]:
    """The class of cursors that are guarded, and otherwise are of this kind."""
    methods: Any = attrgetter("close", "_discard")
    reads_on = issubclass(kind, BaseCursor) and methods(kind) == methods(BaseCursor)
    return type(
        kind.__name__, (guard, kind), {"__module__": kind.__module__, "_reads_on": reads_on}
    )


class Tenure(Protocol):
    """Whose a session is at present, as far as cursors tell of their end."""

    def cursor_lost(self, turn: int, *, read_on: bool = False) -> None: ...


class _Block(Protocol):
    """A transaction of the session's that begins with its first statement, as far as needed."""

    unanswered: bool

    def note(self, error: BaseException) -> None: ...


class _Session(Protocol):
    """The session, as far as its cursors know it."""

    alias: str
    at_work: bool
    turn: int

    @property
    def recording(self) -> object: ...

    @property
    def block(self) -> _Block | None: ...

    def knows(self, sql: bytes) -> bool: ...

    def keeps(self, sql: str) -> bool: ...

    def note_failure(self, error: BaseException) -> None: ...

    def note_unread_row(self) -> None: ...


class GuardedCursor:
    """What a session makes of the driver's cursors, of whatever class.

    The driver's cursor would go on working after the lease, on a session that somebody else holds
    by then. After the release every method, and an unfinished iterator, raises
    ``django.db.InterfaceError``. ``close()`` is harmless, and what the last statement told
    (``rowcount``, ``lastrowid``, ...) can still be read.

    The session learns of each error, also of those that come while rows are read.

    A ``kind`` stands behind it in the order of methods: see `guarded`.
    """

    connection: _Session | None
    _mogrify: Any
    _turn: int  # the session's when the cursor was made

    def _refuse_revoked(self) -> None:
        # The driver refuses to use a closed cursor itself, with ProgrammingError.
        session = self.connection
        if session is not None and session.turn != self._turn:
            raise InterfaceError(
                f"This cursor's lease on {session.alias!r} has ended, and its session may be "
                "another thread's by now. Get a new cursor from connection.cursor()."
            )

    def _tell(self, error: Error) -> None:
        session = self.connection
        if session is not None and session.turn == self._turn:
            session.note_failure(error)

    def execute(self, query: Any, args: Any = None) -> Any:
        session = self.connection
        if session is None:  # The driver refuses it.
            return super().execute(query, args)  # type: ignore[misc]
        if session.turn != self._turn:
            self._refuse_revoked()
        before, session.at_work = session.at_work, True  # No call: a signal handler may release.
        try:
            if self._is_known(session, query, args):
                return self._say_nothing(query)
            result = super().execute(query, args)  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise
        finally:
            session.at_work = before
        if (block := session.block) is not None:
            block.unanswered = False
        return result

    def _is_known(self, session: _Session, query: Any, args: Any) -> bool:
        """Whether nothing is to be sent now: the session has been told this, or keeps it."""
        if session.block is not None:
            return args is None and isinstance(query, str) and session.keeps(query)
        return session.recording is not None and session.knows(self._mogrify(query, args))

    def _say_nothing(self, query: Any) -> int:
        """Be as after a statement that was executed and has no result."""
        kind: Any = self
        kind._discard()
        kind.description = kind.description_flags = kind._result = None
        kind.rowcount = kind.warning_count = kind.lastrowid = kind.rownumber = 0
        kind._rows, kind._executed = (), kind._mogrify(query)
        return 0

    def executemany(self, query: Any, args: Any) -> Any:
        self._refuse_revoked()
        try:
            return super().executemany(query, args)  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise

    def callproc(self, procname: Any, args: Any = ()) -> Any:
        session = self.connection
        if session is None:  # The driver refuses it.
            return super().callproc(procname, args)  # type: ignore[misc]
        if session.turn != self._turn:
            self._refuse_revoked()
        before, session.at_work = session.at_work, True
        try:
            return super().callproc(procname, args)  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise
        finally:
            session.at_work = before

    def mogrify(self, query: Any, args: Any = None) -> Any:
        self._refuse_revoked()
        return super().mogrify(query, args)  # type: ignore[misc]

    def nextset(self) -> Any:
        self._refuse_revoked()
        try:
            return super().nextset()  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise

    def fetchone(self) -> Any:
        self._refuse_revoked()
        try:
            return super().fetchone()  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise

    def fetchmany(self, size: Any = None) -> Any:
        self._refuse_revoked()
        try:
            return super().fetchmany(size)  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise

    def fetchall(self) -> Any:
        self._refuse_revoked()
        try:
            return super().fetchall()  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise

    def scroll(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_revoked()
        try:
            return super().scroll(*args, **kwargs)  # type: ignore[misc]
        except Error as error:
            self._tell(error)
            raise

    def __iter__(self) -> Iterator[Any]:
        self._refuse_revoked()
        rows = super().__iter__()  # type: ignore[misc]  # May be the cursor itself.
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Error as error:
                self._tell(error)
                raise
            yield row
            self._refuse_revoked()

    def close(self) -> None:
        session = self.connection
        if session is not None and session.turn != self._turn:
            # An unread result belongs to a session that was discarded.
            self.connection = None
            return
        try:
            super().close()  # type: ignore[misc]
        except Error as error:  # Of a result that nobody read. Django passes over it.
            if session is not None:  # The cursor has none any more.
                session.note_unread_row()
                if session.block is not None:
                    session.block.note(error)
            raise


class CountedCursor(GuardedCursor):
    """A cursor that tells when it is closed, or lost to the garbage collector.

    It is for a session whose lease may end between two statements.
    """

    _tenure: Tenure
    _reads_on: bool  # whether its close() reads all answers of the session to their end

    def close(self) -> None:
        session, read_on = self.connection, False
        try:
            super().close()
            read_on = self._reads_on
        finally:
            if session is not None and session.turn == self._turn:
                # Perhaps with an iterator, see there.
                self._tenure.cursor_lost(self._turn, read_on=read_on)

    def __del__(self) -> None:
        session = self.connection
        if session is not None and session.turn == self._turn:
            self._tenure.cursor_lost(self._turn)
