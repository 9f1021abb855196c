"""What the pool raises: errors that Django's and SQLAlchemy's users catch already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy.exc
from django.db.utils import OperationalError, ProgrammingError

__all__ = [
    "Holder",
    "PoolError",
    "PoolExhausted",
    "PoolTimeout",
    "SessionStateError",
    "TooManyWaiters",
    "UnscopedLease",
]

HOLDERS_SHOWN = 10

IDLE_REMEDY = (
    "An idle session serves nobody until it is released: let auto_close_db or "
    "ReleaseConnectionsMiddleware end the task's lease, or set "
    'OPTIONS["pool"]["lease"] = "transaction".'
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A thread that had a lease when the pool was asked.

    ``location`` is where the thread was at that time, and ``leased_at`` where it took its lease:
    file, line and function of the innermost frame that is neither Django's nor mysqlpool's.
    ``waits`` is true for a thread that waited for a second lease of the same pool. ``pinned`` tells
    why ``lease="transaction"`` could not end the lease before the release. ``idle`` is true with
    ``lease="task"`` where the session had no statement under way and no transaction open then.
    """

    thread_name: str
    thread_id: int
    held_seconds: float
    location: str
    leased_at: str
    waits: bool
    pinned: str | None = None
    idle: bool = False

    def __str__(self) -> str:
        text = f"{self.thread_name} has held one for {self.held_seconds:.1f} s: {self.location}"
        if self.pinned:
            text += f"; pinned by {self.pinned}"
        if self.idle:
            text += "; idle, nobody released it"
        return f"{text}; it waits for a second one" if self.waits else text


def _as_it_is(error: Exception) -> tuple[Any, ...]:
    """How to pickle and copy an error whose ``__init__`` takes something else than its ``args``.

    What a worker process raises is pickled, and multiprocessing.Pool waits for ever for a result
    that cannot be unpickled.
    """
    return _made, (type(error), *error.args), vars(error)


def _made(kind: type[Exception], *args: Any) -> Exception:
    return kind.__new__(kind, *args)


class PoolError(OperationalError):
    """The pool could not do what it was asked to. A ``django.db.OperationalError``."""


class PoolExhausted(PoolError):
    """All sessions that the pool may have are in use.

    ``alias`` names the pool, ``limit`` is the number of sessions it may have, ``in_use`` how many
    were leased, being opened or being closed, and ``waiting`` how many other threads waited.
    ``seconds`` is how long this request waited. ``holders`` are the leases, longest first.
    ``refusal`` is the driver's error where the last attempt to open a session was refused.
    """

    def __init__(
        self,
        alias: str,
        *,
        limit: float,
        in_use: int,
        waiting: int,
        seconds: float,
        holders: tuple[Holder, ...] = (),
        refusal: Exception | None = None,
    ) -> None:
        self.alias = alias
        self.limit = limit
        self.in_use = in_use
        self.waiting = waiting
        self.seconds = seconds
        self.holders = holders
        self.refusal = refusal
        super().__init__(self._text())

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_is(self)

    def _summary(self) -> str:
        raise NotImplementedError

    def _reason(self) -> str:
        in_use = f"{self.in_use} of {self.limit} sessions are in use"
        if self.refusal is None:
            return in_use
        error = ": ".join(map(str, self.refusal.args))
        refused = f"the server refused the last attempt to open one with {error}"
        return f"{refused}; {in_use}" if self.in_use else refused

    def _text(self) -> str:
        lines = [f"{self._summary()}; {self._reason()}"]
        lines += [f"  {holder}" for holder in self.holders[:HOLDERS_SHOWN]]
        hidden = len(self.holders) - HOLDERS_SHOWN
        return "\n".join([*lines, f"  and {hidden} more"] if hidden > 0 else lines)


class PoolTimeout(PoolExhausted, sqlalchemy.exc.TimeoutError):
    """No session came free within the timeout. Also a ``sqlalchemy.exc.TimeoutError``."""

    def _summary(self) -> str:
        wait = "thread waits" if self.waiting == 1 else "threads wait"
        return (
            f"pool {self.alias!r} had no session within {self.seconds:.1f} s "
            f"({self.waiting} more {wait})"
        )

    def _text(self) -> str:
        text = super()._text()
        if any(holder.idle for holder in self.holders):
            return f"{text}\n{IDLE_REMEDY}"
        return text


class TooManyWaiters(PoolExhausted):
    """As many threads wait already as ``max_waiting`` allows. Raised at once."""

    def _summary(self) -> str:
        return f"pool {self.alias!r} has {self.waiting} waiters already, which is max_waiting"


class UnscopedLease(ProgrammingError):
    """A thread asked for a lease that nobody would release. Raised with ``"unscoped": "raise"``.

    ``alias`` names the pool, ``thread_name`` the thread, and ``leased_at`` the file, the line and
    the function.
    """

    def __init__(self, alias: str, thread_name: str, leased_at: str) -> None:
        self.alias = alias
        self.thread_name = thread_name
        self.leased_at = leased_at
        super().__init__(
            f"thread {thread_name!r} leases from pool {alias!r} outside of any request and any "
            f"scope, at {leased_at}: decorate what it runs with auto_close_db, or let "
            "PooledThreadPoolExecutor run it"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_is(self)


class SessionStateError(ProgrammingError):
    """A statement asks for what an earlier one left in the session, but that was not this holder's.

    Raised for ``LAST_INSERT_ID()``, ``ROW_COUNT()``, ``FOUND_ROWS()``, ``SHOW WARNINGS`` and the
    like as the first statement of a lease, and with ``lease="transaction"`` also for a read of a
    user variable. The statement is not sent.
    """

    def __init__(self, reads: str) -> None:
        super().__init__(
            f"{reads} tells of an earlier statement, but this is the first one of its lease: the "
            "answer would come from somebody else's session. Run both statements with one cursor, "
            "or inside transaction.atomic()."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_is(self)
