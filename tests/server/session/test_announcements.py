"""What receivers of connection_created say is sent once a session, on the real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from mysqlpool import auto_close_db, close_pool, release_connections
from tests.helpers import session_id


@contextmanager
def receiving(*statements: tuple[str, Any]) -> Iterator[None]:
    def receiver(connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(*statement)

    connection_created.connect(receiver)
    try:
        yield
    finally:
        connection_created.disconnect(receiver)


@auto_close_db
def waits() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.wait_timeout, CONNECTION_ID()")
        row: tuple[int, int] = cursor.fetchone()
        return row


@pytest.mark.django_db(transaction=True)
def test_a_receivers_setting_holds_for_every_lease_and_discards_no_session() -> None:
    release_connections()
    close_pool()
    with receiving(("SET SESSION wait_timeout = %s", [1111])):
        first = waits()
        assert first[0] == 1111
        assert waits() == first
    with receiving(("SET SESSION wait_timeout = 2222", None)):
        assert waits() == (2222, first[1])
    with receiving(("SET SESSION wait_timeout = %s", [1111])):
        assert waits() == first


@pytest.mark.django_db(transaction=True)
def test_after_the_receivers_every_statement_is_sent(observer: Any) -> None:
    release_connections()
    session_id()
    with observer.counting("Com_set_option") as sent:
        connection.init_connection_state()
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION wait_timeout = 3333")
            cursor.execute("SET SESSION wait_timeout = 3333")
    assert sent == [3]
