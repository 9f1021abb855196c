"""Who asked for TLS gets an encrypted session, or none: from servers with and without it."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created

from mysqlpool import close_pool, stats
from mysqlpool.session import library
from mysqlpool.session.session import Session
from tests.helpers import HANG, error_of, identified, in_thread, make_certificate
from tests.observer import Observer
from tests.server import PrivateServer, Server
from tests.server.tls_proxy import TLSProxy

pytestmark = pytest.mark.django_db(transaction=True)

WITHOUT_TLS = {"mariadb": "--skip-ssl", "mysql": "--tls-version="}
NO_TLS = 2026

# In each, CA stands for the path of a certificate.
SPELLINGS: dict[str, dict[str, Any]] = {
    "ssl=True": {"ssl": True},
    "ca": {"ssl": {"ca": "CA"}},
    "REQUIRED": {"ssl_mode": "REQUIRED"},
    "REQUIRED with ca": {"ssl_mode": "REQUIRED", "ssl": {"ca": "CA"}},
    "VERIFY_CA": {"ssl_mode": "VERIFY_CA", "ssl": {"ca": "CA"}},
    "VERIFY_IDENTITY": {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": "CA"}},
}
# With these the library refuses the server itself, before anybody logs in.
VERIFYING = {"VERIFY_CA", "VERIFY_IDENTITY"}

verifies_on_loopback = pytest.mark.skipif(
    MySQLdb.get_client_info() > "3.4" and library.is_mariadbs(),
    reason="from 3.4 on MariaDB's library verifies less on the loopback address",
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def ca(certificate: list[str]) -> str:
    """The path of the certificate, which is its own authority."""
    return certificate[1].partition("=")[2]


@pytest.fixture(scope="module")
def tls_server(certificate: list[str]) -> Iterator[PrivateServer]:
    with PrivateServer(certificate) as server:
        yield server


@pytest.fixture(scope="module")
def plain_server(flavour: str) -> Iterator[PrivateServer]:
    with PrivateServer([WITHOUT_TLS[flavour]]) as server:
        yield server


@pytest.fixture
def observer(plain_server: PrivateServer) -> Iterator[Observer]:
    with Observer(plain_server) as observer:
        yield observer


@pytest.fixture(autouse=True)
def _no_pool_is_left() -> Iterator[None]:
    close_pool()
    yield
    close_pool()


@pytest.fixture(params=SPELLINGS)
def spelled(request: pytest.FixtureRequest, ca: str) -> dict[str, Any]:
    return spelling(request.param, ca)


def spelling(name: str, ca: str) -> dict[str, Any]:
    options = dict(SPELLINGS[name])
    if "ssl" in options and options["ssl"] is not True:
        options["ssl"] = {"ca": ca}
    return options


def wrapper_of(server: PrivateServer, pool: dict[str, Any] | None = None, **options: Any) -> Any:
    settings = {
        **connections["default"].settings_dict,
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "NAME": "",
        "OPTIONS": {**options, "pool": {"pool_size": 1, "timeout": 5, **(pool or {})}},
    }
    return connections["default"].__class__(settings, "default")


def nobody_is_left(observer: Observer) -> bool:
    """Whether the server has no client but the observer, not even one that has not logged in."""
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
    own = "user NOT IN ('system user', 'event_scheduler')"
    return observer.query(f"{query} AND {own}") == ((0,),)


def row(wrapper: Any, sql: str) -> tuple[Any, ...]:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        found: tuple[Any, ...] = cursor.fetchone()
    wrapper.close()
    return found


def cipher(wrapper: Any) -> str:
    return str(row(wrapper, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")[1])


def refused(wrapper: Any) -> str:
    """What the application is told, which is the error of a connection without TLS."""
    with pytest.raises(OperationalError) as caught:
        wrapper.ensure_connection()
    number, text = caught.value.args
    assert number == NO_TLS
    assert isinstance(caught.value.__cause__, MySQLdb.OperationalError)
    return str(text)


# A server without TLS


def test_a_server_without_tls_is_refused_however_tls_is_asked_for(
    plain_server: PrivateServer, observer: Observer, spelled: dict[str, Any]
) -> None:
    """As often as somebody tries: no session is left there, and no slot is lost."""
    wrapper = wrapper_of(plain_server, **spelled)
    for _ in range(3):
        refused(wrapper)
    observer.until(lambda: nobody_is_left(observer))
    assert (stats()["default"].in_use, stats()["default"].idle) == (0, 0)
    assert stats()["default"].connect_errors == 3


def test_the_session_is_closed_though_its_error_is_kept(
    plain_server: PrivateServer, observer: Observer
) -> None:
    """The traceback has the session in its frames, so it is not collected."""
    kept = []
    for _ in range(3):
        with pytest.raises(MySQLdb.OperationalError) as caught:
            session_to(plain_server, ssl_mode="REQUIRED")
        kept.append(caught.value)
    observer.until(lambda: nobody_is_left(observer))
    del kept


def session_to(server: Server, **parameters: Any) -> Session:
    return Session(host=server.host, port=server.port, user=server.user, **parameters)


def test_the_refusal_says_what_was_wrong_and_how_to_mend_it_and_no_secret(
    plain_server: PrivateServer, observer: Observer, ca: str
) -> None:
    observer.query(f"CREATE USER keeper {identified('first-secret')}")
    keeper = {"USER": "keeper", "PASSWORD": "first-secret"}
    try:
        # MySQL knows the account after that, and does not ask for the password itself.
        cipher(over_socket(plain_server, **keeper))
        close_pool()
        wrapper = wrapper_of(
            plain_server, ssl={"ca": ca}, init_command="SET @key = 'second-secret'"
        )
        if library.is_mariadbs():  # Oracle's wants TLS for such a password itself.
            wrapper.settings_dict.update(keeper)
        text = refused(wrapper)
    finally:
        observer.query("DROP USER keeper")
    assert text.startswith("TLS was asked for by ssl, and the connection is in plain text")
    assert "set 'ssl_mode' to 'VERIFY_IDENTITY' in OPTIONS" in text
    assert "secret" not in text


def test_a_server_that_falls_silent_after_the_login_is_waited_for_no_longer_than_a_connect(
    plain_server: PrivateServer, observer: Observer, ca: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG)

        def pass_on_all_but_the_question() -> None:
            server = socket.create_connection((plain_server.host, plain_server.port), HANG)
            client, _ = listener.accept()
            with server, client:
                while True:
                    for side in select.select([client, server], [], [], HANG)[0]:
                        data = side.recv(1 << 16)
                        if not data:
                            return
                        if b"DO 0" not in data:
                            (server if side is client else client).sendall(data)

        parameters = {"host": "127.0.0.1", "port": listener.getsockname()[1], "user": "root"}
        with (
            in_thread(pass_on_all_but_the_question),
            pytest.raises(MySQLdb.OperationalError, match=r"2013, .*did not answer within 1 s"),
        ):
            Session(**parameters, ssl={"ca": ca}, connect_timeout=1)
    observer.until(lambda: nobody_is_left(observer))


@pytest.mark.parametrize("name", sorted(VERIFYING))
def test_a_mode_that_verifies_has_nothing_sent_to_a_server_without_tls(
    plain_server: PrivateServer, ca: str, name: str
) -> None:
    """Not even who wants to log in. With the others the library has sent the login by then."""
    with socket.create_connection((plain_server.host, plain_server.port), HANG) as real:
        greeting = real.recv(1024)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HANG)
        parameters = {"host": "127.0.0.1", "port": listener.getsockname()[1]}
        with in_thread(
            lambda: error_of(lambda: Session(**parameters, user="root", **spelling(name, ca)))
        ) as result:
            client, _ = listener.accept()
            with client:
                client.settimeout(HANG)
                client.sendall(greeting)
                assert client.recv(1) == b""
    assert isinstance(result.value, MySQLdb.OperationalError)
    assert result.value.args[0] == NO_TLS


@pytest.mark.parametrize(
    "options",
    [{}, {"ssl_mode": "DISABLED"}, {"ssl_mode": "PREFERRED"}],
    ids=["nothing", "DISABLED", "PREFERRED"],
)
def test_who_does_not_insist_on_tls_goes_on_in_plain_text(
    plain_server: PrivateServer, options: dict[str, Any]
) -> None:
    assert cipher(wrapper_of(plain_server, **options)) == ""


def test_a_preference_with_a_certificate_falls_back(plain_server: PrivateServer, ca: str) -> None:
    assert cipher(wrapper_of(plain_server, ssl_mode="PREFERRED", ssl={"ca": ca})) == ""


def test_a_pool_that_refused_serves_as_soon_as_no_tls_is_asked_for(
    plain_server: PrivateServer, ca: str
) -> None:
    """TLS that ``connect_args`` adds is asked for, too, each time anew."""
    added: dict[str, Any] = {}

    def add(parameters: dict[str, Any]) -> dict[str, Any]:
        return {**parameters, **added}

    wrapper = wrapper_of(plain_server, {"connect_args": add})
    for added["ssl"] in ({"ca": ca}, {"cipher": "AES256-SHA"}):
        assert "asked for by ssl" in refused(wrapper)
    added.clear()
    assert cipher(wrapper) == ""


def test_a_session_that_is_connected_anew_is_refused_as_well(
    plain_server: PrivateServer, observer: Observer, ca: str
) -> None:
    """Where a set-up is undone by a new connect, because the server has an init_connect."""
    observer.query("SET GLOBAL init_connect = 'SET @a = 1'")
    added: dict[str, Any] = {}
    pool = {"connect_args": lambda parameters: {**parameters, **added}, "lease": "task"}
    tolerated = []

    def speak(connection: Any, **_: Any) -> None:
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"SET @{'second' if added else 'first'} = 1")
            except OperationalError as error:
                tolerated.append(error.args[0])
                with pytest.raises(OperationalError):  # Nothing passes after that.
                    cursor.execute("SELECT 'a secret'")
                raise

    connection_created.connect(speak)
    try:
        wrapper = wrapper_of(plain_server, pool)
        assert cipher(wrapper) == ""
        added["ssl"] = {"ca": ca}
        with observer.general_log() as log:
            assert "asked for by ssl" in refused(wrapper)
            observer.until(lambda: nobody_is_left(observer))
        assert tolerated == [NO_TLS]
        assert not [sql for _, _, sql in log if "secret" in sql]
        assert stats()["default"].in_use == 0
        added.clear()
        assert cipher(wrapper) == ""
    finally:
        connection_created.disconnect(speak)
        observer.query("SET GLOBAL init_connect = ''")


@pytest.mark.parametrize("text", ["ssl-ca=CA", "ssl-mode=REQUIRED", "ssl-enforce=1"])
def test_an_option_file_asks_for_tls_as_well(
    plain_server: PrivateServer, tmp_path: Path, ca: str, text: str
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(f"[client]\n{text.replace('CA', ca)}\n")
    message = refused(wrapper_of(plain_server, read_default_file=str(file)))
    assert f"{text.partition('=')[0]} in {file}" in message or not library.is_mariadbs()


# A server with TLS


@pytest.mark.skipif(not library.is_mariadbs(), reason="Oracle's library knows this option")
def test_an_option_that_the_library_does_not_know_leads_to_no_plain_text(
    tls_server: PrivateServer, tmp_path: Path
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text("[client]\nssl-mode=REQUIRED\n")
    assert "was told nothing" in refused(wrapper_of(tls_server, read_default_file=str(file)))


def test_a_server_with_tls_serves_however_it_is_asked_for(
    tls_server: PrivateServer, spelled: dict[str, Any]
) -> None:
    wrapper = wrapper_of(tls_server, **spelled)
    assert cipher(wrapper) != ""
    assert cipher(wrapper) != ""
    assert stats()["default"].connects == 1


def test_the_look_costs_one_statement_and_nothing_where_no_tls_is_asked_for(
    tls_server: PrivateServer,
) -> None:
    with Observer(tls_server) as observer:
        sent = {}
        for mode in ("DISABLED", "REQUIRED"):
            with observer.general_log() as log:
                session_to(tls_server, ssl_mode=mode).close()
            own = observer.connection.thread_id()
            sent[mode] = [sql for one, verb, sql in log if verb == "Query" and one != own]
    assert "DO 0" not in sent["DISABLED"]
    assert sent["REQUIRED"] == [*sent["DISABLED"], "DO 0"]


def test_a_session_over_tls_is_as_clean_and_as_new_as_one_without(
    tls_server: PrivateServer,
) -> None:
    with session_to(tls_server, ssl_mode="REQUIRED", autocommit=True) as session:
        session.settle()
        assert not session.readable()
        assert session.affected_rows() == 0
        assert not session.in_transaction
        assert session.restore() is None


@verifies_on_loopback
@pytest.mark.parametrize("name", ["VERIFY_CA", "VERIFY_IDENTITY"])
def test_a_certificate_of_another_name_is_refused_by_the_library(tmp_path: Path, name: str) -> None:
    """By MariaDB's with both modes. By Oracle's only with VERIFY_IDENTITY."""
    options = make_certificate(tmp_path, "elsewhere.example")
    with PrivateServer(options) as server:
        wrapper = wrapper_of(server, **spelling(name, options[1].partition("=")[2]))
        if name == "VERIFY_IDENTITY" or library.is_mariadbs():
            assert "plain text" not in refused(wrapper)
        else:
            assert cipher(wrapper) != ""


# Unix sockets


def test_over_a_unix_socket_tls_is_asked_for_in_the_same_way(
    plain_server: PrivateServer, tls_server: PrivateServer
) -> None:
    assert cipher(over_socket(tls_server, ssl_mode="DISABLED")) == ""
    assert cipher(over_socket(tls_server, ssl_mode="REQUIRED")) != ""
    close_pool()
    assert cipher(over_socket(plain_server)) == ""
    refused(over_socket(plain_server, ssl_mode="REQUIRED"))


def over_socket(server: PrivateServer, **changes: Any) -> Any:
    """Settings are in capitals, and options in small letters."""
    options = {name: value for name, value in changes.items() if not name.isupper()}
    wrapper = wrapper_of(server, **options)
    wrapper.settings_dict.update(HOST=server.socket, PORT="")
    wrapper.settings_dict.update({name: changes[name] for name in changes.keys() - options})
    return wrapper


# Proxies


def test_what_counts_is_the_way_to_the_proxy_and_not_from_there_to_the_server(
    plain_server: PrivateServer, certificate: list[str]
) -> None:
    """A proxy that ends TLS: the server has nothing to tell of a cipher."""
    with (
        TLSProxy(plain_server, certificate) as proxy,
        session_to(proxy, ssl_mode="REQUIRED") as session,
        contextlib.closing(session.cursor()) as cursor,
    ):
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        assert cursor.fetchall() == (("Ssl_cipher", ""),)


# Certificates that change


RELOAD = {"mariadb": "FLUSH SSL", "mysql": "ALTER INSTANCE RELOAD TLS"}


@verifies_on_loopback
def test_a_renewed_certificate_ends_no_session_and_lets_in_who_knows_it(
    tmp_path: Path, flavour: str
) -> None:
    trusted = tmp_path / "trusted.pem"
    with PrivateServer(make_certificate(tmp_path)) as server, Observer(server) as observer:
        shutil.copy(tmp_path / "certificate.pem", trusted)
        wrapper = wrapper_of(server, ssl_mode="VERIFY_CA", ssl={"ca": str(trusted)})
        first = number(wrapper)
        make_certificate(tmp_path)
        observer.query(RELOAD[flavour])
        assert number(wrapper) == first
        close_pool()
        assert "plain text" not in refused(wrapper)
        shutil.copy(tmp_path / "certificate.pem", trusted)
        assert number(wrapper) != first
        assert cipher(wrapper) != ""


@verifies_on_loopback
def test_an_expired_certificate_is_refused_by_who_verifies(tmp_path: Path) -> None:
    with PrivateServer(expired_certificate(tmp_path)) as server:
        ca = {"ca": str(tmp_path / "certificate.pem")}
        assert "plain text" not in refused(wrapper_of(server, ssl_mode="VERIFY_CA", ssl=ca))
        close_pool()
        assert cipher(wrapper_of(server, ssl_mode="REQUIRED")) != ""


def number(wrapper: Any) -> int:
    return int(row(wrapper, "SELECT CONNECTION_ID()")[0])


def expired_certificate(directory: Path) -> list[str]:
    """Make one for a server that was good for a day, and tell with which options that presents it.

    ``openssl req`` makes none that has expired, an authority does.
    """
    key, request, certificate = (
        directory / f"{name}.pem" for name in ("key", "request", "certificate")
    )
    settings = directory / "authority.cnf"
    (directory / "index").touch()
    settings.write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {directory}/index\nrand_serial = yes\n"
        f"new_certs_dir = {directory}\ndefault_md = sha256\npolicy = any\n"
        "[any]\ncommonName = supplied\n"
    )
    made = f"req -new -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout {key} -out {request}"
    signed = f"ca -batch -selfsign -config {settings} -keyfile {key} -in {request} -notext"
    signed += f" -out {certificate} -startdate 20200101000000Z -enddate 20200102000000Z"
    for command in (made, signed):
        openssl = ["openssl", *command.split()]
        subprocess.run(openssl, check=True, capture_output=True, timeout=HANG)
    return [f"--ssl-key={key}", f"--ssl-cert={certificate}"]
