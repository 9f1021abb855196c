"""Leases on the real server, with both ways of looking at a socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from django.db import connection

from mysqlpool import release_connections
from mysqlpool.aliases import forks
from mysqlpool.session import sockets
from mysqlpool.session.session import Session
from tests.helpers import HANG, session_id


@pytest.fixture(params=["as the system has it", "by select and by addresses"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of looking at a socket, also where the system has the better one."""
    if request.param == "by select and by addresses":
        monkeypatch.setattr(sockets, "watch", sockets.SelectWatch)
        monkeypatch.setattr(sockets, "way_to_tell", lambda number: sockets.addresses)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("way")
def test_an_idle_session_is_leased_again() -> None:
    number = session_id()
    release_connections()
    assert session_id() == number


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("way")
def test_a_session_that_the_server_closed_is_replaced(observer: Any) -> None:
    number = session_id()
    release_connections()
    observer.kill(number)
    (session,) = forks._sessions
    assert session._wire.watch.poll(HANG * 1000)
    assert session_id() != number


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("way")
def test_the_server_answers_a_check_and_a_lost_one_does_not(observer: Any) -> None:
    number = session_id()
    session: Any = connection.connection
    assert session.check(HANG)
    assert session_id() == number
    observer.kill(number)
    assert not session.check(HANG)
    assert session.restore() is not None
    release_connections()
    assert session_id() != number


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("way")
def test_a_release_undoes_a_transaction() -> None:
    number = session_id()
    connection.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    release_connections()
    assert session_id() == number
    assert connection.get_autocommit()


@pytest.mark.usefixtures("way")
def test_another_file_with_the_sockets_number_is_not_taken_for_the_session(
    server: Any, observer: Any
) -> None:
    """After a disconnect in the middle of rows the library closes the socket and says nothing."""
    with _open(server) as session:
        rows = "SELECT REPEAT('x', 1000000) FROM information_schema.columns a, "
        session.query(rows + "information_schema.columns b")
        result = session.use_result()
        result.fetch_row()
        number = session.fileno()
        observer.kill(session.thread_id())
        with pytest.raises(MySQLdb.OperationalError):
            result.fetch_row(0)
        with contextlib.suppress(MySQLdb.OperationalError):
            result.discard()
        with contextlib.ExitStack() as stack:
            # The lowest free number is taken first.
            others = [stack.enter_context(socket.socket()) for _ in range(number + 1)]
            assert number in [other.fileno() for other in others]
            assert session.restore() == "disconnected"


@contextlib.contextmanager
def _open(server: Any) -> Iterator[Any]:
    session = Session(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        autocommit=True,
        ssl_mode="DISABLED",
    )
    session.settle()
    try:
        yield session
    finally:
        with contextlib.suppress(MySQLdb.OperationalError):
            session.close()
