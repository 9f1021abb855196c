"""Tally: what a pool has done since it was made, in numbers. Its pool's lock guards it."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import Any

from .times import WAIT_BOUNDS, Times

__all__ = ["Tally"]

COUNTERS = (
    "waits",
    "timeouts",
    "refused",
    "connects",
    "connect_errors",
    "renewed",
    "reaped",
    "rollbacks",
    "unscoped",
)


class Tally:
    """Counts events by name, and sessions discarded and leases pinned by reason.

    ``failures`` counts those discarded sessions that an error broke, by its class. ``wait``,
    ``connect`` and ``lease`` are how long that took.
    """

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.discards: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.pinned: Counter[str] = Counter()
        self.wait, self.connect, self.lease = Times(WAIT_BOUNDS), Times(), Times()

    def add(self, kind: str, name: str) -> None:
        """Count one more, of the kind "events", "discards", "failures" or "pinned"."""
        counter: Counter[str] = getattr(self, kind)
        counter[name] += 1

    def figures(self) -> dict[str, Any]:
        return {
            **{name: self.events[name] for name in COUNTERS},
            "discards": MappingProxyType(dict(self.discards)),
            "failures": MappingProxyType(dict(self.failures)),
            "pinned": MappingProxyType(dict(self.pinned)),
            "wait": self.wait.histogram(),
            "connect": self.connect.histogram(),
            "lease": self.lease.histogram(),
        }
