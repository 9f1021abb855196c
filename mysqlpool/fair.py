"""Leases on FairQueuePool, the default class."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy.pool import Pool

from .leasing import CONNECT_TIMEOUT, AliasPool, Lease
from .pool import FairQueuePool
from .session import Session

__all__ = ["FairAliasPool"]


class FairAliasPool(AliasPool):
    """An AliasPool over FairQueuePool, or a subclass of it.

    It is never closed for good: after ``close()`` it opens sessions again, and
    counts the old ones until they are gone, so that the limit holds throughout.
    """

    pool: FairQueuePool

    def lease(self) -> Lease:
        return self.pool.lease()

    def close(self) -> None:
        self.pool.dispose()

    def _made(self) -> Pool:
        self._always_ping = bool(self._arguments.pop("pre_ping", False))
        self._arguments["check"] = self._is_fit
        return super()._made()

    def _connect_timeout(self) -> int:
        remaining = self.pool.remaining()
        if remaining is None:
            return CONNECT_TIMEOUT
        return max(1, min(CONNECT_TIMEOUT, math.ceil(remaining)))

    def _is_fit(self, session: Any, idle_seconds: float) -> bool:
        """Whether an idle session is alive, as far as one can tell without a round trip.

        After ``ping_after`` seconds of idleness, and at every lease with
        CONN_HEALTH_CHECKS, the server is asked, for ``ping_timeout`` seconds.
        """
        checked: Session = session
        if checked.readable():
            return checked.has_tls_record() and checked.check(self.settings.ping_timeout)
        if self._always_ping or idle_seconds >= self.settings.ping_after:
            return checked.check(self.settings.ping_timeout)
        return True
