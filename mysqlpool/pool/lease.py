"""A lease: held by a `Lease`, its holder's handle, and before that waited for by a `Request`."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Protocol

from sqlalchemy.pool import PoolProxiedConnection

from .record import LEASED, Record
from .threads import KnownThread, Where

__all__ = ["Lease", "Request"]


class Grantor(Protocol):
    """The pool, as far as a lease has to tell it that it ends."""

    def give_back(self, lease: Lease) -> None: ...

    def discard(self, lease: Lease, reason: str) -> None: ...

    def pin(self, lease: Lease, reason: str) -> None: ...

    def share(self, lease: Lease) -> None: ...

    def unshare(self, lease: Lease, is_own: bool) -> None: ...

    def note_rollback(self, lease: Lease) -> None: ...

    def alarm(self) -> None: ...


class Lease:
    """A session out of the pool, until it is given back or discarded.

    Only the first of these ends the lease. Whatever comes later does nothing, from whichever
    thread. It also does nothing once the pool has taken the session back because the holder's
    thread had ended, which it does unless the lease is shared. A handle may be dropped without
    either. Then the pool finds that out and discards the session, because nobody knows what state
    it was left in.

    ``record`` is None before the lease is granted and after it ended. ``session`` is the DBAPI
    connection, and ``proxy`` SQLAlchemy's around it, where its listeners want one. ``echo`` is
    whether SQLAlchemy's log of the pool tells of this lease. ``waited`` is whether its request had
    to stand in the queue.
    """

    __slots__ = (
        *("__weakref__", "echo", "grantor", "proxy", "record", "serial", "session"),
        "waited",
    )

    def __init__(self, grantor: Grantor) -> None:
        self.grantor = grantor
        self.record: Record | None = None
        self.serial = 0
        self.session: Any = None
        self.proxy: PoolProxiedConnection | None = None
        self.echo = self.waited = False

    def pin(self, reason: str) -> None:
        """Note why this lease stays with its holder until the release. Counted once a lease."""
        self.grantor.pin(self, reason)

    def share(self) -> None:
        """Have the lease outlast its holder's thread, because other threads use it, too."""
        self.grantor.share(self)

    def unshare(self, is_own: bool) -> None:
        """End that. From now on the lease is this thread's, if ``is_own``, or else its holder's."""
        self.grantor.unshare(self, is_own)

    def note_rollback(self) -> None:
        """Count that a transaction was open as the lease was about to end, and was rolled back."""
        self.grantor.note_rollback(self)

    def give_back(self, *, to_renew: bool = False) -> None:
        """Put the session back. The caller has reset it: nothing is sent.

        With ``to_renew`` the pool's ``renew`` is asked to do that, when it is to be leased again.

        An exception of a listener passes through, after the session has been discarded.
        """
        if to_renew and self.record is not None:
            self.record.to_renew = True
        self.grantor.give_back(self)

    def discard(self, reason: str) -> None:
        """Close the session instead of putting it back. ``reason`` is counted in the statistics."""
        self.grantor.discard(self, reason)

    def __del__(self) -> None:
        # May run at any bytecode of any thread, under any lock, and in a forked child. The record's
        # weak reference already tells that the handle is gone. This only makes somebody look soon.
        # If a signal handler raises here, a waiter still looks every second.
        record = self.record
        if record is not None and record.state is LEASED and record.serial == self.serial:
            if self.proxy is not None:  # SQLAlchemy's finalizer gives the record back.
                record.condemn("lost")
            self.grantor.alarm()


class Request:
    """What stands in the queue: one thread's request for a lease.

    Being woken tells a waiter nothing. It looks for itself whether it was served, whether its time
    is over, and whether there is something to tidy up.
    """

    __slots__ = (
        "gate",
        "identity",
        "lease",
        "measured",
        "prefer",
        "scoped",
        "since",
        "thread",
        "waited",
        "where",
    )

    lease: Lease  # whoever serves the request sets its record, under the pool's lock
    thread: KnownThread
    where: Where
    since: float  # when it was made, in monotonic seconds
    prefer: Any  # the session to be had, if it is idle and nobody waits
    identity: Any  # the session's must be equal to it
    scoped: bool  # whether somebody is known to end the lease
    gate: threading.Lock  # while it waits
    measured: bool  # how long it waited is counted: once, so that no count ever shrinks
    waited: bool  # it is counted among those that had to wait

    def prepare(self) -> None:
        """Make ready to wait. Call it before it is queued: from then on it can be woken."""
        # A lock that is taken is the cheapest event there is: threading.Event has two inside.
        gate = threading.Lock()
        gate.acquire()
        self.gate = gate

    def park(self, seconds: float) -> None:
        """Sleep until woken, at most ``seconds``."""
        self.gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """End the present or the next `park`. Takes no lock: finalizers call it."""
        with contextlib.suppress(RuntimeError):  # It was woken already; once is enough.
            self.gate.release()
