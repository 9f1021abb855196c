"""What a task costs the server, counted by the server."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.signals import connection_created

from mysqlpool import auto_close_db, release_connections
from tests.helpers import run_threads, session_id
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True)

COUNTERS = ("Questions", "Com_admin_commands", "Connections")


@auto_close_db
def one_query() -> None:
    assert Row.objects.count() == 0


@auto_close_db
def one_transaction() -> None:
    with transaction.atomic():
        assert Row.objects.count() == 0


def in_new_thread(task: Callable[[], None]) -> None:
    run_threads(task)
    gc.collect()


def counted(observer: Any, task: Callable[[], None]) -> list[int]:
    """Statements, pings and connects of ten tasks, divided by ten."""
    task()  # opens the session and asks the server for its version
    with observer.counting(*COUNTERS) as grown:
        for _ in range(10):
            task()
    assert all(count % 10 == 0 for count in grown), grown
    return [count // 10 for count in grown]


def test_a_task_of_one_query_costs_one_statement_and_no_ping(observer: Any) -> None:
    assert counted(observer, one_query) == [1, 0, 0]


def test_a_task_of_one_query_costs_the_same_in_a_new_thread(observer: Any) -> None:
    assert counted(observer, lambda: in_new_thread(one_query)) == [1, 0, 0]


def test_atomic_costs_what_it_costs_on_a_held_connection(observer: Any) -> None:
    def held() -> None:
        with transaction.atomic():
            assert Row.objects.count() == 0

    on_held = counted(observer, held)
    release_connections()
    assert counted(observer, one_transaction) == on_held


def test_a_lease_without_a_statement_costs_nothing(observer: Any) -> None:
    @auto_close_db
    def lease() -> None:
        connection.ensure_connection()

    assert counted(observer, lease) == [0, 0, 0]


def test_a_new_session_is_set_up_in_two_statements(observer: Any) -> None:
    """SET NAMES by the driver, and Django's isolation level; autocommit comes with the connect."""
    from mysqlpool import close_pool

    session_id()  # Django has checked the server's version
    release_connections()
    close_pool()
    with observer.counting(*COUNTERS) as grown:
        one_query()
    assert grown[0] <= 4, grown  # these two, the version data, and the query
    assert grown[1:] == [0, 1]


def test_a_receiver_that_sends_set_at_each_lease_is_heard_once_a_session(observer: Any) -> None:
    def receiver(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wait_timeout = 1234")

    connection_created.connect(receiver)
    try:
        from mysqlpool import close_pool

        close_pool()
        assert counted(observer, one_query) == [1, 0, 0]
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@SESSION.wait_timeout")
            assert cursor.fetchone() == (1234,)
    finally:
        connection_created.disconnect(receiver)
        release_connections()
