"""Tenure: a wrapper's time with a lease, and the rule by which it ends.

With ``lease="task"`` a tenure lasts until the release.  With
``lease="transaction"`` it *rests* as soon as nothing binds the wrapper to its
session: autocommit is on, no ``atomic`` block and no cursor is open, and the
session is clean.  The next statement takes another lease, on the session that it
had if that is idle.  A session that is not clean stays with its thread (it is
pinned) until the release, and is discarded then, as what its holder left in it is
lost with it.  One that broke and had nothing of the kind is discarded at once.

Where the wrapper stands says ``standing``:

    CLOSED   --hold--------> LEASED
    LEASED   --end---------> CLOSED
    LEASED   --rest_if_free-> RESTING   with lease="transaction" only
    RESTING  --hold--------> LEASED
    RESTING  --end---------> CLOSED

A resting wrapper has no connection, as a closed one has none, but is still
connected in Django's sense: ``connection_created`` is not sent again.  The
set-up that its holder said when it connected goes along: the session of the next
lease is brought to it.  Where that cannot be done the lease stays, too.
"""

from __future__ import annotations

import enum
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mysqlpool.pool import Lease
from mysqlpool.session.session import Session
from mysqlpool.session.set_up import NO_SET_UP, SetUp

__all__ = ["TENURES", "Standing", "Tenure", "TransactionTenure"]


class Standing(enum.Enum):
    """What a wrapper's tenure is at present."""

    CLOSED = enum.auto()
    LEASED = enum.auto()
    RESTING = enum.auto()


# These are compared at each lease, where a look-up in the class would cost more than that.
CLOSED, LEASED, RESTING = Standing


class Tenure:
    """The tenure of ``lease="task"``. ``wrapper`` is Django's, whose ``connection`` is set here."""

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper
        self.standing = CLOSED
        self.lease: Lease | None = None
        self.former: Session | None = None
        """The session to be preferred."""
        self.set_up: SetUp = NO_SET_UP
        """What was said while Django connected this wrapper, if it is connected."""
        self.distrust: str | None = None
        """Why the session that is being closed is not to be kept."""
        self.opening = False
        """A session is being made ready, a cursor is about to be opened, or a transaction to end,
        on the lease that is there. Who ends that meanwhile, a signal handler or a finalizer, has
        its session discarded.
        """

    def hold(self, lease: Lease) -> None:
        """Begin with a lease; it lasts until the end."""
        self.lease = lease
        self.standing = LEASED
        self.wrapper.connection = lease.session
        if self.wrapper._thread_sharing_count:
            lease.share()

    def end(self) -> None:
        """End the lease: the session goes back, or is discarded if it cannot be restored."""
        lease, self.lease = self.lease, None
        self.standing, self.former, self.set_up = CLOSED, None, NO_SET_UP
        if lease is None:
            return
        self._hand_back(lease)

    def _hand_back(self, lease: Lease) -> None:
        """Undo what the session's holder left; it goes back, or is discarded if it has to be."""
        session: Session = lease.session
        try:
            session.end_turn()
            reason = self.distrust or ("in use" if self.opening else session.restore())
            if reason is not None:
                lease.discard(reason)
                return
            if session.rolled_back:
                lease.note_rollback()
            lease.give_back(to_renew=session.dirty is not None)
        except BaseException:
            lease.discard("interrupted")
            raise

    def abandon(self, reason: str) -> None:
        """Discard the session of a lease, if there is one, without asking what state it is in."""
        lease, self.lease, self.wrapper.connection = self.lease, None, None
        self.standing, self.set_up = CLOSED, NO_SET_UP
        if lease is not None:
            lease.session.end_turn()
            lease.discard(reason)

    def share(self) -> None:
        """Other threads use the wrapper, too: its lease outlasts the thread that took it."""
        if (lease := self.lease) is not None:
            lease.share()

    def unshare(self) -> None:
        """The wrapper is its own thread's again, and so is its lease."""
        if (lease := self.lease) is not None:
            lease.unshare(self.wrapper._thread_ident == threading.get_ident())

    def forget(self) -> None:
        """In a forked child: the lease and its session are the parent's."""
        if self.lease is not None:
            self.lease.session.end_turn()
        self.lease = self.former = self.wrapper.connection = None
        self.standing, self.set_up, self.opening = CLOSED, NO_SET_UP, False

    def rest_if_free(self) -> None:
        """A statement or a transaction has ended. That does not end a task's lease."""


