"""The private server: it starts anywhere, serves its owner, and never outlives it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import MySQLdb
import pytest

from tests.helpers import ROOT
from tests.server import (
    FLAVOURS,
    PrivateServer,
    Server,
    ServerError,
    server_from_environment_or_private,
)
from tests.server.flavours import SERVERS, MariaDB
from tests.server.private import free_port

SECONDS = 30.0  # bound against a hang, not a measure

REPORT_AND_WAIT = """
import os, sys
print(os.environ["DATABASE_HOST"], os.environ["DATABASE_PORT"], os.getpid(), flush=True)
sys.stdin.read()
"""


def query(server: Server, sql: str) -> tuple[tuple[object, ...], ...]:
    connection = MySQLdb.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=server.name,
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return tuple(cursor.fetchall())
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll what another process does and nobody announces; fail after SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def python(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process in the repository without a DATABASE_HOST of its own."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("DATABASE_")}
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    words = process.stdout.readline().split()
    assert words, process.communicate()[1]
    return words


def test_root_logs_in_over_tcp_without_a_password() -> None:
    with PrivateServer() as server:
        assert query(server, "SELECT CURRENT_USER(), DATABASE()") == (
            ("root@127.0.0.1", "mysqlpool"),
        )


def test_two_servers_run_at_once_on_their_own_data() -> None:
    with PrivateServer() as one, PrivateServer() as two:
        query(one, "CREATE TABLE only_here (id INT)")
        assert query(one, "SHOW TABLES") == (("only_here",),)
        assert query(two, "SHOW TABLES") == ()


def test_options_reach_the_server_and_win_over_its_own() -> None:
    with PrivateServer(options=("--max-connections=17", "--wait-timeout=19")) as server:
        assert query(server, "SELECT @@max_connections, @@global.wait_timeout") == ((17, 19),)


def test_stop_leaves_no_process_and_no_file(temporary: Path) -> None:
    server = PrivateServer()
    server.start()
    pid, port = server.pid, server.port
    assert list(temporary.iterdir()) == [server.directory]
    server.stop()
    assert is_gone(pid)
    assert refuses(port)
    assert list(temporary.iterdir()) == []
    server.stop()


def test_a_stopped_server_starts_afresh() -> None:
    server = PrivateServer()
    with server:
        query(server, "CREATE TABLE first_life (id INT)")
    with server:
        assert query(server, "SHOW TABLES") == ()


def test_an_exception_in_the_block_stops_the_server(temporary: Path) -> None:
    server = PrivateServer()
    with pytest.raises(ZeroDivisionError), server:
        pid = server.pid
        raise ZeroDivisionError
    assert is_gone(pid)
    assert list(temporary.iterdir()) == []


def test_a_killed_server_starts_again_on_its_data_and_port() -> None:
    with PrivateServer() as server:
        query(server, "CREATE TABLE kept (id INT) ENGINE=InnoDB")
        query(server, "INSERT INTO kept VALUES (7)")
        port, pid = server.port, server.pid
        server.kill()
        assert is_gone(pid)
        assert refuses(port)
        server.start()
        assert server.port == port
        assert query(server, "SELECT id FROM kept") == ((7,),)


def test_restart_keeps_data_and_port() -> None:
    with PrivateServer() as server:
        query(server, "CREATE TABLE kept (id INT)")
        port, pid = server.port, server.pid
        server.restart()
        assert server.port == port
        assert is_gone(pid)
        assert query(server, "SHOW TABLES") == (("kept",),)


def test_the_server_survives_the_thread_that_started_it() -> None:
    server = PrivateServer()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert query(server, "SELECT 1") == ((1,),)
    finally:
        server.stop()


def test_a_forked_child_cannot_stop_the_server() -> None:
    with PrivateServer() as server:
        if (pid := os.fork()) == 0:
            server.stop()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert query(server, "SELECT 1") == ((1,),)


def test_a_taken_port_is_answered_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr("tests.server.private.free_port", lambda: next(ports))
        with PrivateServer() as server:
            assert server.port != taken.getsockname()[1]
            assert query(server, "SELECT @@port") == ((server.port,),)


def test_a_failed_start_shows_the_servers_log_and_leaves_nothing(temporary: Path) -> None:
    server = PrivateServer(options=("--no-such-option",))
    with pytest.raises(ServerError, match="unknown option '--no-such-option'"):
        server.start()
    assert list(temporary.iterdir()) == []


def test_a_mariadb_that_cannot_let_the_driver_in_names_what_to_do(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.server.flavours.client_version", lambda: "9.7.4")
    monkeypatch.setattr(MariaDB, "plugin", "auth_of_nobody")
    with pytest.raises(ServerError) as caught:
        PrivateServer(flavour="mariadb").start()
    remedies = ["apt-get install mariadb-server", "MYSQLPOOL_DRIVER_LIBRARY=mariadb"]
    for part in ["9.7.4", "auth_of_nobody", *remedies]:
        assert part in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_a_server_that_is_there_and_cannot_let_the_driver_in_names_what_to_do(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(**_parameters: object) -> None:
        raise MySQLdb.OperationalError(2059, "Authentication plugin cannot be loaded")

    monkeypatch.setattr("MySQLdb.connect", connect)
    with pytest.raises(ServerError, match=r"cannot be loaded.* apt-get install mariadb-server"):
        server.flavour_name()


@pytest.mark.mysql
def test_a_second_data_directory_is_a_copy_with_an_identity_of_its_own() -> None:
    """MySQL takes seconds to make one, so what it made is kept; its own number must not be."""
    with PrivateServer() as one, PrivateServer() as two:
        identities = {query(server, "SELECT @@server_uuid") for server in (one, two)}
        assert len(identities) == 2
        assert list(SERVERS.glob("mysql-data-*"))
        assert not list(SERVERS.glob("new-*"))


def test_the_flavour_is_the_one_that_the_server_says(server: Server, flavour: str) -> None:
    (version,) = query(server, "SELECT VERSION()")[0]
    assert ("MariaDB" in str(version)) == (flavour == "mariadb")
    assert server.flavour_name() == flavour


def test_a_server_of_another_flavour_than_wanted_is_refused(
    server: Server, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = FLAVOURS.keys() - {flavour}
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    assert server_from_environment_or_private(flavour).__enter__().port == server.port
    with pytest.raises(ServerError, match=f"names a server of {flavour}, not of {other}"):
        server_from_environment_or_private(other)


def test_the_command_runs_against_the_server_and_its_exit_code_is_passed_on() -> None:
    code = (
        "import os, sys, MySQLdb; e = os.environ;"
        "MySQLdb.connect(host=e['DATABASE_HOST'], port=int(e['DATABASE_PORT']),"
        " user=e['DATABASE_USER'], password=e['DATABASE_PASSWORD'],"
        " database=e['DATABASE_NAME']).close(); sys.exit(37)"
    )
    with python("-m", "tests.server", sys.executable, "-c", code) as process:
        _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (37, "")


def test_the_command_gets_the_server_of_the_environment() -> None:
    code = "import os; print(os.environ['DATABASE_HOST'])"
    arguments = ("-m", "tests.server", sys.executable, "-c", code)
    with python(*arguments, DATABASE_HOST="db.example") as process:
        assert process.communicate(timeout=SECONDS)[0] == "db.example\n"


def test_a_command_that_does_not_exist_is_a_plain_message(temporary: Path) -> None:
    with python("-m", "tests.server", "no-such-command") as process:
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert errors.startswith("tests.server: ")
    assert "no-such-command" in errors
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_command_and_the_server(temporary: Path, number: signal.Signals) -> None:
    command = (sys.executable, "-c", REPORT_AND_WAIT)
    with python("-m", "tests.server", *command) as process:
        _, port, pid = first_line(process)
        process.send_signal(number)
        process.wait(SECONDS)  # Its end alone: communicate() would close what the command reads.
        assert process.returncode == 128 + number
    assert is_gone(int(pid))
    assert refuses(int(port))
    assert list(temporary.iterdir()) == []


def test_a_killed_owner_takes_the_server_with_it(temporary: Path) -> None:
    command = (sys.executable, "-c", REPORT_AND_WAIT)
    with python("-m", "tests.server", *command) as process:
        _, port, _pid = first_line(process)
        process.kill()
        wait_until(lambda: refuses(int(port)) and list(temporary.iterdir()) == [])


def test_a_killed_owner_takes_a_frozen_server_with_it(temporary: Path) -> None:
    code = (
        "import os, signal, sys; from tests.server import PrivateServer;"
        "s = PrivateServer(); s.start(); os.kill(s.pid, signal.SIGSTOP);"
        "print(s.port, flush=True); sys.stdin.read()"
    )
    with python("-c", code) as process:
        (port,) = first_line(process)
        process.kill()
        wait_until(lambda: refuses(int(port)) and list(temporary.iterdir()) == [])
