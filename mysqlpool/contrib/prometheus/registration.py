"""Registration: which registries of prometheus_client have a collector of ours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .client import check_folder, is_multiprocess, prometheus_client
from .collector import PoolCollector
from .files import publish_every, stop_publishing

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["register", "unregister"]

INTERVAL = 5.0  # seconds

_registered: WeakKeyDictionary[CollectorRegistry, PoolCollector] = WeakKeyDictionary()


def register(
    registry: CollectorRegistry | None = None, interval: float = INTERVAL
) -> PoolCollector:
    """Tell ``registry`` the numbers of all pools of this process, at each scrape.

    It is prometheus_client's ``REGISTRY`` by default. Call it once a process, such as in
    ``AppConfig.ready()``. A second call for the same registry returns the collector that it has.

    In prometheus_client's multi-process mode this process also writes its numbers into the folder
    of ``PROMETHEUS_MULTIPROC_DIR``, every ``interval`` seconds, where ``MultiProcessCollector``
    reads them. A child that is forked afterwards does the same.

    Raises ``ImproperlyConfigured`` where prometheus_client is not installed, or where that folder
    was named too late or does not exist; ``ValueError`` for an interval that is not positive, and
    where something else has told ``registry`` of metrics with these names.
    """
    if not 0 < interval < math.inf:
        raise ValueError(f"interval has to be a positive number of seconds, not {interval!r}")
    wanted = prometheus_client().REGISTRY if registry is None else registry
    check_folder()
    collector = _registered.get(wanted) or _added_to(wanted)
    if is_multiprocess():
        publish_every(interval)
    return collector


def _added_to(registry: CollectorRegistry) -> PoolCollector:
    collector = PoolCollector()
    registry.register(collector)
    _registered[registry] = collector
    return collector


def unregister(registry: CollectorRegistry | None = None) -> None:
    """Tell ``registry`` no more. Does nothing where `register` was not called.

    In multi-process mode nothing is written any more as soon as no registry is left.
    """
    wanted = prometheus_client().REGISTRY if registry is None else registry
    collector = _registered.pop(wanted, None)
    if collector is not None:
        wanted.unregister(collector)
    if not _registered:
        stop_publishing()
