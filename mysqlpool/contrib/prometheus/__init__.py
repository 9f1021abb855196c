"""Prometheus: the numbers of this process's pools, for prometheus_client."""

from .collector import PoolCollector
from .registration import register, unregister

__all__ = ["PoolCollector", "register", "unregister"]
