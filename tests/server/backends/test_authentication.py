"""Accounts with passwords, through the backend: a wrong one, a new one, and MySQL's way to ask.

MySQL's caching_sha2_password asks in one of two ways. An account that it has seen since the last
FLUSH PRIVILEGES answers with a hash (the fast path). Another one has to send the password (the full
path): inside of TLS, or encrypted with a key that the server sends when it is asked for it.
https://dev.mysql.com/doc/refman/8.4/en/caching-sha2-pluggable-authentication.html
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from django.db import OperationalError, connections

from mysqlpool import close_pool
from tests.helpers import HANG, error_of, identified, make_certificate
from tests.observer import Observer
from tests.server import PrivateServer, Server
from tests.server.flavours import needs_sha2

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "first-secret"
NEW_PASSWORD = "second-secret"
WRONG_PASSWORD = "no-such-secret"
ACCESS_DENIED = 1045

# What only the full path without TLS has, from the server.
PUBLIC_KEY = b"BEGIN PUBLIC KEY"

# MariaDB's library asks the server for its key. Oracle's does so by an option that mysqlclient does
# not have, and refuses.
ASKS_FOR_THE_KEY = MySQLdb.get_client_info().startswith("3.")
NO_SECURE_CONNECTION = 2061


@pytest.fixture(scope="module")
def secure_server(
    tmp_path_factory: pytest.TempPathFactory, flavour: str
) -> Iterator[PrivateServer]:
    """A server that speaks TLS: MySQL with the certificate that it makes itself."""
    mariadb = flavour == "mariadb"
    options = make_certificate(tmp_path_factory.mktemp("tls")) if mariadb else []
    with PrivateServer(options) as server:
        yield server


@pytest.fixture
def admin(secure_server: PrivateServer) -> Iterator[Observer]:
    """There is an account ``keeper``, as the server makes one by default, that it has not seen."""
    with Observer(secure_server) as observer:
        observer.query(f"CREATE USER keeper@'%%' {identified(PASSWORD)}")
        yield observer
        close_pool()
        observer.query("DROP USER keeper@'%%'")


@pytest.fixture(params=[True, False], ids=["TLS", "TCP"])
def encrypted(request: pytest.FixtureRequest, flavour: str) -> bool:
    answer: bool = request.param
    if flavour == "mariadb" and needs_sha2() and not answer:
        pytest.skip("MariaDB's caching_sha2_password has no fast path: this library wants TLS")
    return answer


def wrapper_of(server: Server, encrypted: bool, *, password: str = PASSWORD, port: int = 0) -> Any:
    """The backend's wrapper, of a pool of one session, for the account ``keeper``."""
    settings = {
        **connections["default"].settings_dict,
        "HOST": server.host,
        "PORT": port or server.port,
        "USER": "keeper",
        "PASSWORD": password,
        "NAME": "",
        "OPTIONS": {
            "ssl_mode": "REQUIRED" if encrypted else "DISABLED",
            "pool": {"pool_size": 1},
        },
    }
    return connections["default"].__class__(settings, "default")


def use(wrapper: Any) -> int:
    """Lease, ask who and by which session, and release."""
    try:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT CURRENT_USER(), CONNECTION_ID()")
            ((user, number),) = cursor.fetchall()
            cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
            ((_, cipher),) = cursor.fetchall()
    finally:
        wrapper.close()
    assert user == "keeper@%"
    assert bool(cipher) == (wrapper.settings_dict["OPTIONS"]["ssl_mode"] == "REQUIRED")
    return int(number)


def refusal(wrapper: Any) -> OperationalError:
    """The error of a lease that comes to nothing."""
    error = error_of(lambda: use(wrapper))
    assert isinstance(error, OperationalError)
    return error


def full_path_works(flavour: str, encrypted: bool) -> bool:
    """Whether the driver's library can log in to an account that the server has not seen."""
    return encrypted or ASKS_FOR_THE_KEY or flavour == "mariadb"


@pytest.fixture
def seen(secure_server: PrivateServer, admin: Observer) -> Observer:
    """The account has logged in, over TLS, so that the fast path is open to it."""
    use(wrapper_of(secure_server, encrypted=True))
    close_pool()
    return admin


def test_an_account_with_a_password_is_served(
    seen: Observer, secure_server: PrivateServer, encrypted: bool
) -> None:
    wrapper = wrapper_of(secure_server, encrypted)
    number = use(wrapper)
    assert use(wrapper) == number


