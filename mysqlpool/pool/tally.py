"""Tally: what a pool has done since it was made, in numbers. Its pool's lock guards it."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import Any

__all__ = ["Tally"]

COUNTERS = ("waits", "timeouts", "refused", "connects", "connect_errors", "renewed", "reaped")


class Tally:
    """Counts events by name, and sessions discarded and leases pinned by reason."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.discards: Counter[str] = Counter()
        self.pinned: Counter[str] = Counter()

    def add(self, kind: str, name: str) -> None:
        """Count one more, of the kind ``"events"``, ``"discards"`` or ``"pinned"``."""
        counter: Counter[str] = getattr(self, kind)
        counter[name] += 1

    def figures(self) -> dict[str, Any]:
        return {
            **{name: self.events[name] for name in COUNTERS},
            "discards": MappingProxyType(dict(self.discards)),
            "pinned": MappingProxyType(dict(self.pinned)),
        }
