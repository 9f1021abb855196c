"""Files: this process's numbers for prometheus_client's multi-process mode.

There a scrape reaches one process, which reads what all of them have written into the folder of
``PROMETHEUS_MULTIPROC_DIR``. What is not written is not told, so a custom collector of another
process is not heard. Each process therefore writes its numbers at intervals, into the files that
prometheus_client keeps for it. They are:

- Counters and histograms, whose file stays after the process has ended: the sum over all processes,
  the ended ones included, never falls. Each number grows by what the pools counted since it was
  written last. A pool that is closed and opened anew begins at 0, and takes nothing back.
- Gauges of the mode ``liveall``: each process has its own, with its ``pid``, until
  ``mark_process_dead`` removes them. A process that ends by itself leaves zeros.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Hashable, Iterator
from typing import Any

from mysqlpool.aliases.ticker import Ticker
from mysqlpool.pool.locks import under
from mysqlpool.stats import PoolStats, stats

from ..growth import Growth
from .client import prometheus_client
from .metrics import METRICS, HistogramMetric, NumberMetric

__all__ = ["publish", "publish_every", "stop_publishing"]

# The kind of file, the family, the sample, its labels' names and values, and the help text.
Key = tuple[str, str, str, tuple[str, ...], tuple[str, ...], str]


class _Files:
    """What this process has written. ``_lock`` guards all attributes.

    It is held while numbers are written to mapped memory, and never for the network.
    """

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._growth = Growth()
        self._values: dict[Key, Any] = {}

    def publish(self, found: dict[str, PoolStats]) -> None:
        if self._pid != os.getpid():  # A fork. Who had the lock may not exist here.
            self._start_afresh()
        under(self._lock, self._publish, found)

    # The caller holds the lock.

    def _publish(self, found: dict[str, PoolStats]) -> None:
        gauges: dict[Key, float] = {}
        for alias, one in found.items():
            gauges.update(_gauges(alias, one))
            counters: dict[Hashable, float] = dict(_counters(alias, one))
            for key, grown in self._growth.of(alias, counters).items():
                if grown or key not in self._values:
                    self._value(key).inc(grown)
        gone = [key for key in self._values if key[0] == "gauge" and key not in gauges]
        for key in gone:
            self._value(key).set(0)
        for key, number in gauges.items():
            self._value(key).set(number)

    def _value(self, key: Any) -> Any:
        if key not in self._values:
            make = prometheus_client().values.ValueClass
            kind, family, sample, names, values, text = key
            mode = {"multiprocess_mode": "liveall"} if kind == "gauge" else {}
            self._values[key] = make(kind, family, sample, names, values, text, **mode)
        return self._values[key]


def _gauges(alias: str, one: PoolStats) -> Iterator[tuple[Key, float]]:
    for metric in METRICS:
        if isinstance(metric, NumberMetric) and metric.kind == "gauge":
            yield from _numbers(metric, alias, one)


def _counters(alias: str, one: PoolStats) -> Iterator[tuple[Key, float]]:
    for metric in METRICS:
        if isinstance(metric, HistogramMetric):
            yield from _times(metric, alias, one)
        elif metric.kind == "counter":
            yield from _numbers(metric, alias, one)


def _numbers(metric: NumberMetric, alias: str, one: PoolStats) -> Iterator[tuple[Key, float]]:
    for labels, number in metric.samples(alias, one).items():
        key = (metric.kind, metric.name, metric.sample, metric.labels, labels, metric.help)
        yield key, number


def _times(metric: HistogramMetric, alias: str, one: PoolStats) -> Iterator[tuple[Key, float]]:
    """Each bucket's own count, which prometheus_client adds up when it reads them."""
    times, text = metric.read(one), metric.help
    bounds = [*map(prometheus_client().utils.floatToGoString, times.bounds), "+Inf"]
    name, bucket = metric.name, f"{metric.name}_bucket"
    for bound, count in zip(bounds, times.counts, strict=True):
        yield (metric.kind, name, bucket, ("alias", "le"), (alias, bound), text), count
    yield (metric.kind, name, f"{name}_sum", ("alias",), (alias,), text), times.seconds


# This process's, and what has them written.
_files = _Files()
_ticker: Ticker | None = None
_interval = 0.0


def publish() -> None:
    """Write the numbers of this moment. Opens no pool and no session."""
    _files.publish(stats())


def publish_every(seconds: float) -> None:
    """Write them at this interval from now on, in a forked child, too, and when Python exits."""
    global _ticker, _interval
    if _ticker is not None and seconds == _interval:
        return  # To begin anew at each scrape would put off the next tick for ever.
    stop_publishing()
    _ticker, _interval = Ticker(seconds, publish), seconds
    _ticker.start()
    atexit.register(_publish_the_last)


def stop_publishing() -> None:
    """Write no more at intervals; what is written stays."""
    global _ticker
    if _ticker is not None:
        _ticker.stop()
    _ticker = None
    atexit.unregister(_publish_the_last)


def _publish_the_last() -> None:
    """At exit: what was counted last, and that there are no sessions any more."""
    publish()
    _files.publish({})
