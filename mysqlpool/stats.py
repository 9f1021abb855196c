"""Snapshots of the pools of this process. Taking one opens no pool and no session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .aliases import registry

__all__ = ["PoolStats", "stats"]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """One pool at one moment, and what it has done since it was opened.

    ``in_use`` counts sessions that are leased, being opened or being closed.

    ``leases`` counts the requests that got a lease, ``timeouts`` those that got none in time, and
    ``refused`` those that ``max_waiting`` turned away. ``waits`` counts the requests that had to
    wait, however they ended. ``discards`` counts closed sessions by reason. ``pinned`` counts, also
    by reason, the leases that ``lease="transaction"`` could not end before the release. ``reaped``
    counts the leases that were taken back because their thread had ended or their handle was lost.
    ``renewed`` counts sessions that were made as new for their next holder instead of being closed
    and opened anew, which ``connects`` would count.

    SQLAlchemy's own pool classes count nothing: for them all counters are 0.
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
    discards: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    reaped: int = 0
    pinned: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def stats() -> dict[str, PoolStats]:
    """Return a snapshot of each open pool, by alias."""
    return {alias: _snapshot(open_pool.pool) for alias, open_pool in registry.pools().items()}


def _snapshot(pool: Any) -> PoolStats:
    figures = getattr(pool, "figures", None)
    if figures is not None:
        return PoolStats(**figures())
    return PoolStats(
        pool_size=_asked(pool, "size"),
        max_overflow=getattr(pool, "_max_overflow", 0),
        in_use=_asked(pool, "checkedout"),
        idle=_asked(pool, "checkedin"),
    )


def _asked(pool: Any, method: str) -> int:
    # StaticPool and AssertionPool have none of these, and SingletonThreadPool's size is a number.
    found = getattr(pool, method, 0)
    return int(found() if callable(found) else found)
