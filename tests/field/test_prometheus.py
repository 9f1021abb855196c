"""django-prometheus' MySQL engine, made of ours: its cursors take the place of Django's."""

# These packages are in tox's environment "field", and not where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, Error, InterfaceError, connections, transaction
from django_prometheus.db import (
    connections_total,
    errors_total,
    execute_many_total,
    execute_total,
    query_duration_seconds,
)
from django_prometheus.db.backends.mysql.base import DatabaseWrapper as Prometheus

from mysqlpool import auto_close_db, release_connections, stats
from tests.audit import mixed_up, numbers_by_thread, split_tasks
from tests.helpers import run_threads
from tests.observer import Observer
from tests.server.backends.test_transaction_concurrency import general_log

from .engines import STOCK, TRANSACTION, Field, Under, ask, on_all, on_ours

THREADS, SESSIONS, TASKS = 4, 2, 600


@pytest.fixture
def table(observer: Observer, field: Field) -> Iterator[str]:
    name = f"{field.server.name}.counted"
    observer.query(f"CREATE TABLE {name} (thread INT, task INT) ENGINE=InnoDB")
    yield "counted"
    release_connections()
    observer.query(f"DROP TABLE {name}")


def counts(alias: str) -> dict[str, float]:
    """What the metrics say of an alias."""
    families = [connections_total, execute_total, execute_many_total, errors_total]
    found: dict[str, float] = {}
    for metric in [*families, query_duration_seconds]:
        for sample in (sample for family in metric.collect() for sample in family.samples):
            is_count = sample.name.endswith(("_total", "_count"))
            if sample.labels["alias"] == alias and is_count:
                found[f"{sample.name} {sample.labels.get('type', '')}"] = sample.value
    return found


def work(alias: str, table: str) -> None:
    """Something of all that is counted."""
    for number in range(3):
        ask(alias, "SELECT %s", number)
    with transaction.atomic(alias), connections[alias].cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(1, 2), (3, 4), (5, 6)])
    with suppress(DatabaseError):
        ask(alias, "SELECT nothing FROM nowhere")


def counted(field: Field, under: Under, table: str) -> dict[str, float]:
    alias = field.alias(under, Prometheus)
    for _ in range(2):
        work(alias, table)
        release_connections()
    ask(alias, "SELECT 1")
    before = counts(alias)
    work(alias, table)
    release_connections()
    return {name: value - before.get(name, 0) for name, value in counts(alias).items()}


@on_ours
def test_statements_and_errors_are_counted_as_on_djangos_engine(
    under: Under, field: Field, table: str
) -> None:
    ours, djangos = counted(field, under, table), counted(field, STOCK, table)
    assert ours == djangos
    assert djangos["django_db_execute_total "] == 3 + 3 + 1
    assert djangos["django_db_execute_many_total "] == 3
    assert any(name.startswith("django_db_errors_total") for name in djangos)


@on_all
def test_connections_are_counted_where_a_thread_connects(under: Under, field: Field) -> None:
    """Ours counts what Django's engine would have opened, and opens one."""
    alias = field.alias(under, Prometheus)
    for _ in range(5):
        ask(alias, "SELECT 1")
        release_connections()
    assert counts(alias)["django_db_new_connections_total "] == 5
    if under.is_ours:
        assert stats()[alias].connects == 1


@on_all
def test_an_old_cursor_is_dead_after_the_release(under: Under, field: Field) -> None:
    alias = field.alias(under, Prometheus)
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1 UNION SELECT 2")
    release_connections()
    with pytest.raises(InterfaceError if under.is_ours else Error):
        cursor.execute("SELECT 3")
    if under.is_ours:
        with pytest.raises(InterfaceError):
            cursor.fetchone()
        with pytest.raises(InterfaceError):
            cursor.executemany("DO %s", [(1,), (2,)])
        cursor.close()


class Client:
    """One thread: each task keeps a cursor open around an ``atomic`` block."""

    def __init__(self, number: int, alias: str, table: str) -> None:
        self.number, self.alias, self.table = number, alias, table
        self.task = self.sent = 0

    @auto_close_db
    def run(self) -> None:
        with connections[self.alias].execute_wrapper(self.tag):
            for _ in range(TASKS // THREADS):
                self.task += 1
                self.run_task()

    def tag(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.sent += 1
        tag = f"/* t={self.number} k={self.task} n={self.sent} */"
        return execute(f"{sql} {tag}", params, many, context)

    def run_task(self) -> None:
        with connections[self.alias].cursor() as outer:
            first = self.session(outer)
            with transaction.atomic(self.alias):
                with connections[self.alias].cursor() as inner:
                    values = f"({self.number}, {self.task})"
                    inner.execute(f"INSERT INTO {self.table} VALUES {values}")
                    assert self.session(inner) == first
                assert self.session(outer) == first
            outer.execute(f"SELECT COUNT(*) FROM {self.table} WHERE thread = {self.number}")
            assert outer.fetchone() == (self.task,)
            assert self.session(outer) == first

    def session(self, cursor: Any) -> Any:
        cursor.execute("SELECT CONNECTION_ID()")
        return cursor.fetchone()


def test_a_cursor_kept_open_around_atomic_keeps_its_session(
    field: Field, table: str, observer: Observer
) -> None:
    """The server's own log shows no session that two threads used at once."""
    pool = {"pool_size": SESSIONS}
    alias = field.alias(TRANSACTION, Prometheus, pool=pool)
    clients = [Client(number, alias, table) for number in range(1, THREADS + 1)]
    with general_log(observer) as log:
        run_threads(*[client.run for client in clients])
    assert mixed_up(log) == []
    assert split_tasks(log) == []
    assert numbers_by_thread(log) == {c.number: [*range(1, c.sent + 1)] for c in clients}
    rows = observer.query(f"SELECT thread, task FROM {field.server.name}.{table}")
    tasks = range(1, TASKS // THREADS + 1)
    assert sorted(rows) == [*itertools.product(range(1, THREADS + 1), tasks)]
    assert len({entry.session for entry in log}) == SESSIONS
    assert stats()[alias].in_use == 0
