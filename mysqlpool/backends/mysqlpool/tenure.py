"""Tenure: a wrapper's time with a lease, and the rule by which it ends.

With ``lease="task"`` a tenure lasts until the release.  With
``lease="transaction"`` it *rests* as soon as nothing binds the wrapper to its
session: autocommit is on, no ``atomic`` block and no cursor is open, no error is
unresolved, and the session is clean.  The next statement takes another lease,
on the session that it had if that is idle.  A session that is not clean stays
with its thread (it is pinned) until the release, and is discarded then.

Where the wrapper stands says ``standing``:

    CLOSED   --hold--------> LEASED
    LEASED   --end---------> CLOSED
    LEASED   --rest_if_free-> RESTING   with lease="transaction" only
    RESTING  --hold--------> LEASED
    RESTING  --end---------> CLOSED

A resting wrapper has no connection, as a closed one has none, but is still
connected in Django's sense: ``connection_created`` is not sent again for a lease
on a session that was set up before.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mysqlpool.pool import Lease
from mysqlpool.session.announcements import Announcements, Said
from mysqlpool.session.session import Session

__all__ = ["TENURES", "SetUp", "Standing", "Tenure", "TransactionTenure"]


class Standing(enum.Enum):
    """What a wrapper's tenure is at present."""

    CLOSED = enum.auto()
    LEASED = enum.auto()
    RESTING = enum.auto()


# These are compared at each lease, where a look-up in the class would cost more than that.
CLOSED, LEASED, RESTING = Standing


@dataclass(slots=True)
class SetUp:
    """What is being sent while Django connects.

    ``reused`` tells whether the session was set up by an earlier lease, and ``announcements``,
    while the receivers of ``connection_created`` run, what they told it then.
    """

    reused: bool = False
    announcements: Announcements | None = None

    def is_known(self, query: Any, args: Any) -> bool:
        """Whether this is said by a receiver, and was said to the session before."""
        return self.announcements is not None and self.announcements.is_known(query, args)


class Tenure:
    """The tenure of ``lease="task"``. ``wrapper`` is Django's, whose ``connection`` is set here."""

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper
        self.standing = CLOSED
        self.lease: Lease | None = None
        self.cursors = 0  # open ones of the present lease, where they are counted
        self.former: Session | None = None
        """The session to be preferred."""
        self.said: Sequence[Said] = ()
        """What receivers of ``connection_created`` told this wrapper's last session."""
        self.set_up: SetUp | None = None
        self.distrust: str | None = None
        """Why the session that is being closed is not to be kept."""
        self.opening = False
        """A cursor is about to be opened, for which the lease has to be there."""

    def hold(self, lease: Lease) -> None:
        """Begin with a lease; it lasts until the end."""
        self.lease = lease
        self.cursors = 0
        self.standing = LEASED
        self.wrapper.connection = lease.session

    def end(self) -> None:
        """End the lease: the session goes back, or is discarded if it cannot be restored."""
        lease, self.lease = self.lease, None
        self.standing, self.former = CLOSED, None
        if lease is None:
            return
        try:
            reason = self.distrust or lease.session.restore()
        except BaseException:
            lease.discard("interrupted")
            raise
        if reason is None:
            lease.give_back()
        else:
            lease.discard(reason)

    def abandon(self, reason: str) -> None:
        """Discard the session of a lease, if there is one, without asking what state it is in."""
        lease, self.lease, self.wrapper.connection = self.lease, None, None
        self.standing = CLOSED
        if lease is not None:
            lease.discard(reason)

    def forget(self) -> None:
        """In a forked child: the lease and its session are the parent's."""
        self.lease = self.former = self.wrapper.connection = None
        self.standing = CLOSED

    def rest_if_free(self) -> None:
        """A statement or a transaction has ended. That does not end a task's lease."""


class TransactionTenure(Tenure):
    """The tenure of ``lease="transaction"``, which may end between two statements."""

    def __init__(self, wrapper: Any) -> None:
        super().__init__(wrapper)
        self.strays: deque[Lease | None] = deque()
        """The leases of cursors that another thread's garbage collector found."""

    def cursor_opened(self) -> None:
        self.cursors += 1

    def cursor_closed(self) -> None:
        """One of the present lease's cursors is closed."""
        self.cursors -= 1
        while self.strays:
            self.cursors -= self.strays.popleft() is self.lease
        self.rest_if_free()

    def rest_if_free(self) -> None:
        """End the lease, unless something binds the wrapper to its session."""
        lease, wrapper = self.lease, self.wrapper
        if (
            lease is None
            or self.cursors
            or wrapper.in_atomic_block
            or not wrapper.autocommit
            or wrapper.errors_occurred
            or self.set_up is not None
            or self.opening
        ):
            return
        session: Session = lease.session
        if session.dirty:
            lease.pin(session.dirty)
        elif session.is_at_rest():
            self.former = session
            self.lease = wrapper.connection = None
            # A wrapper that begins with autocommit off has to be connected anew.
            self.standing = RESTING if wrapper.settings_dict["AUTOCOMMIT"] else CLOSED
            lease.give_back()


TENURES: Mapping[str, type[Tenure]] = MappingProxyType(
    {"task": Tenure, "transaction": TransactionTenure}
)
