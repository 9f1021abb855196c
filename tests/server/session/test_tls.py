"""Is the server there? Over TCP and over TLS, when it is stopped, or has closed an idle session."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import OperationalError, connections

from mysqlpool.session.session import Session
from tests.helpers import identified, make_certificate
from tests.server import PrivateServer, Server

HANG = 20  # seconds; only proves that something did not hang

# Has the server close the connection when nothing was sent for a second, the least there is.
IMPATIENT = "SET wait_timeout = 1"
IDLE_TOO_LONG = {"mysql": {4031}, "mariadb": {2006, 2013}}


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server of our own, for we stop it, with a certificate made for the occasion."""
    certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    with PrivateServer([*certificate, "--tls-version=TLSv1.3"]) as server:
        yield server


@pytest.fixture(params=["TLS", "TCP"])
def session(request: pytest.FixtureRequest, tls_server: PrivateServer) -> Iterator[Session]:
    encrypted = request.param == "TLS"
    with _open(tls_server, encrypted) as session:
        assert (_cipher(session) != "") == encrypted
        yield session


def _open(server: Server, encrypted: bool, **options: Any) -> Session:
    options |= {"user": server.user, "password": server.password, "autocommit": True}
    options["ssl_mode"] = "REQUIRED" if encrypted else "DISABLED"
    session = Session(host=server.host, port=server.port, **options)
    session.settle()
    return session


def _cipher(session: Session) -> str:
    (row,) = _run(session, "SHOW STATUS LIKE 'Ssl_cipher'")
    cipher: str = row[1]
    return cipher


def _run(session: Session, sql: str) -> Any:
    with contextlib.closing(session.cursor()) as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@contextlib.contextmanager
def _stopped(server: PrivateServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, server.pid, os.WSTOPPED)  # until all of its threads have stopped
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_an_idle_session_is_quiet(session: Session) -> None:
    """TLS 1.3's session tickets have been read by the time the driver is connected."""
    assert not session.readable()
    assert _run(session, "SELECT 1") == ((1,),)
    assert not session.readable()


def test_a_check_says_yes_and_can_be_repeated(session: Session) -> None:
    for _ in range(3):
        assert session.check(HANG)
        assert not session.readable()
        assert _run(session, "SELECT 1") == ((1,),)
    assert session.restore() is None


def test_a_stopped_server_costs_the_timeout_and_no_more(
    session: Session, tls_server: PrivateServer
) -> None:
    with _stopped(tls_server):
        started = time.monotonic()
        assert not session.readable()
        assert not session.check(0.2)
        assert time.monotonic() - started < HANG
    assert session.broken == "no answer in time"
    assert session.restore() == session.broken


@pytest.mark.parametrize("encrypted", [True, False])
def test_closing_a_session_of_a_stopped_server_does_not_hang(
    tls_server: PrivateServer, encrypted: bool
) -> None:
    session = _open(tls_server, encrypted)
    with _stopped(tls_server):
        assert not session.check(0.1)
        started = time.monotonic()
        session.close()
        assert time.monotonic() - started < HANG


def test_a_killed_session_is_readable_and_fails_its_check(
    session: Session, tls_server: PrivateServer
) -> None:
    with _open(tls_server, encrypted=False) as other:
        _run(other, f"KILL {session.thread_id()}")
    assert session._wire.watch.poll(HANG * 1000)
    assert session.readable()
    assert not session.check(HANG)


def test_a_late_answer_never_reaches_the_next_statement(
    session: Session, tls_server: PrivateServer
) -> None:
    """The answer to the check arrives after the check gave up: the session is readable, unfit."""
    with _stopped(tls_server):
        assert not session.check(0.1)
    assert session._wire.watch.poll(HANG * 1000)
    assert session.readable()
    assert session.restore() is not None


def test_a_tls_record_is_told_from_a_packet_and_from_an_end(
    session: Session, tls_server: PrivateServer
) -> None:
    """Here it is the answer to a check that gave up; a session ticket looks the same."""
    encrypted = _cipher(session) != ""
    with _stopped(tls_server):
        assert not session.check(0.1)
    assert session._wire.watch.poll(HANG * 1000)
    assert session.has_tls_record() == encrypted
    with _open(tls_server, encrypted) as killed, _open(tls_server, encrypted=False) as other:
        _run(other, f"KILL {killed.thread_id()}")
        assert killed._wire.watch.poll(HANG * 1000)
        assert not killed.has_tls_record()


@pytest.mark.mysql
def test_mysql_speaks_tls_without_being_told_to(server: Server) -> None:
    """With a certificate that it made itself."""
    with _open(server, encrypted=True) as session:
        assert _cipher(session) != ""
        assert not session.readable()
        assert session.check(HANG)
        assert not session.readable()


