"""Two real servers behind one alias: killed, back, mute, read-only."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import MySQLdb
import pytest
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import NO_DB_ALIAS

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from mysqlpool.aliases import registry
from mysqlpool.errors import PoolTimeout
from tests.fake_driver import until
from tests.faults.proxy import Proxy
from tests.helpers import HANG, error_of, identified, run_threads, session_id
from tests.server import PrivateServer
from tests.server.pointed import pointed
from tests.server.private import free_port

pytestmark = pytest.mark.django_db(transaction=True)

Two = tuple[PrivateServer, PrivateServer]


@pytest.fixture(scope="module")
def two(flavour: str) -> Iterator[Two]:
    with PrivateServer(flavour=flavour) as first, PrivateServer(flavour=flavour) as second:
        yield first, second


def address(server: PrivateServer) -> str:
    return f"{server.host}:{server.port}"


@contextmanager
def on(host: Any, server: PrivateServer, **pool: Any) -> Iterator[None]:
    """The default alias on these hosts, with a user who may log in on each of them."""
    entry: dict[str, Any] = {"HOST": host, "PORT": "", "OPTIONS": {"pool": pool}}
    with pointed(**entry, USER=server.user, PASSWORD=server.password, NAME=server.name):
        yield


def port_of_session() -> int:
    """Where a new or an idle session is, as the server says."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@port")
        port: int = cursor.fetchone()[0]
    release_connections()
    return port


def anew() -> int:
    """Where a new session is opened."""
    close_pool()
    return port_of_session()


def tell(server: PrivateServer, sql: str) -> None:
    with MySQLdb.connect(host=server.host, port=server.port, user=server.user) as own:
        own.query(sql)


def mode_of(wrapper: Any) -> set[str]:
    found: set[str] = wrapper.sql_mode
    return found


def dead_address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.mark.parametrize("lease", ["task", "transaction"])
@pytest.mark.parametrize("kind", [list, tuple, ",".join])
def test_the_next_server_serves_where_nobody_listens_on_the_first(
    kind: Any, lease: str, two: Two
) -> None:
    first, _ = two
    with on(kind([dead_address(), address(first)]), first, lease=lease):
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@port, DATABASE()")
            assert cursor.fetchone() == (first.port, first.name)
        connection.ensure_connection()
        assert connection.connection.server == (first.host, first.port)
        assert stats()["default"].connects == 1


@pytest.mark.parametrize("name", ["QueuePool", "NullPool", "SingletonThreadPool", "StaticPool"])
def test_sqlalchemys_own_classes_find_the_next_server_too(name: str, two: Two) -> None:
    with on([dead_address(), address(two[1])], two[1], **{"class": name}):
        assert port_of_session() == two[1].port


def test_a_list_may_have_sockets_and_one_server_is_a_list_too(two: Two) -> None:
    first, _ = two
    with on(["/nonexistent/socket", first.socket], first):
        assert port_of_session() == first.port
        connection.ensure_connection()
        assert connection.connection.server == first.socket
    with on([address(first)], first):
        assert port_of_session() == first.port


def test_a_killed_servers_sessions_move_to_the_other_and_new_ones_go_back_later(two: Two) -> None:
    first, second = two
    with on([address(first), address(second)], first, host_retry=0.2, pool_size=4):
        assert port_of_session() == first.port
        first.kill()
        try:
            until(lambda: error_of(port_of_session) is None)
            for _ in range(5):
                assert anew() == second.port
        finally:
            first.start()
        until(lambda: anew() == first.port)
        assert anew() == first.port


def test_one_pool_and_one_limit_serve_a_list(two: Two) -> None:
    @auto_close_db
    def work() -> int:
        for _ in range(10):
            with connection.cursor() as cursor:
                cursor.execute("SELECT SLEEP(0.002)")
        return stats()["default"].in_use

    first, second = two
    with on([address(first), address(second)], first, hosts="random", pool_size=3):
        assert max(run_threads(*[work] * 12)) <= 3
        assert stats()["default"].connects <= 3
        seen = {anew() for _ in range(20)}
    assert seen == {first.port, second.port}


