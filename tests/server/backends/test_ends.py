"""How leases and transactions end and begin where little has happened yet, or an alarm comes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, connections, transaction

from mysqlpool import release_connections, stats
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.middleware import ReleasingStream
from mysqlpool.pool import Lease
from tests.helpers import lease_all, leased, session_id
from tests.rows.models import Row
from tests.server.pointed import alias_with, pointed
from tests.server.private import free_port

pytestmark = pytest.mark.django_db(transaction=True)


class Interruption(BaseException):
    """What a signal handler raises."""


def test_a_lease_that_is_interrupted_as_it_is_given_back_is_discarded(
    observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(lease: Lease, **kwargs: Any) -> None:
        raise Interruption

    with alias_with(pool_size=1, lease="task"):
        number = session_id()
        with monkeypatch.context() as patched, pytest.raises(Interruption):
            patched.setattr(Lease, "give_back", interrupt)
            release_connections()
        observer.until(lambda: number not in observer.sessions())
        assert leased() == []
        assert dict(stats()["default"].discards) == {"interrupted": 1}
        assert session_id() != number


def test_a_transaction_that_was_released_before_it_began_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a signal handler, between the lease and the beginning on it."""
    taken = DatabaseWrapper._connect_or_lease

    def released_at_once(wrapper: DatabaseWrapper) -> None:
        taken(wrapper)
        wrapper.tenure.end()
        wrapper.connection = None

    monkeypatch.setattr(DatabaseWrapper, "_connect_or_lease", released_at_once)
    with transaction.atomic(), pytest.raises(InterfaceError, match="was released before its"):
        connection.cursor()
    assert leased() == []


def test_a_savepoint_in_one_that_is_rolled_back_before_any_statement_is_gone() -> None:
    with transaction.atomic():
        outer, inner = connection.savepoint() or "", connection.savepoint() or ""
        connection.savepoint_rollback(outer)
        assert leased() == []
        Row.objects.create(text="undone")
        with pytest.raises(OperationalError, match="SAVEPOINT"):
            connection.savepoint_rollback(inner)
        connection.savepoint_rollback(outer)
        Row.objects.create(text="kept")
    assert list(Row.objects.values_list("text", flat=True)) == ["kept"]


def test_autocommit_that_is_switched_off_twice_is_one_transaction() -> None:
    transaction.set_autocommit(False)
    transaction.set_autocommit(False)
    try:
        assert leased() == []
        Row.objects.create(text="undone")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)
    assert not Row.objects.exists()


def test_a_transaction_whose_server_is_away_is_not_usable() -> None:
    with pointed(HOST="127.0.0.1", PORT=str(free_port())):
        transaction.set_autocommit(False)
        try:
            assert connection.is_usable() is False
        finally:
            connections["default"].close()
            connections["default"].autocommit = True


@pytest.mark.parametrize("fails", [False, True])
def test_a_stream_that_can_be_closed_is_closed_before_the_release(fails: bool) -> None:
    """That of a response class of its own kind. Django's own is a ``map``."""
    seen: list[list[str]] = []

    class Stream:
        def close(self) -> None:
            seen.append(leased())
            if fails:
                raise ZeroDivisionError

    lease_all("default")
    stream = ReleasingStream(Stream())
    if fails:
        with pytest.raises(ZeroDivisionError):
            stream.close()
    else:
        stream.close()
    assert seen == [["default"]]
    assert leased() == []