def test_a_wrong_password_is_an_error_that_does_not_tell_it(
    seen: Observer,
    secure_server: PrivateServer,
    encrypted: bool,
    flavour: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MySQL takes the full path when the hash is wrong."""
    caplog.set_level(logging.DEBUG)
    error = refusal(wrapper_of(secure_server, encrypted, password=WRONG_PASSWORD))
    full = full_path_works(flavour, encrypted)
    assert error.args[0] == (ACCESS_DENIED if full else NO_SECURE_CONNECTION)
    told = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert WRONG_PASSWORD not in told
    assert use(wrapper_of(secure_server, encrypted))


def test_after_a_new_password_close_pool_lets_go_of_the_sessions_of_the_old_one(
    seen: Observer, secure_server: PrivateServer, encrypted: bool, flavour: str
) -> None:
    """Until then they are as good as ever: the server asks only who connects."""
    wrapper = wrapper_of(secure_server, encrypted)
    number = use(wrapper)
    seen.query(f"ALTER USER keeper@'%%' {identified(NEW_PASSWORD)}")
    assert use(wrapper) == number
    close_pool()
    wrapper.settings_dict["PASSWORD"] = NEW_PASSWORD
    if full_path_works(flavour, encrypted):
        assert use(wrapper) != number
    else:
        assert refusal(wrapper).args[0] == NO_SECURE_CONNECTION
        use(wrapper_of(secure_server, encrypted=True, password=NEW_PASSWORD))
        close_pool()
        assert use(wrapper) != number
    wrapper.settings_dict["PASSWORD"] = PASSWORD
    close_pool()
    full = full_path_works(flavour, encrypted)
    assert refusal(wrapper).args[0] == (ACCESS_DENIED if full else NO_SECURE_CONNECTION)


@pytest.mark.mysql
def test_mysql_asks_by_caching_sha2_password(admin: Observer) -> None:
    asked = admin.query("SELECT plugin FROM mysql.user WHERE user = 'keeper'")
    assert asked == (("caching_sha2_password",),)


@pytest.mark.mysql
def test_over_tls_both_paths_work(admin: Observer, secure_server: PrivateServer) -> None:
    wrapper = wrapper_of(secure_server, encrypted=True)
    for prepare in ("DO 0", "DO 0", "FLUSH PRIVILEGES", "DO 0"):  # full, fast, full, fast
        admin.query(prepare)
        close_pool()
        assert use(wrapper)


@pytest.mark.mysql
def test_without_tls_the_fast_path_needs_no_key(
    seen: Observer, secure_server: PrivateServer
) -> None:
    with relay(secure_server) as (port, said):
        use(wrapper_of(secure_server, encrypted=False, port=port))
        close_pool()
    assert b"caching_sha2_password" in said
    assert PUBLIC_KEY not in said


@pytest.mark.mysql
def test_without_tls_the_full_path_asks_for_the_servers_key(
    seen: Observer, secure_server: PrivateServer
) -> None:
    """Each time that the server has forgotten the account, and at no other time."""
    keys = []
    for prepare in ("FLUSH PRIVILEGES", "DO 0", "FLUSH PRIVILEGES"):
        seen.query(prepare)
        with relay(secure_server) as (port, said):
            wrapper = wrapper_of(secure_server, encrypted=False, port=port)
            if ASKS_FOR_THE_KEY:
                use(wrapper)
            else:
                assert refusal(wrapper).args[0] == NO_SECURE_CONNECTION
            close_pool()
        keys.append(PUBLIC_KEY in said)
        assert PASSWORD.encode() not in said
    assert keys == ([True, False, True] if ASKS_FOR_THE_KEY else [False] * 3)


@contextlib.contextmanager
def relay(server: Server) -> Iterator[tuple[int, bytearray]]:
    """A port that leads to the server, for one connection, and what both sides said over it.

    The block closes the connection.
    """
    said = bytearray()

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # Reset by the other direction.
            while data := source.recv(65536):
                said.extend(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with listener.accept()[0] as client, socket.create_connection(address) as there:
            back = threading.Thread(target=carry, args=(there, client))
            back.start()
            carry(client, there)
            back.join(HANG)

    address = (server.host, server.port)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG)
        serving = threading.Thread(target=serve)
        serving.start()
        yield listener.getsockname()[1], said
        serving.join(HANG)
    assert not serving.is_alive()
