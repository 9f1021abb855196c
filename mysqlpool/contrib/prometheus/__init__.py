"""Prometheus: the numbers of this process's pools, for prometheus_client. See docs/metrics.rst."""

from .collector import PoolCollector
from .registration import register, unregister

__all__ = ["PoolCollector", "register", "unregister"]
