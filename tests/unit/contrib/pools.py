"""Pools that are numbers alone, for those who read ``mysqlpool.stats()``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from types import SimpleNamespace
from typing import Any
from unittest import mock

from mysqlpool.aliases import registry
from mysqlpool.pool.times import BOUNDS, WAIT_BOUNDS, Histogram, Times
from mysqlpool.stats import PoolStats


class Numbers:
    """A pool whose statistics are what a test says."""

    def __init__(self, **figures: Any) -> None:
        self.settings = SimpleNamespace(arguments={"min_idle": 2})
        self.present = PoolStats(**figures)

    def figures(self) -> dict[str, Any]:
        return {one.name: getattr(self.present, one.name) for one in fields(PoolStats)}


def times(*seconds: float, bounds: tuple[float, ...] = BOUNDS) -> Histogram:
    measured = Times(bounds)
    for one in seconds:
        measured.add(one)
    return measured.histogram()


def waits(*seconds: float) -> Histogram:
    return times(*seconds, bounds=WAIT_BOUNDS)


def busy(**further: Any) -> Numbers:
    """One in which all that is counted has happened."""
    figures: dict[str, Any] = {
        "pool_size": 5,
        "max_overflow": 3,
        "in_use": 4,
        "idle": 1,
        "waiting": 7,
        "leases": 12,
        "waits": 6,
        "timeouts": 2,
        "refused": 9,
        "connects": 8,
        "connect_errors": 10,
        "renewed": 11,
        "reaped": 13,
        "rollbacks": 14,
        "unscoped": 15,
        "discards": {"CREATE": 16, "dead": 17},
        "failures": {"dead": 18},
        "pinned": {"SET": 19},
        "wait": waits(0.0, 0.0, 0.003, 400.0),
        "connect": times(0.002),
        "lease": times(0.0004, 0.02, 2.0),
    }
    return Numbers(**{**figures, **further})


@contextmanager
def open_pools(pools: Mapping[str, Numbers]) -> Iterator[None]:
    """While these are the pools of this process."""
    with mock.patch.object(registry, "pools", return_value=dict(pools)):
        yield
