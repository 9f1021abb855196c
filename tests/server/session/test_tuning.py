"""The socket's options on real sessions."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from django.db import connection

from mysqlpool.session import sockets
from tests.server import Server
from tests.server.pointed import pointed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT"
    ),
]


def options(session: Any) -> tuple[bool, int]:
    """Whether the driver's own socket is kept alive, and its user timeout in milliseconds."""
    with sockets.duplicate(session.fileno()) as looking:
        timeout = looking.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        return bool(looking.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)), timeout


def on(server: Server, **pool: Any) -> Any:
    return pointed(HOST="127.0.0.1", PORT=server.port, OPTIONS={"pool": {"lease": "task", **pool}})


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        ({}, (True, 30000)),
        ({"tcp_keepalive": False}, (False, 30000)),
        ({"tcp_user_timeout": 1.5}, (True, 1500)),
        ({"tcp_user_timeout": None}, (True, 0)),
        ({"class": "NullPool"}, (True, 30000)),
    ],
)
def test_a_sessions_socket_has_what_the_settings_ask_for(
    pool: dict[str, Any], wanted: tuple[bool, int], server: Server
) -> None:
    with on(server, **pool):
        connection.ensure_connection()
        assert options(connection.connection) == wanted


def test_a_session_that_is_connected_anew_has_it_too(server: Server) -> None:
    with on(server, tcp_user_timeout=1.5):
        connection.ensure_connection()
        session: Any = connection.connection
        session._connect_anew(connection._new_parameters())  # type: ignore[attr-defined]
        assert options(session) == (True, 1500)


def test_a_statement_may_take_longer_than_any_of_these_times(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's system acknowledges, and answers the questions, while the server is at work."""
    monkeypatch.setattr(sockets, "KEEPALIVE_IDLE", 1)
    monkeypatch.setattr(sockets, "KEEPALIVE_INTERVAL", 1)
    with on(server, tcp_user_timeout=0.5), connection.cursor() as cursor:
        assert options(connection.connection) == (True, 500)
        cursor.execute("SELECT SLEEP(3)")
        assert cursor.fetchone() == (0,)
