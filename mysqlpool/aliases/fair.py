"""The pool of an alias over FairQueuePool, the default class."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, cast

import MySQLdb
from sqlalchemy.pool import Pool

from mysqlpool.conf.settings import PoolSettings
from mysqlpool.errors import Holder, PoolError, UnscopedLease
from mysqlpool.events.log import log_event
from mysqlpool.pool import FairQueuePool, Lease
from mysqlpool.pool.threads import KnownThread
from mysqlpool.scopes import is_scoped
from mysqlpool.session.renewal import Renewals
from mysqlpool.session.session import Session

from .access import Access
from .alias_pool import AliasPool, is_in_settings
from .limits import Limit, Limits
from .vigils import KeptVigils

__all__ = ["FairAliasPool"]

logger = logging.getLogger("mysqlpool.pool")


class FairAliasPool(AliasPool):
    """An AliasPool over FairQueuePool, or a subclass of it.

    It is never closed for good: after ``close()`` it opens sessions again, and
    counts the old ones until they are gone, so that the limit holds throughout.
    """

    pool: FairQueuePool
    waits_for_room = True

    def __init__(self, alias: str, key: object, settings: PoolSettings) -> None:
        self._renewals = Renewals()
        self._limits = Limits(alias)
        self._vigils = KeptVigils(alias, self._is_asleep)
        super().__init__(alias, key, settings)

    def _made(self, arguments: Mapping[str, Any]) -> Pool:
        pool = super()._made(arguments)
        if isinstance(pool, FairQueuePool) and self._was_in_settings:
            pool.needed_while(partial(is_in_settings, self.alias))
        return pool

    def lease(self, access: Access, prefer: Session | None = None) -> Lease:
        scoped = is_scoped()
        if not scoped and self.settings.unscoped is not None:
            self._report_unscoped()
        asking = self._asking
        before, asking.access = getattr(asking, "access", None), access
        try:
            return self.pool.lease(prefer, access.identity, scoped)
        finally:
            # It would keep the wrapper, and with it a lost lease. A signal handler or a finalizer
            # may ask in the midst of another request.
            asking.access = before

    def _report_unscoped(self) -> None:
        try:
            self._unscoped.report()
        except UnscopedLease:  # It does not come to the pool, which would count it.
            self.count("unscoped")
            raise

    def within(self, seconds: float) -> AbstractContextManager[None]:
        return self.pool.within(seconds)

    def retire(self, is_gone: Callable[[Session], bool]) -> None:
        self.pool.retire(is_gone)

    def close(self) -> None:
        self.pool.dispose()

    def has_sessions(self) -> bool:
        slots = self.pool.slots
        return bool(slots.idle or slots.out or slots.waiters)

    def holders(self) -> tuple[Holder, ...]:
        return self.pool.holders()

    def waiting_seconds(self) -> float:
        return self.pool.waiting_seconds()

    def this_thread(self) -> KnownThread:
        return self.pool.this_thread()

    def figures(self) -> dict[str, Any]:
        return self.pool.figures()

    def count(self, name: str, kind: str = "events") -> None:
        self.pool.slots.count(name, kind)

    def _further_arguments(self) -> dict[str, Any]:
        further: dict[str, Any] = {"check": self.is_fit, "renew": self.renew}
        # With transaction tenure an idle holder is pinned, which its lease says already.
        if self.settings.lease == "task":
            further["is_idle"] = Session.is_idle
        return further

    def _note_access(self, session: Session, access: Access) -> None:
        super()._note_access(session, access)
        session.vigils = self._vigils
        session.renewals = None
        if access.is_fixed and self.settings.connect_args is None:
            session.renew_by(self._renewals, access.identity.isolation_level)

    def renew(self, session: Session, idle_seconds: float) -> bool:
        """Make an idle session as new for the present request, in three round trips, for which
        there are ``ping_timeout`` seconds. False where it has to be closed instead.

        It may be another identity's, on the same server.
        """
        access: Access = self._asking.access
        if not (
            session.can_be_renewed and access.is_fixed and access.identity.is_near(session.identity)
        ):
            return False
        if self._silent and self._was_silent(session, idle_seconds):
            return False
        if session.readable() and not session.has_tls_record():
            return False
        parameters = self.parameters(access, cast("Any", session.server))
        timeout = self._ping_timeout()
        if not session.renew(parameters, Limit(self._limits, session.fileno(), timeout)):
            self._note_silence(session, timeout)
            self._renewals.failed(session.server)
            return False
        self._note_access(session, access)
        log_event(logger, logging.DEBUG, "session_renewed", self.alias, session=session.thread_id())
        return True

    def _is_asleep(self, silent: Session, port: int) -> bool:
        """Whether the server says so of a session, which another one asks.

        That is leased if it takes no waiting. False also where it cannot be found out.
        """
        access = self._access_to(silent)
        self.pool.this_thread().waits = False
        try:
            lease = None if access is None else self.lease(access)
        except (MySQLdb.Error, PoolError):
            return False
        return lease is not None and self._says_asleep(lease, silent, port)

    @staticmethod
    def _says_asleep(lease: Lease, silent: Session, port: int) -> bool:
        session: Session = lease.session
        is_fit = False
        try:
            asleep = session.server == silent.server and session.sees_asleep(silent, port)
            is_fit = True
        except MySQLdb.Error:
            return False
        finally:
            if is_fit:  # As it came: idle, or new.
                lease.give_back()
            else:
                lease.discard(session.broken or "vigil")
        return asleep

    def _ping_timeout(self) -> float:
        remaining = self.pool.remaining()
        own = self.settings.ping_timeout
        return own if remaining is None else min(own, remaining)

    def _connect_timeout(self, longest: int, left: int = 1) -> int:
        remaining = self.pool.remaining()
        if remaining is None:
            return longest
        return max(1, min(longest, math.ceil(remaining / left)))

    def _is_time_over(self) -> bool:
        return self.pool.remaining() == 0
