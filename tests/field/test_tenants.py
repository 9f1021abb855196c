"""A database for each tenant: by an engine's parameters, or by a receiver's ``USE``."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.signals import connection_created

from mysqlpool import auto_close_db, release_connections, stats
from tests.helpers import HANG, in_thread, run_threads
from tests.observer import Observer

from .engines import Field, Under, ask, on_all, on_ours

TENANTS = 6
TASKS = 40  # of each thread
GRACE = 1
"""Seconds within which the server has noticed that a session was closed, on a busy machine."""

current = threading.local()


class ByParameters:
    """The tenant of this thread is the database that its session is connected with."""

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()  # type: ignore[misc]
        params["database"] = current.tenant
        return params


@contextmanager
def receiving(alias: str, receive: Callable[[Any], None]) -> Iterator[None]:
    """Have a function hear of each connection of an alias."""

    def on_created(sender: Any, connection: Any, **kwargs: Any) -> None:
        if connection.alias == alias:
            receive(connection)

    connection_created.connect(on_created)
    try:
        yield
    finally:
        connection_created.disconnect(on_created)


def use_tenant(connection: Any) -> None:
    """As django-tenants and its like do it: after connecting, and not for the public tenant."""
    if current.tenant != tenants_names()[0]:
        with connection.cursor() as cursor:
            cursor.execute(f"USE {current.tenant}")


def name_tenant(connection: Any) -> None:
    """A variable, as triggers and views read one; the public tenant has none."""
    if current.tenant != tenants_names()[0]:
        with connection.cursor() as cursor:
            cursor.execute("SET @tenant = %s", [current.tenant])


def tenants_names() -> list[str]:
    return [f"field_tenant_{number}" for number in range(TENANTS)]


@pytest.fixture
def tenants(observer: Observer, field: Field) -> Iterator[list[str]]:
    """Each has a table of its own, with rows that name it."""
    for name in tenants_names():
        observer.query(f"CREATE DATABASE {name}")
        observer.query(f"CREATE TABLE {name}.owned (owner VARCHAR(40)) ENGINE=InnoDB")
        observer.query(f"INSERT INTO {name}.owned VALUES ('{name}'), ('{name}')")
    yield tenants_names()
    release_connections()
    for name in tenants_names():
        observer.query(f"DROP DATABASE {name}")


def work(alias: str, number: int) -> None:
    """Tasks of a thread, each for a tenant of its choice."""
    dice = random.Random(number)
    for _ in range(TASKS):
        current.tenant = dice.choice(tenants_names())
        with auto_close_db():
            for _ in range(dice.randint(1, 3)):
                assert {*ask(alias, "SELECT owner, DATABASE() FROM owned")} == {
                    (current.tenant, current.tenant)
                }
            with transaction.atomic(alias):
                ask(alias, "INSERT INTO owned VALUES (%s)", current.tenant)
                assert ask(alias, "SELECT DATABASE()") == ((current.tenant,),)


class Watch:
    """Looks at the server's list for more sessions than there may be, again and again.

    A session that was closed is in the list for a moment. So it counts only where it stays there.
    """

    def __init__(self, observer: Observer, limit: int) -> None:
        self.observer, self.limit = observer, limit
        self.ended = threading.Event()
        self.looks = self.peak = 0
        self.excess: set[int] = set()

    def run(self) -> None:
        since: dict[int, float] = {}
        while not self.ended.is_set():
            now = time.monotonic()
            since = {session: since.get(session, now) for session in self.sessions()}
            staying = {session for session, began in since.items() if now - began > GRACE}
            if len(staying) > self.limit:
                self.excess = staying
            self.looks += 1
            self.peak = max(self.peak, len(since))
            self.ended.wait(0.02)

    def sessions(self) -> set[int]:
        names = ", ".join(f"'{name}'" for name in tenants_names())
        rows = self.observer.query(
            f"SELECT id FROM information_schema.processlist WHERE db IN ({names})"
        )
        return {row[0] for row in rows}


@pytest.mark.parametrize("size", [1, 2, 5])
@on_ours
def test_interleaved_threads_read_their_own_tenant_and_the_limit_holds_over_all(
    under: Under, size: int, field: Field, tenants: list[str], observer: Observer
) -> None:
    alias = field.alias(under, ByParameters, pool={"pool_size": size})
    watch = Watch(observer, size)
    with in_thread(watch.run):
        try:
            run_threads(*[partial(work, alias, number) for number in range(12)])
        finally:
            watch.ended.set()
    assert watch.looks > 10
    assert watch.peak > 0
    assert watch.excess == set()
    observer.until(lambda: len(watch.sessions()) <= size)
    figures = stats()[alias]
    assert figures.in_use == 0
    assert figures.idle <= size
    rows = [
        (name, *row) for name in tenants for row in observer.query(f"SELECT * FROM {name}.owned")
    ]
    assert len(rows) == 12 * TASKS + 2 * TENANTS
    assert all(name == owner for name, owner in rows)


@pytest.mark.parametrize("size", [1, 2, 5])
@on_ours
def test_the_limit_holds_while_some_tenants_have_sessions_and_others_wait(
    under: Under, size: int, field: Field, tenants: list[str], observer: Observer
) -> None:
    alias = field.alias(under, ByParameters, pool={"pool_size": size})
    watch = Watch(observer, size)
    may_end = threading.Event()
    inside = threading.Semaphore(0)

    @auto_close_db
    def hold(tenant: str) -> None:
        current.tenant = tenant
        with transaction.atomic(alias):
            assert ask(alias, "SELECT DISTINCT owner FROM owned") == ((tenant,),)
            inside.release()
            assert may_end.wait(HANG)

    def look() -> None:
        try:
            for _ in range(size):
                assert inside.acquire(timeout=HANG)
            observer.until(lambda: stats()[alias].waiting == TENANTS - size)
            observer.until(lambda: len(watch.sessions()) == size)
            assert {len(watch.sessions()) for _ in range(50)} == {size}
        finally:
            may_end.set()

    run_threads(look, *[partial(hold, tenant) for tenant in tenants])
    observer.until(lambda: len(watch.sessions()) <= size)
    assert stats()[alias].connects <= TENANTS


@on_all
def test_a_thread_that_goes_from_tenant_to_tenant_is_where_it_says(
    under: Under, field: Field, tenants: list[str]
) -> None:
    alias = field.alias(under, ByParameters, pool={"pool_size": 1})
    for tenant in [*tenants, *reversed(tenants)]:
        current.tenant = tenant
        assert ask(alias, "SELECT DISTINCT owner FROM owned") == ((tenant,),)
        release_connections()


@pytest.mark.parametrize("size", [1, 2, 5])
@on_all
def test_a_receiver_that_selects_a_database_speaks_for_its_own_thread(
    under: Under, size: int, field: Field, tenants: list[str]
) -> None:
    alias = field.alias(under, pool={"pool_size": size}, NAME=tenants[0])
    with receiving(alias, use_tenant):
        run_threads(*[partial(work, alias, number) for number in range(8)])


@pytest.mark.parametrize("size", [1, 2])
@on_all
def test_a_receiver_that_sets_a_variable_speaks_for_its_own_thread(
    under: Under, size: int, field: Field, tenants: list[str]
) -> None:
    alias = field.alias(under, pool={"pool_size": size}, NAME=tenants[0])

    def read(number: int) -> None:
        dice = random.Random(number)
        for _ in range(TASKS):
            current.tenant = dice.choice(tenants)
            with auto_close_db():
                for _ in range(3):
                    # The first statement of a lease may not read what an earlier one left.
                    with connections[alias].cursor() as cursor:
                        cursor.execute("DO 0")
                        cursor.execute("SELECT @tenant")
                        expected = None if current.tenant == tenants[0] else current.tenant
                        assert cursor.fetchone() == (expected,)

    with receiving(alias, name_tenant):
        run_threads(*[partial(read, number) for number in range(8)])
