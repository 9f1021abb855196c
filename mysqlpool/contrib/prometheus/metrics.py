"""What is told to Prometheus: each metric's name, what it means, and where it is read.

Names and units are by https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mysqlpool.stats import Histogram, PoolStats

__all__ = ["MAX_VALUES", "METRICS", "OTHER", "HistogramMetric", "NumberMetric"]

# How many values a label has for one pool at most. What comes later is added up under `OTHER`.
MAX_VALUES = 50
OTHER = "other"


@dataclass(frozen=True, slots=True)
class NumberMetric:
    """A gauge or a counter. ``name`` is without the ``_total`` that a counter's samples end with.

    ``label`` is what it has beside ``alias``, if anything. ``read`` tells the numbers by the
    label's values; without a label there is one, or none, under "".
    """

    name: str
    kind: str
    help: str
    read: Callable[[PoolStats], Mapping[str, float]]
    label: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return ("alias", self.label) if self.label else ("alias",)

    @property
    def sample(self) -> str:
        """What its samples are called."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def samples(self, alias: str, stats: PoolStats) -> dict[tuple[str, ...], float]:
        """The numbers by the values of `labels`."""
        numbers = _bounded(self.read(stats))
        return {((alias, v) if self.label else (alias,)): number for v, number in numbers.items()}


@dataclass(frozen=True, slots=True)
class HistogramMetric:
    """Times in the fixed buckets of `mysqlpool.stats.Histogram`, in seconds."""

    name: str
    help: str
    read: Callable[[PoolStats], Histogram]
    kind: str = "histogram"
    labels: tuple[str, ...] = ("alias",)

    @property
    def sample(self) -> str:
        return self.name


def _bounded(numbers: Mapping[str, float]) -> Mapping[str, float]:
    """The first of them alone, the others summed up.

    A dict keeps its order while it grows, so none that had a place of its own loses it.
    """
    if len(numbers) < MAX_VALUES:
        return numbers
    found: dict[str, float] = {}
    for place, (value, number) in enumerate(numbers.items()):
        key = value if place < MAX_VALUES - 1 else OTHER
        found[key] = found.get(key, 0) + number
    return found


def _gauge(name: str, text: str, read: Callable[[PoolStats], float]) -> NumberMetric:
    return NumberMetric(f"mysqlpool_{name}", "gauge", text, lambda stats: {"": read(stats)})


def _counter(name: str, text: str, read: Callable[[PoolStats], float]) -> NumberMetric:
    return NumberMetric(f"mysqlpool_{name}", "counter", text, lambda stats: {"": read(stats)})


def _counters(
    name: str, label: str, text: str, read: Callable[[PoolStats], Mapping[str, float]]
) -> NumberMetric:
    return NumberMetric(f"mysqlpool_{name}", "counter", text, read, label)


def _sessions(stats: PoolStats) -> Mapping[str, float]:
    return {"in_use": stats.in_use, "idle": stats.idle}


def _limit(stats: PoolStats) -> Mapping[str, float]:
    """Nothing where there is no limit, so that a share of it is nothing either."""
    return {"": stats.limit} if stats.limit else {}


METRICS: tuple[NumberMetric | HistogramMetric, ...] = (
    NumberMetric(
        "mysqlpool_sessions",
        "gauge",
        "Sessions that are open now, by state; in use are those leased, being opened or closed.",
        _sessions,
        "state",
    ),
    NumberMetric(
        "mysqlpool_limit",
        "gauge",
        "How many sessions there may be: pool_size and max_overflow.",
        _limit,
    ),
    _gauge("waiting", "Requests that wait for a session now.", lambda stats: stats.waiting),
    # Not `leases`, which falls by one where a request that was counted gets no lease after all.
    _counter("leases", "Leases that have ended.", lambda stats: stats.lease.count),
    _counter("waits", "Requests that had to wait for a session.", lambda stats: stats.waits),
    _counter("timeouts", "Requests that got no session in time.", lambda stats: stats.timeouts),
    _counter("refused", "Requests that max_waiting turned away.", lambda stats: stats.refused),
    _counter("connects", "Sessions that were opened.", lambda stats: stats.connects),
    _counter(
        "connect_errors", "Sessions that could not be opened.", lambda stats: stats.connect_errors
    ),
    _counter(
        "renewed",
        "Sessions that were made as new for their next holder.",
        lambda stats: stats.renewed,
    ),
    _counter(
        "reaped",
        "Leases that were taken back because their thread had ended or their handle was lost.",
        lambda stats: stats.reaped,
    ),
    _counter(
        "rollbacks",
        "Leases whose end found a transaction open, and rolled it back.",
        lambda stats: stats.rollbacks,
    ),
    _counter(
        "unscoped",
        "Requests of threads for which nobody releases.",
        lambda stats: stats.unscoped,
    ),
    _counters(
        "discards", "reason", "Sessions that were closed, by reason.", lambda stats: stats.discards
    ),
    _counters(
        "failures",
        "class",
        "Sessions that an error broke, by its class.",
        lambda stats: stats.failures,
    ),
    _counters(
        "pinned",
        "reason",
        "Leases that could not end before the release, by reason.",
        lambda stats: stats.pinned,
    ),
    HistogramMetric(
        "mysqlpool_wait_seconds",
        "How long requests stood in the queue; 0 for those that had a session at once.",
        lambda stats: stats.wait,
    ),
    HistogramMetric(
        "mysqlpool_connect_seconds",
        "How long it took to open a session.",
        lambda stats: stats.connect,
    ),
    HistogramMetric(
        "mysqlpool_lease_seconds",
        "How long leases lasted that have ended.",
        lambda stats: stats.lease,
    ),
)
