"""Collector: tells a registry of prometheus_client the numbers of this process's pools."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mysqlpool.stats import Histogram, PoolStats, stats

from .client import is_multiprocess, prometheus_client
from .files import publish
from .metrics import METRICS, HistogramMetric, NumberMetric

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["PoolCollector"]


class PoolCollector:
    """A custom collector of prometheus_client, which reads ``mysqlpool.stats()`` at each scrape.

    A scrape opens no pool and no session. In prometheus_client's multi-process mode it writes the
    numbers of this process to their files and yields nothing: ``MultiProcessCollector`` reads those
    of all processes, and would tell each number twice.

    It registers itself with ``registry``, if there is one. Of several ways to register,
    `mysqlpool.contrib.prometheus.register` is the one that also cares for several processes.

    Raises ``ImproperlyConfigured`` where prometheus_client is not installed, and ``ValueError``
    where the registry has one already.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._client = prometheus_client()
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterator[Any]:
        """Tell the names alone, so that a registry refuses a second collector of them."""
        for metric in METRICS:
            yield self._family(metric)

    def collect(self) -> Iterator[Any]:
        if is_multiprocess():
            publish()
            return
        found = stats()
        for metric in METRICS:
            yield self._filled(metric, found)

    def _family(self, metric: NumberMetric | HistogramMetric) -> Any:
        core = self._client.core
        kinds = {
            "gauge": core.GaugeMetricFamily,
            "counter": core.CounterMetricFamily,
            "histogram": core.HistogramMetricFamily,
        }
        return kinds[metric.kind](metric.name, metric.help, labels=metric.labels)

    def _filled(self, metric: NumberMetric | HistogramMetric, found: dict[str, PoolStats]) -> Any:
        family = self._family(metric)
        for alias, one in found.items():
            if isinstance(metric, HistogramMetric):
                times = metric.read(one)
                family.add_metric((alias,), self._buckets(times), times.seconds)
            else:
                for labels, number in metric.samples(alias, one).items():
                    family.add_metric(labels, number)
        return family

    def _buckets(self, times: Histogram) -> list[tuple[str, float]]:
        """Each bound with how often it took no longer."""
        bounds = [self._client.utils.floatToGoString(bound) for bound in times.bounds]
        return list(zip([*bounds, "+Inf"], accumulate(times.counts), strict=True))
