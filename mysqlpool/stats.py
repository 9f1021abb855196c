"""Snapshots of the pools of this process. Taking one opens no pool and no session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from .aliases import registry
from .errors import Holder
from .pool.times import WAIT_BOUNDS, Histogram, Times

__all__ = ["Histogram", "PoolStats", "holders", "stats", "waiting_seconds"]


def _nothing() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One pool at one moment, and what it has done since it was opened.

    ``in_use`` counts sessions that are leased, being opened or being closed.

    ``leases`` counts the requests that got a lease, ``timeouts`` those that got none in time, and
    ``refused`` those that ``max_waiting`` turned away. ``waits`` counts the requests that had to
    wait, however they ended. ``discards`` counts closed sessions by reason, and ``failures`` those
    of them that an error broke, by the error's class: the names of
    `mysqlpool.session.failures.Failure`, in small letters. ``pinned`` counts, also by reason, the
    leases that ``lease="transaction"`` could not end before the release. ``reaped`` counts the
    leases that were taken back because their thread had ended or their handle was lost. ``renewed``
    counts sessions that were made as new for their next holder instead of being closed and opened
    anew, which ``connects`` would count. ``rollbacks`` counts the leases whose end found a
    transaction open, and rolled it back. ``unscoped`` counts the requests of threads for which
    nobody releases: not the main one, and neither in a request nor in a scope of mysqlpool's.

    ``wait`` is how long requests stood in the queue, if they got a lease or ran into their timeout;
    no time for those that had a slot at once. ``connect`` is how long it took to open a session.
    ``lease`` is how long leases lasted that have ended, connecting and checking included.

    SQLAlchemy's own pool classes tell less. With them nobody knows who waits, so ``waiting``,
    ``waits``, ``refused`` and ``wait`` are empty, ``renewed`` is 0, and what the class closed by
    itself is counted among ``discards`` as "not kept".
    """

    pool_size: int = 0
    max_overflow: int = 0
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    leases: int = 0
    waits: int = 0
    timeouts: int = 0
    refused: int = 0
    connects: int = 0
    connect_errors: int = 0
    renewed: int = 0
    discards: Mapping[str, int] = field(default_factory=_nothing)
    failures: Mapping[str, int] = field(default_factory=_nothing)
    reaped: int = 0
    pinned: Mapping[str, int] = field(default_factory=_nothing)
    rollbacks: int = 0
    unscoped: int = 0
    wait: Histogram = field(default_factory=Times(WAIT_BOUNDS).histogram)
    connect: Histogram = field(default_factory=Histogram)
    lease: Histogram = field(default_factory=Histogram)

    @property
    def limit(self) -> int:
        """How many sessions there may be; 0 where there is no such number."""
        return 0 if self.max_overflow < 0 else self.pool_size + self.max_overflow

    @property
    def utilisation(self) -> float:
        """Which share of its limit is in use, from 0 to 1; 0.0 where there is no limit."""
        return self.in_use / self.limit if self.limit > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it, and what is derived, for JSON."""
        found = {one.name: _plain(getattr(self, one.name)) for one in fields(self)}
        return {**found, "limit": self.limit, "utilisation": self.utilisation}


def _plain(value: Any) -> Any:
    if isinstance(value, Histogram):
        return value.as_dict()
    return dict(value) if isinstance(value, Mapping) else value


def stats() -> dict[str, PoolStats]:
    """Return a snapshot of each open pool, by alias."""
    return {alias: PoolStats(**pool.figures()) for alias, pool in registry.pools().items()}


def holders() -> dict[str, tuple[Holder, ...]]:
    """Return who has a lease of each open pool, by alias, the longest first.

    It tells where each took it, and where its thread is now. That is found out as you ask, by a
    look at the frames of all threads: ask in trouble, and not at each request. A signal handler
    may ask, too.
    """
    return {alias: pool.holders() for alias, pool in registry.pools().items()}


def waiting_seconds() -> dict[str, float]:
    """Return for how long there have been waiters without a break, by alias of each open pool.

    0.0 where nobody waits, and with SQLAlchemy's own pool classes, where nobody knows who does. It
    may be longer than any of them waits: whoever is served, or gives up, may have others behind.
    """
    return {alias: pool.waiting_seconds() for alias, pool in registry.pools().items()}