def test_a_wrong_password_is_asked_of_one_server_only(two: Two) -> None:
    first, second = two
    entry = {"USER": "nobody-there", "PASSWORD": "x"}
    with on([address(first), address(second)], first), pointed(**entry):
        error = error_of(session_id)
        assert stats()["default"].connect_errors == 1
    assert isinstance(error, OperationalError)
    assert error.args[0] == 1045


def test_where_all_servers_are_away_the_error_is_the_drivers(two: Two) -> None:
    with on([dead_address(), dead_address()], two[0]):
        error = error_of(session_id)
    assert isinstance(error, OperationalError)
    assert not isinstance(error, PoolTimeout)
    assert error.args[0] in (2002, 2003)


def test_a_list_of_servers_that_are_all_away_can_be_waited_for(two: Two) -> None:
    first, second = two
    first.kill()
    second.kill()
    back: list[float] = []
    hosts = [address(first), address(second)]

    def bring_back() -> None:
        until(lambda: stats()["default"].connect_errors > 6)
        second.start()
        back.append(time.monotonic())

    def serve() -> float:
        assert port_of_session() == second.port
        return time.monotonic()

    with on(hosts, first, wait_for_server=True, timeout=2 * HANG):
        try:
            _, *served = run_threads(bring_back, *[serve] * 20)
        finally:
            first.start()
            if not back:
                second.start()
    assert min(served) - back[0] < HANG / 3


def test_a_proxy_that_has_no_server_is_passed_over(two: Two) -> None:
    """MySQL Router greets with 2003 then. MariaDB's client library makes 2027 of it."""
    told = b"\xff" + (2003).to_bytes(2, "little") + b"Can't connect to remote MySQL server"
    with Proxy(two[0]) as proxy:
        proxy.greet(len(told).to_bytes(3, "little") + b"\0" + told)
        with on([f"{proxy.host}:{proxy.port}", address(two[0])], two[0]):
            assert port_of_session() == two[0].port
            assert stats()["default"].connect_errors == 0  # Of a request; both are one attempt.


def test_a_mute_server_takes_its_share_of_the_time_only(two: Two) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host = f"127.0.0.1:{mute.getsockname()[1]}"
        with on([host, address(two[0])], two[0], timeout=2):
            started = time.monotonic()
            assert port_of_session() == two[0].port
            assert time.monotonic() - started < HANG / 3
            started = time.monotonic()
            assert anew() == two[0].port  # The mute one is the last now.
            assert time.monotonic() - started < HANG / 3


def test_a_server_that_turned_read_only_is_left_until_it_can_be_written_again(two: Two) -> None:
    first, second = two
    with on([address(first), address(second)], first, host_retry=0):
        assert anew() == first.port
        tell(first, "SET GLOBAL read_only = 1")
        try:
            connection.ensure_connection()
            registry.pools()["default"].hosts.turned_read_only(connection.connection.server)
            release_connections()
            for _ in range(3):
                assert anew() == second.port
        finally:
            tell(first, "SET GLOBAL read_only = 0")
        assert anew() == first.port


def test_a_write_that_finds_its_server_read_only_costs_one_error(two: Two) -> None:
    """The next one is made on the other server, though the first still accepts connections."""
    first, second = two
    for server in two:
        tell(server, f"CREATE USER IF NOT EXISTS writer@'127.0.0.1' {identified('secret')}")
        tell(server, f"GRANT SELECT, INSERT, CREATE ON {server.name}.* TO writer@'127.0.0.1'")
        tell(server, f"CREATE TABLE IF NOT EXISTS {server.name}.written (n INT)")

    def write() -> int:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO written VALUES (1)")
        return port_of_session()

    writer = {"USER": "writer", "PASSWORD": "secret"}
    with on([address(first), address(second)], first, pool_size=3), pointed(**writer):
        assert write() == first.port
        tell(first, "SET GLOBAL read_only = 1")
        try:
            error = error_of(write)
            assert isinstance(error, OperationalError)
            assert error.args[0] in (1290, 1836)
            release_connections()
            for _ in range(3):
                assert write() == second.port
        finally:
            tell(first, "SET GLOBAL read_only = 0")


