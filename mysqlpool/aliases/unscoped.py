"""Unscoped leases: those of a thread that nobody releases for, told once for each place."""

from __future__ import annotations

import logging
import sys
import threading

from mysqlpool.errors import UnscopedLease
from mysqlpool.events.log import log_event
from mysqlpool.pool.report import place
from mysqlpool.pool.threads import own_frame

__all__ = ["Unscoped"]

logger = logging.getLogger("mysqlpool.pool")


class Unscoped:
    """Where an alias is leased outside of any scope, and what is to be done about it.

    ``mode`` is the setting: "warn", "raise", or None for nothing.
    """

    def __init__(self, alias: str, mode: str | None) -> None:
        self._alias = alias
        self._mode = mode
        self._told: set[str] = set()

    def report(self) -> None:
        """Tell of the present request for a lease, if that is wanted. Raises `UnscopedLease`."""
        if self._mode is None:
            return
        frame = own_frame(sys._getframe())
        leased_at, thread = place((frame.f_code, frame.f_lasti)), threading.current_thread().name
        if self._mode == "raise":
            raise UnscopedLease(self._alias, thread, leased_at)
        if leased_at not in self._told:  # Two threads may tell of it at the same moment.
            self._told.add(leased_at)
            log_event(
                logger,
                logging.WARNING,
                "lease_unscoped",
                self._alias,
                holder=thread,
                leased_at=leased_at,
            )
