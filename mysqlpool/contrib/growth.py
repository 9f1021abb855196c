"""Growth: what the counters of pools have grown by since somebody looked last."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping

__all__ = ["Growth"]


class Growth:
    """What counters have grown by, alias by alias, since the last look at them.

    A pool that takes another's place begins at 0. So where any counter of an alias is below what it
    was, all of them are taken to have begun anew, as Prometheus takes it. What a pool counted after
    the last look at it, and before it was replaced, is lost.

    A forked child has pools of its own, which begin at 0, too.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._seen: dict[str, Mapping[Hashable, float]] = {}

    def of(self, alias: str, counters: Mapping[Hashable, float]) -> dict[Hashable, float]:
        """Return by how much each has grown, and keep them for the next look."""
        if self._pid != os.getpid():
            self._pid, self._seen = os.getpid(), {}
        before = self._seen.get(alias, {})
        if any(counters.get(key, 0) < value for key, value in before.items()):
            before = {}
        self._seen[alias] = dict(counters)
        return {key: value - before.get(key, 0) for key, value in counters.items()}
