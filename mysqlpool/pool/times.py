"""Times: how long something took, counted in fixed buckets; and what is told of that."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

__all__ = ["BOUNDS", "WAIT_BOUNDS", "Histogram", "Times"]

# Seconds: from a lease of one quick query to a leak of several minutes.
BOUNDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
# Most requests do not wait at all, and a bucket of their own tells how many.
WAIT_BOUNDS = (0.0, *BOUNDS)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often something took how long, since the pool was opened.

    ``bounds`` are seconds. ``counts[i]`` is how often it took no longer than ``bounds[i]``, and
    longer than the bound before. The last count, for which there is no bound, is of all that took
    longer. ``seconds`` is the sum of all.
    """

    bounds: tuple[float, ...] = BOUNDS
    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """How often it was measured."""
        return sum(self.counts)

    @property
    def p50(self) -> float:
        """The median, in seconds: see `quantile`."""
        return self.quantile(0.5)

    @property
    def p95(self) -> float:
        """What 95 of 100 did not exceed, in seconds: see `quantile`."""
        return self.quantile(0.95)

    @property
    def p99(self) -> float:
        """What 99 of 100 did not exceed, in seconds: see `quantile`."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """How many seconds this share of all, from 0 to 1, did not exceed; 0.0 where there is none.

        It is as exact as the buckets, within which it is interpolated, as in Prometheus. Of what
        took longer than the last bound, only that is known, and the bound is returned.

        Raises ValueError for a share that is none.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share is a number from 0 to 1, not {share!r}")
        rank, below = share * self.count, 0
        for index, count in enumerate(self.counts[:-1]):
            if count and below + count >= rank:
                low = self.bounds[index - 1] if index else 0.0
                return low + (self.bounds[index] - low) * (rank - below) / count
            below += count
        return self.bounds[-1] if self.counts[-1] else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "bounds": list(self.bounds),
            "counts": list(self.counts),
            "count": self.count,
            "seconds": self.seconds,
            "p50": self.p50,
            "p95": self.p95,
            "p99": self.p99,
        }


class Times:
    """Measured times, of which `Histogram` is a snapshot. A lock of its owner's guards it."""

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one more.

        Its end may have been noted by another thread before its begin was: that took no time.
        """
        seconds = max(0.0, seconds)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    def histogram(self) -> Histogram:
        return Histogram(self.bounds, tuple(self.counts), self.seconds)
