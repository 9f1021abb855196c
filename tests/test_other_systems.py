"""Nothing at import or at a lease needs what Windows lacks.

What is here passes with those names and without them: the last test runs it without, by
``tests.other_system``, together with the tests of the sessions and those that need no server.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import connection
from MySQLdb.cursors import SSCursor

import mysqlpool
from mysqlpool import registry, release_connections, sockets
from mysqlpool.session import Session
from tests import other_system
from tests.helpers import HANG, session_id

ROOT = Path(__file__).parent.parent
UNIT_TESTS = [
    "tests/test_checks.py",
    "tests/test_pool.py",
    "tests/test_pool_cost.py",
    "tests/test_pool_offers.py",
    "tests/test_scopes.py",
    "tests/test_settings.py",
    "tests/test_statements.py",
]
SESSION_TESTS = ["tests/test_session.py", "tests/test_session_tls.py"]

WATCHES = [sockets.watch, sockets.SelectWatch]
WAYS_TO_TELL = [sockets.inode, sockets.addresses]


@pytest.fixture(params=["as the system has it", "by select and by addresses"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of looking at a socket, also where the system has the better one."""
    if request.param == "by select and by addresses":
        monkeypatch.setattr(sockets, "watch", sockets.SelectWatch)
        monkeypatch.setattr(sockets, "way_to_tell", lambda number: sockets.addresses)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


# Importing


def test_every_module_can_be_imported() -> None:
    names = [module.name for module in pkgutil.walk_packages(mysqlpool.__path__, "mysqlpool.")]
    assert "mysqlpool.sockets" in names
    for name in names:
        if not name.startswith("mysqlpool.backends.gis."):  # It needs GDAL.
            importlib.import_module(name)


# Looking at a socket


@pytest.mark.parametrize("watch", WATCHES)
def test_a_socket_is_readable_when_there_is_something_or_it_was_closed(
    pair: Pair, watch: Any
) -> None:
    ours, theirs = pair
    watched = watch(ours.fileno())
    assert not watched.poll(0)
    assert not watched.poll(1)
    theirs.sendall(b"x")
    assert watched.poll(HANG * 1000)
    ours.recv(1)
    assert not watched.poll(0)
    theirs.close()
    assert watched.poll(HANG * 1000)
    ours.close()
    assert watched.poll(0)


def test_a_number_that_select_does_not_take_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="out of range"):
        sockets.SelectWatch(1 << 20)


@pytest.mark.parametrize("tell", WAYS_TO_TELL)
def test_a_socket_is_told_from_others_and_from_what_is_none(pair: Pair, tell: Any) -> None:
    if other_system.is_hidden() and tell is sockets.inode:
        assert tell(pair[0].fileno()) is None
        return
    ours, theirs = pair
    identity = tell(ours.fileno())
    assert identity is not None
    assert tell(ours.fileno()) == identity
    assert tell(theirs.fileno()) not in (identity, None)
    number = ours.fileno()
    ours.close()
    assert tell(number) is None
    reader, writer = os.pipe()
    try:
        assert tell(reader) is None
    finally:
        os.close(reader)
        os.close(writer)


def test_the_certain_way_is_taken_where_the_system_has_it(pair: Pair) -> None:
    number = pair[0].fileno()
    hidden = other_system.is_hidden()
    assert sockets.way_to_tell(number) is (sockets.addresses if hidden else sockets.inode)
    assert isinstance(sockets.watch(number), sockets.SelectWatch) is hidden
    assert hasattr(select, "poll") is hasattr(os, "register_at_fork") is not hidden


def test_what_was_looked_at_is_still_there_and_nothing_is_waited_for(pair: Pair) -> None:
    ours, theirs = pair
    assert sockets.peek(ours.fileno(), 2) == b""
    theirs.sendall(b"abc")
    assert sockets.watch(ours.fileno()).poll(HANG * 1000)
    assert sockets.peek(ours.fileno(), 2) == b"ab"
    assert ours.recv(3) == b"abc"
    theirs.close()
    assert sockets.watch(ours.fileno()).poll(HANG * 1000)
    assert sockets.peek(ours.fileno(), 2) == b""


def test_looking_leaves_no_duplicate_behind(pair: Pair) -> None:
    reader, writer = os.pipe()
    try:
        free = _next_number()
        for number in (pair[0].fileno(), reader):
            sockets.addresses(number)
            sockets.peek(number, 2)
        assert _next_number() == free
    finally:
        os.close(reader)
        os.close(writer)


def _next_number() -> int:
    with open(os.devnull) as file:
        return file.fileno()


def test_a_default_timeout_does_not_make_the_drivers_socket_non_blocking(pair: Pair) -> None:
    ours, _ = pair
    socket.setdefaulttimeout(HANG)
    try:
        sockets.addresses(ours.fileno())
        sockets.peek(ours.fileno(), 2)
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(ours.fileno())


# Leasing on the real server


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
    (session,) = registry._sessions
    assert session._poll.poll(HANG * 1000)
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
        cursor = session.cursor(SSCursor)
        rows = "SELECT REPEAT('x', 1000000) FROM information_schema.columns a, "
        cursor.execute(rows + "information_schema.columns b")
        cursor.fetchone()
        number = session.fileno()
        observer.kill(session.thread_id())
        with pytest.raises(MySQLdb.OperationalError):
            cursor.fetchall()
        with contextlib.suppress(MySQLdb.OperationalError):
            cursor.close()
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


# All of it, where the names are not there


@pytest.mark.skipif(other_system.is_hidden(), reason="this is the run without the names")
@pytest.mark.django_db(transaction=True, databases="__all__")  # made here, and used there
def test_the_unit_tests_and_the_leases_pass_where_the_names_are_not_there(server: Any) -> None:
    arguments = [
        "-q",
        "--reuse-db",
        "-p",
        "no:cacheprovider",
        __file__,
        *SESSION_TESTS,
        *UNIT_TESTS,
    ]
    result = subprocess.run(
        [sys.executable, "-m", "tests.other_system", *arguments],
        cwd=ROOT,
        env={**os.environ, **server.environ()},
        capture_output=True,
        text=True,
        timeout=HANG * 10,
    )
    assert result.returncode == 0, result.stdout + result.stderr
