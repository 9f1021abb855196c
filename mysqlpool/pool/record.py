"""Record: one slot of the pool, with a session or without.

Everything that leans on SQLAlchemy's private `_ConnectionRecord` is here and in the overridden
methods of `mysqlpool.pool.pool`; it is the same in 2.0.0 and 2.1.
"""

from __future__ import annotations

import enum
import math
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _ConnectionRecord

if TYPE_CHECKING:
    from .threads import KnownThread, Where

__all__ = ["Record", "State"]


class State(enum.Enum):
    """Where a slot is in its life. `mysqlpool.pool.slots` has the table of what changes it."""

    IDLE = enum.auto()
    LEASED = enum.auto()
    CLOSING = enum.auto()
    GONE = enum.auto()


# These are compared at each lease, where a look-up in the class would cost more than that.
IDLE, LEASED, CLOSING, GONE = State


class Home(Protocol):
    """The pool, as far as a record has to tell it what SQLAlchemy does."""

    pool: Pool

    def note_discard(self, reason: str) -> None: ...

    def rescue(self, record: Record, serial: int) -> None: ...


class Record(_ConnectionRecord):
    """A slot. Times are monotonic seconds.

    The pool's lock guards all fields but those of the session (``condemned``, ``expires``,
    ``generation``, ``identity`` and ``to_renew``), which are those of whoever has it.
    """

    __slots__ = (
        "claim",  # a weak reference to whom the slot is out for: a lease's handle, or a closing
        "condemned",  # why its session must be closed when it comes back: see condemn()
        "expires",  # when its session is too old, or must be closed for another reason
        "generation",  # the pool's when its session was opened
        "holder",  # the thread that has its present lease, or had its last one
        "home",
        "identity",  # what its session was asked for: see FairQueuePool.lease
        "idle_since",
        "leaked",  # the serial of the lease that was reported as a leak
        "pinned",  # the serial of a lease that had to stay with its holder, and why
        "returning",  # SQLAlchemy checks it in just now, and its listeners may use the session
        "serial",  # of its present or last lease
        "shared",  # the serial of a lease whose wrapper several threads share
        "since",  # when that lease began
        "state",
        "to_renew",  # its session is not as its last holder got it, and is renewed before the next
        "unserved",  # the serial of a lease that came to nothing, which is not measured
        "where",  # and where in the application
    )

    holder: KnownThread
    where: Where

    def __init__(self, home: Home) -> None:
        super().__init__(home.pool, connect=False)
        self.home = home
        self.state = GONE
        self.claim: weakref.ref[Any] | None = None
        self.generation = -1
        self.identity: Any = None
        self.serial = self.leaked = self.shared = self.unserved = 0
        self.expires = math.inf
        self.since = self.idle_since = 0.0
        self.condemned: str | None = None
        self.returning = self.to_renew = False
        self.pinned: tuple[int, str | None] = (0, None)

    @property
    def own_info(self) -> dict[Any, Any] | None:
        """SQLAlchemy's ``record_info``, which outlasts the session; None if nobody asked for it."""
        info: dict[Any, Any] | None = self.__dict__.get("record_info")
        return info

    @own_info.setter
    def own_info(self, info: dict[Any, Any]) -> None:
        self.__dict__["record_info"] = info  # It is a memoized property there.

    def renew(self, generation: int, expires: float, identity: Any) -> None:
        """Note that a session of this generation is opened."""
        self.to_renew = False
        self.generation, self.expires, self.condemned = generation, expires, None
        self.identity = identity

    def condemn(self, reason: str) -> None:
        """Have the session closed when it comes back. The first reason counts."""
        self.condemned = self.condemned or reason
        self.expires = -math.inf

    def is_bound(self) -> bool:
        """Whether its lease ends with the thread that took it. The caller holds the lock.

        What SQLAlchemy made a proxy for may travel between threads, unless a `Lease` has the proxy.
        """
        if self.returning or self.shared == self.serial:
            return False
        if self.fairy_ref is None:
            return True
        claimant: Any = self.claim() if self.claim is not None else None
        return claimant is not None and claimant.proxy is not None

    def is_lost(self) -> bool:
        """Whether whoever the slot is out for is gone. The caller holds the lock.

        Where SQLAlchemy made a proxy, its finalizer brings the slot back.
        """
        if self.returning or self.fairy_ref is not None:
            return False
        claimant: Any = self.claim() if self.claim is not None else None
        return claimant is None or claimant.record is not self

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """As SQLAlchemy does it. What was invalidated softly is closed when it comes back.

        When that fails, or when the reason is not an Exception, the slot is freed here: SQLAlchemy
        2.0.0 never checks such a record in. A newer version does, and finds nothing to do.
        """
        self.condemn("invalidated")
        reason = self.condemned or "invalidated"
        serial, opened = self.serial, self.dbapi_connection is not None
        try:
            super().invalidate(e, soft)
        except BaseException:
            self._rescue(serial)
            raise
        finally:
            if opened and self.dbapi_connection is None:
                self.home.note_discard(reason)
        if e is not None and not isinstance(e, Exception):
            self._rescue(serial)

    def _rescue(self, serial: int) -> None:
        # The proxy's finalizer looks at fairy_ref; 2.0.0's would stumble over the closed session.
        self.fairy_ref = None
        self.home.rescue(self, serial)

    def checkin(self, _fairy_was_created: bool = True) -> None:
        """As SQLAlchemy does it, without losing the slot when a listener raises."""
        if self.state is not LEASED:  # Taken back: by invalidate(), or because its thread ended.
            if self.home.pool.dispatch.checkin:
                self.home.pool.dispatch.checkin(None, self)
            return
        serial, self.returning = self.serial, True
        try:
            super().checkin(_fairy_was_created)
        except BaseException:
            self.home.rescue(self, serial)
            raise
        finally:
            self.returning = False

    def _checkin_failed(self, err: BaseException, _fairy_was_created: bool = True) -> None:
        serial = self.serial
        try:
            super()._checkin_failed(err, _fairy_was_created)
        except BaseException:
            self.home.rescue(self, serial)
            raise
