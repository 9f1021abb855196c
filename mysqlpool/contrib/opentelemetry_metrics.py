"""OpenTelemetry: the metrics of connection pools, for each open pool of this process.

Names, units and instruments are those of the semantic conventions, which are in development there:
https://opentelemetry.io/docs/specs/semconv/db/database-metrics/. What they leave to the
instrumentation:

- ``db.client.connection.pool.name`` is the alias of ``DATABASES``.
- A pool without a limit has no ``db.client.connection.max``.
- ``db.client.connection.wait_time`` is how long a request stood in the queue, also one that ran
  into its timeout. What connecting takes is in ``create_time``.

Nothing is recorded when a lease begins or ends. There is no observable histogram, so the times are
recorded when metrics are collected: as many as the pool counted since then, bucket by bucket. Each
lands in the bucket that it was counted in, and together they have the sum that was measured; within
their bucket all are alike, so the minimum and the maximum are as exact as the buckets.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from mysqlpool.aliases import registry
from mysqlpool.pool.locks import under
from mysqlpool.stats import Histogram, PoolStats, stats

from .growth import Growth

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

__all__ = ["instrument_metrics", "uninstrument_metrics"]

PREFIX = "db.client.connection"
POOL_NAME = f"{PREFIX}.pool.name"
STATE = f"{PREFIX}.state"

# How many times are recorded in one collection at most, which takes 4 seconds. The others are
# recorded in the next one.
MAX_RECORDS = 500_000

# The histograms, and what of the statistics is in them.
TIMES: Mapping[str, tuple[str, Callable[[PoolStats], Histogram]]] = {
    "create_time": ("The time it took to create a new connection.", lambda one: one.connect),
    "wait_time": (
        "The time it took to obtain an open connection from the pool.",
        lambda one: one.wait,
    ),
    "use_time": (
        "The time between borrowing a connection and returning it to the pool.",
        lambda one: one.lease,
    ),
}


def instrument_metrics(meter_provider: MeterProvider | None = None) -> None:
    """Tell the numbers of all pools of this process whenever metrics are collected.

    ``meter_provider`` is OpenTelemetry's global one by default. Call it once a process, such as in
    ``AppConfig.ready()``; a second call replaces the first. What was counted before is told, too.

    Raises ``ImproperlyConfigured`` when OpenTelemetry is not installed.
    """
    global _present
    provider = _provider(meter_provider)
    if provider not in _made:
        _made[provider] = _Instruments(provider)
    uninstrument_metrics()
    _present = _made[provider]
    _present.is_on = True


def uninstrument_metrics() -> None:
    """Tell no more. Does nothing where `instrument_metrics` was not called."""
    global _present
    if _present is not None:
        _present.is_on = False
    _present = None


def _provider(given: MeterProvider | None) -> MeterProvider:
    try:
        from opentelemetry import metrics
    except ImportError as error:
        raise ImproperlyConfigured(
            "mysqlpool.contrib.opentelemetry_metrics needs OpenTelemetry: "
            "pip install 'mysqlpool[opentelemetry]'"
        ) from error
    return metrics.get_meter_provider() if given is None else given


@dataclass(slots=True)
class _Batch:
    """Equal times that are still to be recorded."""

    instrument: Any
    seconds: float
    count: int
    attributes: Mapping[str, str]


class _Instruments:
    """The instruments of one meter provider, which keeps them for ever: it cannot forget one.

    ``_lock`` guards what was recorded, and is held while times are recorded.
    """

    def __init__(self, provider: MeterProvider) -> None:
        from opentelemetry.metrics import Observation

        self.is_on = False
        self._observation = Observation
        self._start_afresh()
        self._make(provider.get_meter("mysqlpool", importlib.metadata.version("mysqlpool")))

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._times, self._counters = Growth(), Growth()
        self._timeouts: dict[str, float] = {}
        self._left: deque[_Batch] = deque()

    def _make(self, meter: Any) -> None:
        """The first of the observable ones has the times recorded before anything is collected."""
        self._histograms = {
            name: meter.create_histogram(
                f"{PREFIX}.{name}",
                unit="s",
                description=text,
                explicit_bucket_boundaries_advisory=read(PoolStats()).bounds,
            )
            for name, (text, read) in TIMES.items()
        }
        up_down, session = meter.create_observable_up_down_counter, "{connection}"
        for name, callback, unit, text in (
            ("count", self._count, session, "The number of connections in the state."),
            ("max", self._max, session, "The maximum number of open connections allowed."),
            ("idle.max", self._idle_max, session, "The maximum number of idle open connections."),
            ("idle.min", self._idle_min, session, "The minimum number of idle open connections."),
            (
                "pending_requests",
                self._pending,
                "{request}",
                "The number of current pending requests for an open connection.",
            ),
        ):
            up_down(f"{PREFIX}.{name}", [self._switched(callback)], unit, text)
        meter.create_observable_counter(
            f"{PREFIX}.timeouts",
            [self._switched(self._timed_out)],
            "{timeout}",
            "The number of connection timeouts that have occurred trying to obtain a connection.",
        )

    def _switched(self, callback: Callable[[], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
        def observe(options: Any) -> Iterator[Any]:
            return callback() if self.is_on else iter(())

        return observe

    def _observed(self, number: float, alias: str, **further: str) -> Any:
        return self._observation(number, {POOL_NAME: alias, **further})

    # What is observed

    def _count(self) -> Iterator[Any]:
        found = stats()
        self.record(found)
        for alias, one in found.items():
            yield self._observed(one.in_use, alias, **{STATE: "used"})
            yield self._observed(one.idle, alias, **{STATE: "idle"})

    def _max(self) -> Iterator[Any]:
        for alias, one in stats().items():
            if one.limit:
                yield self._observed(one.limit, alias)

    def _idle_max(self) -> Iterator[Any]:
        for alias, one in stats().items():
            if one.limit:
                yield self._observed(one.pool_size, alias)

    def _idle_min(self) -> Iterator[Any]:
        for alias, pool in registry.pools().items():
            yield self._observed(pool.settings.arguments.get("min_idle", 0), alias)

    def _pending(self) -> Iterator[Any]:
        for alias, one in stats().items():
            yield self._observed(one.waiting, alias)

    def _timed_out(self) -> Iterator[Any]:
        """A sum that does not fall where a pool is replaced: as a delta that would be below 0."""
        self._look_for_a_fork()
        for alias, number in under(self._lock, self._sum_of_timeouts, stats()).items():
            yield self._observed(number, alias)

    # Times

    def record(self, found: Mapping[str, PoolStats]) -> None:
        """Record the times that were counted since the last call."""
        self._look_for_a_fork()
        under(self._lock, self._record, found)

    def _look_for_a_fork(self) -> None:
        if self._pid != os.getpid():  # Who had the lock may not exist here.
            self._start_afresh()

    # The caller holds the lock.

    def _sum_of_timeouts(self, found: Mapping[str, PoolStats]) -> dict[str, float]:
        for alias, one in found.items():
            # With the leases, which tell of a new pool also where neither had a timeout.
            grown = self._counters.of(alias, {"": one.timeouts, "leases": one.lease.count})
            self._timeouts[alias] = self._timeouts.get(alias, 0) + grown[""]
        # An alias that the settings have lost is told of as long as it has a pool.
        known = found.keys() | connections.settings.keys()
        return {alias: number for alias, number in self._timeouts.items() if alias in known}

    def _record(self, found: Mapping[str, PoolStats]) -> None:
        for alias, one in found.items():
            self._left.extend(self._grown(alias, one))
        room = MAX_RECORDS
        while self._left and room:
            batch = self._left[0]
            count = min(room, batch.count)
            for _ in range(count):
                batch.instrument.record(batch.seconds, batch.attributes)
            batch.count -= count
            room -= count
            if not batch.count:
                self._left.popleft()

    def _grown(self, alias: str, one: PoolStats) -> Iterator[_Batch]:
        times = {name: read(one) for name, (_, read) in TIMES.items()}
        grown = self._times.of(
            alias,
            {
                (name, place): number
                for name, each in times.items()
                for place, number in enumerate((*each.counts, each.seconds))
            },
        )
        for name, each in times.items():
            size = len(each.counts)
            counts = [int(grown[name, place]) for place in range(size)]
            for seconds, count in spread(each.bounds, counts, grown[name, size]):
                yield _Batch(self._histograms[name], seconds, count, {POOL_NAME: alias})


def spread(
    bounds: tuple[float, ...], counts: list[int], total: float
) -> Iterator[tuple[float, int]]:
    """Yield a time for each bucket in which something was counted, and the count.

    Each is within its bucket, and all of them make ``total`` seconds, as far as the buckets let
    them: they are as high in their buckets as each other, and what is left over is above the last
    bound.
    """
    lows = (0.0, *bounds)
    widths = [high - low for low, high in zip(lows, bounds, strict=False)]
    least = sum(low * count for low, count in zip(lows, counts, strict=True))
    range_ = sum(width * count for width, count in zip(widths, counts, strict=False))
    share = min(1.0, max(0.0, (total - least) / range_)) if range_ else 0.0
    for place, count in enumerate(counts[:-1]):
        if count:
            # The lower bound itself belongs to the bucket below.
            above = math.nextafter(lows[place], math.inf) if widths[place] else lows[place]
            yield min(bounds[place], max(above, lows[place] + share * widths[place])), count
    if beyond := counts[-1]:
        rest = max(0.0, total - least - share * range_)
        yield max(math.nextafter(bounds[-1], math.inf), bounds[-1] + rest / beyond), beyond


# The instruments by meter provider, and those that tell now.
_made: WeakKeyDictionary[MeterProvider, _Instruments] = WeakKeyDictionary()
_present: _Instruments | None = None