def test_over_tls_1_2_an_idle_session_is_quiet_and_a_killed_one_is_not(
    tmp_path: Path,
) -> None:
    options = [*make_certificate(tmp_path), "--tls-version=TLSv1.2"]
    with (
        PrivateServer(options) as server,
        _open(server, encrypted=True) as session,
        _open(server, encrypted=False) as other,
    ):
        assert _run(session, "SHOW STATUS LIKE 'Ssl_version'") == (("Ssl_version", "TLSv1.2"),)
        assert not session.readable()
        assert session.check(HANG)
        assert not session.readable()
        _run(other, f"KILL {session.thread_id()}")
        _await_readable(session)
        assert session.readable()
        assert not session.check(HANG)


@pytest.mark.parametrize("encrypted", [True, False], ids=["TLS", "TCP"])
def test_a_session_that_was_idle_for_too_long_is_readable_and_broken(
    tls_server: PrivateServer, encrypted: bool, flavour: str
) -> None:
    """MySQL says why before it closes the connection; MariaDB only closes it."""
    asked = _open(tls_server, encrypted, init_command=IMPATIENT)
    checked = _open(tls_server, encrypted, init_command=IMPATIENT)
    with asked, checked:
        for session in (asked, checked):
            _await_readable(session)
            assert session.readable()
        assert not checked.check(HANG)
        with pytest.raises(MySQLdb.OperationalError) as caught:
            _run(asked, "SELECT 1")
        assert caught.value.args[0] in IDLE_TOO_LONG[flavour]
        for session in (asked, checked):
            assert session.broken in {f"error {number}" for number in IDLE_TOO_LONG[flavour]}
            assert session.restore() == session.broken


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("encrypted", [True, False], ids=["TLS", "TCP"])
def test_a_pool_replaces_a_session_that_was_idle_for_too_long(
    tls_server: PrivateServer, encrypted: bool
) -> None:
    wrapper = _wrapper(tls_server, encrypted, init_command=IMPATIENT)
    first, session = _number(wrapper), wrapper.connection
    wrapper.close()
    _await_readable(session)
    assert _number(wrapper) != first
    wrapper.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("encrypted", [True, False], ids=["TLS", "TCP"])
def test_a_holder_that_was_idle_for_too_long_gets_one_error(
    tls_server: PrivateServer, encrypted: bool, flavour: str
) -> None:
    wrapper = _wrapper(tls_server, encrypted, init_command=IMPATIENT)
    first = _number(wrapper)
    _await_readable(wrapper.connection)
    with pytest.raises(OperationalError) as caught:
        _number(wrapper)
    assert caught.value.args[0] in IDLE_TOO_LONG[flavour]
    wrapper.close()
    assert _number(wrapper) != first
    wrapper.close()


def _await_readable(session: Session) -> None:
    assert select.select([session], [], [], HANG)[0] == [session]


def test_a_socket_closed_on_this_side_holds_no_tls_record(tls_server: PrivateServer) -> None:
    session = _open(tls_server, encrypted=True)
    session.close()
    assert not session.has_tls_record()


@pytest.mark.django_db(transaction=True)
def test_a_pool_over_tls_leases_a_live_session_again_and_no_dead_one(
    tls_server: PrivateServer,
) -> None:
    """Through the backend: an idle TLS session is reused; a killed one is replaced."""
    wrapper = _wrapper(tls_server)
    first = _number(wrapper)
    wrapper.close()
    assert _number(wrapper) == first
    wrapper.close()
    with _open(tls_server, encrypted=False) as other:
        _run(other, f"KILL {first}")
    assert _number(wrapper) != first
    wrapper.close()


def _wrapper(server: Server, encrypted: bool = True, **options: Any) -> Any:
    options["ssl_mode"] = "REQUIRED" if encrypted else "DISABLED"
    settings = {
        **connections["default"].settings_dict,
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "NAME": "",
        "OPTIONS": {**options, "pool": {"pool_size": 1, "lease": "task"}},
    }
    return connections["default"].__class__(settings, "default")


def _number(wrapper: Any) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        number: int = cursor.fetchone()[0]
        return number


def test_a_session_is_renewed_over_its_connection(
    session: Session, tls_server: PrivateServer
) -> None:
    """As an account with a password, of which the server remembers nothing."""
    _run(session, "DROP USER IF EXISTS sesame")
    _run(session, f"CREATE USER sesame {identified('open')}")
    _run(session, "FLUSH PRIVILEGES")
    cipher = _cipher(session)
    account = {"user": "sesame", "password": "open", "autocommit": True}
    for _ in range(2):
        renewed = session.renew(account, contextlib.nullcontext())
        if session.broken == "error 2061":  # Oracle's library sends no password in plain text.
            where = {"host": tls_server.host, "port": tls_server.port, "ssl_mode": "DISABLED"}
            with pytest.raises(MySQLdb.OperationalError, match="2061"):
                MySQLdb.connect(**where, **account)
            return
        assert renewed, session.broken
        assert _run(session, "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1)") == (("sesame",),)
        assert _cipher(session) == cipher
        assert not session.readable()