def test_a_node_that_came_back_as_a_server_of_no_cluster_is_told_from_one_out_of_it(
    two: Two, flavour: str
) -> None:
    """MySQL knows no ``wsrep_ready``, so it serves. MariaDB's is OFF, as of a node that is out."""
    first, second = two
    with on([address(first), address(second)], first, host_retry=0):
        assert anew() == first.port
        connection.ensure_connection()
        registry.pools()["default"].hosts.turned_not_ready(connection.connection.server)
        release_connections()
        for _ in range(2):
            assert anew() == (first.port if flavour == "mysql" else second.port)


def test_connect_args_are_given_the_one_server_of_each_attempt(two: Two) -> None:
    given: list[tuple[Any, Any]] = []

    def note(params: dict[str, Any]) -> dict[str, Any]:
        given.append((params.get("host"), params.get("port")))
        return params

    dead = free_port()
    with on([f"127.0.0.1:{dead}", address(two[0])], two[0], connect_args=note):
        session_id()
    assert given == [("127.0.0.1", dead), ("127.0.0.1", two[0].port)]


def test_a_session_that_is_connected_anew_stays_on_its_server(two: Two) -> None:
    first, second = two
    with on([dead_address(), address(second), address(first)], first, lease="task"):
        connection.ensure_connection()
        session: Any = connection.connection
        before = session.thread_id()
        session._connect_anew(connection._new_parameters())  # type: ignore[attr-defined]
        assert session.thread_id() != before
        session.query("SELECT @@port")
        assert session.store_result().fetch_row() == ((second.port,),)


def test_a_connection_without_a_database_finds_the_next_server_too(two: Two) -> None:
    with on([dead_address(), address(two[0])], two[0]):
        with connection._nodb_cursor() as cursor:
            assert cursor.db.alias == NO_DB_ALIAS
            cursor.execute("SELECT @@port, DATABASE()")
            assert cursor.fetchone() == (two[0].port, None)
        signature = connection.creation.test_db_signature()
        assert hash(signature) == hash(connection.creation.test_db_signature())


def test_a_test_database_is_made_copied_and_dropped_on_a_list(two: Two) -> None:
    first, second = two
    with on([address(first), address(second)], first):
        with connection._nodb_cursor() as cursor:
            cursor.execute("CREATE DATABASE hosts_source")
            cursor.execute("CREATE TABLE hosts_source.kept (n INT)")
            cursor.execute("INSERT INTO hosts_source.kept VALUES (7)")
            cursor.execute("CREATE DATABASE hosts_copy")
        connection.creation._clone_db("hosts_source", "hosts_copy")  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute("SELECT n FROM hosts_copy.kept")
            assert cursor.fetchone() == (7,)
        for name in ("hosts_source", "hosts_copy"):
            connection.creation._destroy_test_db(name, 0)  # type: ignore[attr-defined]


def test_dbshell_goes_to_the_first_server(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda args, **kwargs: ran.append(args))
    with on([address(two[1]), "db2"], two[1]):
        connection.client.runshell([])
    assert f"--host={two[1].host}" in ran[0]
    assert f"--port={two[1].port}" in ran[0]


def test_a_list_that_changes_at_run_time_is_followed(two: Two) -> None:
    first, second = two
    with on([address(first), dead_address()], first):
        assert port_of_session() == first.port
        connections["default"].settings_dict["HOST"] = [address(second), address(first)]
        assert port_of_session() == second.port
        connections["default"].settings_dict["HOST"].reverse()  # The list itself, in place.
        assert port_of_session() == first.port


def test_what_django_asks_a_server_is_kept_by_server(two: Two) -> None:
    first, second = two
    tell(second, "SET GLOBAL sql_mode = ''")
    try:
        with on([address(first), address(second)], first, hosts="random", lease="task"):
            seen = set()

            @auto_close_db
            def mode() -> tuple[int, str]:
                connection.ensure_connection()
                return connection.connection.server[1], ",".join(mode_of(connection))

            def look() -> bool:
                close_pool()
                seen.update(run_threads(mode))
                return len(seen) > 1

            until(look)
            for _ in range(6):
                look()
    finally:
        tell(second, "SET GLOBAL sql_mode = DEFAULT")
    assert len(seen) == 2
    assert (second.port, "") in seen
