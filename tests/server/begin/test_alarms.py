"""A signal handler that raises at any moment of a block breaks no promise of a transaction.

A handler runs as a Python function is entered, or as one of C returns. So a profiler that raises
at the n-th such moment is one, for each n in turn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from mysqlpool import release_connections, stats
from tests.helpers import without_logging

from .modes import LEASES, pool
from .programs import insert
from .world import OURS, World, alias

# A finalizer may be hit, too.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Alarm(BaseException):
    """What a signal handler raises."""


class Boom(Exception):
    """The application's own."""


class Moments:
    """Those of a block that have passed. The ``last`` one raises."""

    def __init__(self, last: int) -> None:
        self.passed, self.last = 0, last

    def __enter__(self) -> None:
        sys.setprofile(self._look)

    def __exit__(self, *args: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_return"):
            self.passed += 1
            if self.passed == self.last:
                raise Alarm


def run(name: str, sql: str) -> Any:
    with connections[name].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def a_block_that_goes_on(name: str, moments: Moments, here: World) -> None:
    with suppress(Boom), transaction.atomic(using=name):
        with suppress(Alarm), moments:
            run(name, insert(1))
        run(name, insert(2))
        with transaction.atomic(using=name):
            run(name, insert(3))
        raise Boom
    assert here.numbers() == []


def a_block_that_goes_on_after_a_nested_one(name: str, moments: Moments, here: World) -> None:
    with suppress(Boom, TransactionManagementError), transaction.atomic(using=name):
        run(name, insert(1))
        with suppress(Alarm), moments, transaction.atomic(using=name):
            run(name, insert(2))
            with suppress(Boom), transaction.atomic(using=name):
                raise Boom
        run(name, insert(3))
        raise Boom
    assert here.numbers() == []


def a_block_that_ends(name: str, moments: Moments, here: World) -> None:
    with suppress(Alarm), moments, transaction.atomic(using=name):
        run(name, insert(1))
        with transaction.atomic(using=name):
            run(name, insert(2))
    end(name)
    assert here.numbers() in ([], [1, 2])


def transactions_by_hand(name: str, moments: Moments, here: World) -> None:
    with suppress(Alarm), moments:
        transaction.set_autocommit(False, using=name)
        run(name, insert(1))
        transaction.commit(using=name)
        run(name, insert(2))
        transaction.rollback(using=name)
        run(name, insert(3))
    if not transaction.get_autocommit(using=name):
        run(name, insert(4))
        transaction.rollback(using=name)
        assert here.numbers() in ([], [1])
        transaction.set_autocommit(True, using=name)


def a_block_that_ends_in_djangos_way(name: str, moments: Moments, here: World) -> None:
    """What is written after it is committed."""
    with transaction.atomic(using=name):
        run(name, insert(1))
        with suppress(Alarm), moments:
            run(name, "DROP TABLE IF EXISTS nothing")
    run(name, insert(2))
    assert here.numbers() == [1, 2]


def end(name: str) -> None:
    """As a worker's loop does, whatever happened."""
    wrapper = connections[name]
    wrapper.close()
    if wrapper.in_atomic_block:  # Django's own book-keeping was hit, as on every engine.
        del connections[name]
    release_connections()


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize(
    "scenario",
    [
        a_block_that_goes_on,
        a_block_that_goes_on_after_a_nested_one,
        a_block_that_ends,
        transactions_by_hand,
        a_block_that_ends_in_djangos_way,
    ],
)
@pytest.mark.moments
def test_an_alarm_at_each_moment_undoes_what_is_to_be_undone(
    here: World, scenario: Callable[[str, Moments, World], None], lease: str, connected: bool
) -> None:
    options = {"pool": {**pool("fused", lease), "pool_size": 3}}
    with alias("begin", OURS, OPTIONS=options) as name, without_logging():
        run(name, "SELECT 1")
        for last in count(1):
            if not connected:
                end(name)
            here.observer.query("DELETE FROM rows_row")
            moments = Moments(last)
            scenario(name, moments, here)
            end(name)
            assert run(name, "SELECT @@autocommit") == (1,), last
            end(name)
            assert stats()[name].in_use == 0, last
            if moments.passed < last:
                break
        assert last > 50