class TransactionTenure(Tenure):
    """The tenure of ``lease="transaction"``, which may end between two statements."""

    def __init__(self, wrapper: Any) -> None:
        super().__init__(wrapper)
        self._reference = weakref.ref(self)
        self.strays: deque[tuple[Session, int]] = deque()
        """The sessions and turns of cursors that another thread's garbage collector found."""

    def hold(self, lease: Lease) -> None:
        self.lease = lease
        self.standing = LEASED
        session = self.wrapper.connection = lease.session
        session.tenure = self._reference  # Its cursors are counted.
        if self.wrapper._thread_sharing_count:
            lease.share()

    def _cursor_closed(self, *, read_on: bool = False) -> None:
        """One of the present lease's cursors is closed."""
        lease = self.lease
        if lease is None:
            return
        session: Session = lease.session
        session.cursors -= 1
        while self.strays:
            session.cursors -= self.strays.popleft() == (session, session.turn)
        self.rest_if_free(read_on=read_on)

    def cursor_lost(self, turn: int, *, read_on: bool = False) -> None:
        """One of the present lease's cursors was closed or collected, by this or another thread.

        With ``read_on`` it has read all of the session's answers to their end just now.

        What another thread's collector finds may be an iterator, which closes its cursor. That
        thread must neither count nor end the lease: it only notes it, unless the threads share it.
        """
        lease, wrapper = self.lease, self.wrapper
        if wrapper._thread_sharing_count:
            self._cursor_closed()
        elif threading.get_ident() == wrapper._thread_ident:
            self._cursor_closed(read_on=read_on)
        elif lease is not None:
            self.strays.append((lease.session, turn))

    def rest_if_free(self, *, read_on: bool = False) -> None:
        """End the lease, unless something binds the wrapper to its session."""
        lease, wrapper = self.lease, self.wrapper
        if lease is None:
            return
        session: Session = lease.session
        if (
            session.cursors
            or wrapper.in_atomic_block
            or not wrapper.autocommit
            or session.recording is not None
            or self.opening
            or session.at_work
        ):
            return
        self.opening = True  # Whoever ends the lease meanwhile has its session discarded.
        try:
            self._rest_or_pin(lease, session, read_on)
        except BaseException:
            if self.lease is lease:
                self.abandon("interrupted")
            raise
        finally:
            self.opening = False

    def _rest_or_pin(self, lease: Lease, session: Session, read_on: bool) -> None:
        """End the lease of a wrapper that nothing binds, if the session allows that."""
        wrapper = self.wrapper
        if session.broken:
            if session.dirty or session.begun:
                return  # What its holder left in it is lost. As on Django's engine it is told so.
            if self._rest(lease):
                session.end_turn()
                lease.discard(session.broken)
        elif session.dirty:
            lease.pin(session.dirty)
        elif wrapper.connection is not session:  # An engine put something around it.
            lease.pin("a connection of the engine's own")
        elif session.begun:
            return  # By a statement. It is this thread's until it ends, also after an error.
        elif not wrapper.settings_dict["AUTOCOMMIT"]:
            return  # It was switched on, and another lease would begin with it off.
        elif wrapper.errors_occurred and not session.is_changed_in_python():
            if self._rest(lease):
                self._hand_back(lease)  # A statement failed, and may have left anything.
        elif session.is_at_rest(read_on=read_on):
            if self._rest(lease):
                if session.unused:
                    session.end_turn()
                    lease.give_back()
                else:  # But by a signal handler or a finalizer, since it was looked at.
                    self._hand_back(lease)
        elif session.is_changed_in_python():
            lease.pin("the driver's state")

    def _rest(self, lease: Lease) -> bool:
        """Rest, unless a signal handler or a finalizer has ended this lease by now."""
        if self.lease is not lease:
            return False
        self.former = lease.session
        self.lease = self.wrapper.connection = None
        self.opening = False
        # A wrapper that begins with autocommit off has to be connected anew.
        self.standing = RESTING if self.wrapper.settings_dict["AUTOCOMMIT"] else CLOSED
        return True


TENURES: Mapping[str, type[Tenure]] = MappingProxyType(
    {"task": Tenure, "transaction": TransactionTenure}
)
