"""What ends a connection, a transaction or a hook's wait on Django's engine ends it here, too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import (
    Error,
    OperationalError,
    close_old_connections,
    connections,
    reset_queries,
    transaction,
)
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext

from mysqlpool import close_pool, stats
from tests.helpers import HANG

from .modes import LEASES, pool
from .programs import insert
from .world import DATABASE, OURS, STOCK, World, alias

KINDS = ["stock", *LEASES]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def name(here: World, kind: str) -> Iterator[str]:
    """An alias of Django's engine, or of ours with a lease mode."""
    here.begin_anew()
    options = {} if kind == "stock" else {"pool": pool(None, kind)}
    with alias("ends", STOCK if kind == "stock" else OURS, CONN_MAX_AGE=0, OPTIONS=options) as name:
        yield name


def run(name: str, sql: str) -> Any:
    with connections[name].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else None


def by_call() -> None:
    close_old_connections()


def by_signals() -> None:
    """As Django's handler of requests does, without its other receivers."""
    for signal in (request_finished, request_started):
        signal.disconnect(reset_queries)
        try:
            signal.send(sender=None, environ={})
        finally:
            request_started.connect(reset_queries)


between_requests = pytest.mark.parametrize("finish", [by_call, by_signals])


@between_requests
def test_a_transaction_by_hand_that_was_not_used_ends_with_its_request(
    here: World, name: str, finish: Callable[[], None]
) -> None:
    """Or the next request's rows would be rolled back."""
    run(name, "SELECT 1")
    finish()
    transaction.set_autocommit(False, using=name)
    finish()
    assert connections[name].get_autocommit()
    run(name, insert(7))
    finish()
    assert here.numbers() == [7]


@between_requests
def test_a_receiver_is_asked_for_each_request(name: str, finish: Callable[[], None]) -> None:
    users = [1, 2, 2, 3]

    def tell(connection: Any, **_: object) -> None:
        if connection.alias == name:
            with connection.cursor() as cursor:
                cursor.execute(f"SET @who = {users[len(seen)]}")

    seen: list[int] = []
    connection_created.connect(tell)
    try:
        for _ in users:
            seen.append(run(name, "SELECT @who")[0][0])
            finish()
    finally:
        connection_created.disconnect(tell)
    assert seen == users


@pytest.mark.parametrize("kind", ["stock", "transaction"], indirect=True)
def test_a_hook_of_a_block_may_wait_for_another_thread(name: str) -> None:
    """In a pool of one session."""

    def ask() -> Any:
        try:
            return run(name, "SELECT 1")
        finally:
            connections[name].close()

    def hook() -> None:
        with ThreadPoolExecutor(1) as executor:
            answers.append(executor.submit(ask).result(HANG))

    answers: list[Any] = []
    with transaction.atomic(using=name):
        run(name, insert(1))
        transaction.on_commit(hook, using=name)
    assert answers == [((1,),)]


@pytest.mark.parametrize("kind", ["transaction"], indirect=True)
def test_a_hook_that_raises_keeps_no_lease(name: str) -> None:
    def fail() -> None:
        raise ValueError

    with contextlib.suppress(ValueError), transaction.atomic(using=name):
        run(name, insert(1))
        transaction.on_commit(fail, using=name)
    assert stats()[name].in_use == 0


def test_a_hook_sees_what_was_committed(here: World, name: str) -> None:
    seen: list[Any] = []
    with transaction.atomic(using=name):
        run(name, insert(1))
        transaction.on_commit(lambda: seen.append(run(name, "SELECT number FROM rows_row")), name)
        transaction.on_commit(lambda: run(name, insert(2)), name)
    assert seen == [((1,),)]
    assert here.numbers() == [1, 2]


@pytest.mark.parametrize("kind", ["transaction"], indirect=True)
@pytest.mark.parametrize("end", [transaction.commit, transaction.rollback])
def test_a_transaction_that_a_statement_began_may_be_ended_by_djangos_method(
    name: str, end: Callable[..., None]
) -> None:
    run(name, "BEGIN")
    run(name, insert(1))
    assert stats()[name].in_use == 1
    end(using=name)
    assert stats()[name].in_use == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["USE information_schema"], "SELECT DATABASE()"),
        (["SELECT GET_LOCK('ends', 1)"], insert(31)),
        (["BEGIN", insert(40)], insert(42)),
        (["SET SESSION sql_mode = 'ANSI_QUOTES'"], insert(50)),
    ],
    ids=["database", "lock", "transaction", "mode"],
)
def test_who_bound_a_session_that_is_lost_is_told_so_until_the_release(
    here: World, name: str, before: list[str], after: str
) -> None:
    """Elsewhere the statement would be of another database, without the lock, or alone."""
    for sql in before:
        run(name, sql)
    here.observer.kill(run(name, "SELECT CONNECTION_ID()")[0][0])
    for _ in range(3):
        with pytest.raises(OperationalError, match=r"2006|2013|4031|1927"):
            run(name, after)
    assert here.numbers() == []
    connections[name].close()
    assert run(name, "SELECT DATABASE()") == ((DATABASE,),)


@pytest.mark.parametrize("kind", ["transaction"], indirect=True)
def test_who_had_bound_none_goes_on(here: World, name: str) -> None:
    run(name, "SELECT 1")
    with contextlib.suppress(Error), transaction.atomic(using=name):
        here.observer.kill(run(name, "SELECT CONNECTION_ID()")[0][0])
        run(name, insert(1))
    run(name, insert(2))
    assert here.numbers() == [2]


def test_what_a_new_session_is_told_is_no_query_of_the_block(name: str, kind: str) -> None:
    """assertNumQueries() counts as on Django's engine."""
    run(name, "SELECT 1")
    with CaptureQueriesContext(connections[name]) as queries:
        run(name, "SELECT 2")
        if kind != "stock":
            close_pool(name)
        run(name, "SELECT 3")
    assert [query["sql"] for query in queries] == ["SELECT 2", "SELECT 3"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT @n := @n + 1, t.number FROM rows_row t, (SELECT @n := 0) i",
        "SELECT @n := @n + 1 FROM rows_row t CROSS JOIN (SELECT @n := 0, @before := NULL) AS i",
        "SELECT @n := @n + 1, @b := number FROM rows_row t JOIN (SELECT @n := 0, @b := '') i ON 1",
    ],
)
def test_rows_may_be_numbered_by_a_variable(name: str, sql: str) -> None:
    run(name, insert(1))
    run(name, insert(2))
    connections[name].close()
    assert [int(row[0]) for row in run(name, sql)] == [1, 2]
    connections[name].close()
    with transaction.atomic(using=name):
        assert [int(row[0]) for row in run(name, sql)] == [1, 2]


def test_a_text_may_ask_how_many_rows_its_own_statement_changed(name: str) -> None:
    run(name, insert(1))
    connections[name].close()
    with connections[name].cursor() as cursor:
        cursor.execute("UPDATE rows_row SET text = 'another'; SELECT ROW_COUNT()")
        assert cursor.nextset()
        assert cursor.fetchall() == ((1,),)
