"""``manage.py mysqlpool status`` tells what the server counts, and what processes wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import connection
from django.test import override_settings

from mysqlpool import release_connections, stats
from mysqlpool.events import file as logfile
from mysqlpool.management.census import Inquirer
from mysqlpool.stats_log import write_every
from tests.helpers import HANG, identified, session_id
from tests.observer import Observer
from tests.server import PrivateServer, Server
from tests.server.pointed import pointed

from .helpers import document, ran, started

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

PASSWORD = "sesam-open"


@pytest.fixture
def account(observer: Observer) -> Iterator[str]:
    """An account that may connect, and nothing else."""
    observer.query(f"CREATE USER lowly@'%%' {identified(PASSWORD)}")
    yield "lowly"
    observer.query("DROP USER lowly@'%%'")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """An event log into which this process writes its statistics by hand."""
    path = tmp_path / "events.log"
    setting = {"filename": str(path), "stats_interval": 60}
    with override_settings(MYSQLPOOL_LOG=setting):
        logfile.configure(setting)
        yield path
        logfile.configure(None)
        write_every(0)


def written() -> None:
    """Write the statistics of this process now."""
    from mysqlpool import stats_log

    stats_log._write()


def only_server(found: dict[str, Any]) -> dict[str, Any]:
    (server,) = found["servers"]
    assert isinstance(server, dict)
    return server


# The server's side


def test_sessions_are_those_that_the_server_counts_without_the_commands_own(
    observer: Observer,
) -> None:
    session_id()
    observer.until(lambda: observer.status("Threads_connected") == [2])
    server = only_server(document("status", "--database", "default"))
    assert server["connected"] == 2
    assert server["limit"] == int(observer.query("SELECT @@max_connections")[0][0])
    assert server["peak"] >= 2
    assert (server["aliases"], server["error"], server["sees_all"]) == (["default"], None, True)
    (group,) = server["groups"]
    assert (group["user"], group["host"], group["sessions"]) == ("root", "127.0.0.1", 2)
    assert group["busy"] == 0


def test_a_look_opens_no_pool_and_leaves_no_session(observer: Observer) -> None:
    before, pools = observer.sessions(), stats()
    with observer.counting("Connections") as grown:
        document("status")
    assert grown == [1], "two aliases lead to one server by one account"
    assert stats() == pools
    observer.until(lambda: observer.sessions() <= before)


def test_a_statement_that_runs_is_told_as_busy(observer: Observer, server: Server) -> None:
    import threading

    asleep = MySQLdb.connect(host=server.host, port=server.port, user=server.user)
    number = asleep.thread_id()

    def sleep() -> None:
        with pytest.raises(MySQLdb.Error):
            asleep.query("SELECT SLEEP(600)")
            asleep.store_result()

    thread = threading.Thread(target=sleep)
    thread.start()
    listed = "SELECT command FROM information_schema.processlist WHERE id = %s"
    observer.until(lambda: observer.query(listed, number) == (("Query",),))
    try:
        (group,) = only_server(document("status"))["groups"]
        assert group["busy"] == 1
    finally:
        observer.kill(number)
        thread.join(HANG)


def test_an_account_without_the_right_sees_its_own_sessions_and_is_told_so(
    account: str, observer: Observer
) -> None:
    with pointed(USER=account, PASSWORD=PASSWORD, NAME=""):
        server = only_server(document("status", "--database", "default"))
        text, _ = ran("status", "--database", "default")
    assert server["sees_all"] is False
    assert {group["user"] for group in server["groups"]} <= {account}
    assert server["connected"] >= 1, "the server tells everybody how many there are"
    assert "lacks the right PROCESS" in text
    assert PASSWORD not in text


def test_the_right_may_come_by_a_role(account: str, observer: Observer) -> None:
    observer.query("CREATE ROLE looker")
    try:
        observer.query("GRANT PROCESS ON *.* TO looker")
        observer.query("GRANT looker TO lowly@'%%'")
        options = {"init_command": "SET ROLE looker"}
        with pointed(USER=account, PASSWORD=PASSWORD, NAME="", OPTIONS=options):
            assert only_server(document("status", "--database", "default"))["sees_all"] is True
    finally:
        observer.query("DROP ROLE looker")


def test_an_accounts_own_limit_is_told(account: str, observer: Observer) -> None:
    observer.query("ALTER USER lowly@'%%' WITH MAX_USER_CONNECTIONS 7")
    with pointed(USER=account, PASSWORD=PASSWORD, NAME=""):
        assert only_server(document("status", "--database", "default"))["user_limit"] == 7
        text, _ = ran("status", "--database", "default")
    assert "may have 7" in text


@pytest.mark.mysql
def test_where_the_performance_schema_is_on_its_list_is_asked() -> None:
    with PrivateServer(["--performance-schema=ON"], "mysql") as server:
        where: dict[str, Any] = {"HOST": server.host, "PORT": server.port, "NAME": server.name}
        with pointed(**where, USER=server.user), Inquirer("default") as inquirer:
            other = MySQLdb.connect(host=server.host, port=server.port, user=server.user)
            (group,) = inquirer.ask().groups
            assert group.sessions == 1
            with inquirer.wrapper.cursor() as cursor:
                cursor.execute("SHOW WARNINGS")
                assert cursor.fetchall() == (), "no deprecated list was asked"
            other.close()


def test_two_accounts_of_one_server_are_asked_each(account: str) -> None:
    with pointed("other", USER=account, PASSWORD=PASSWORD, NAME=""):
        found = document("status")["servers"]
    assert [server["aliases"] for server in found] == [["default"], ["other"]]


def test_an_engine_that_is_not_ours_is_left_out_and_told() -> None:
    assert document("status")["left_out"] == {"stock": "django.db.backends.mysql"}
    assert "'stock' (on django.db.backends.mysql)" in ran("status")[0]
    assert "has no pool" in ran("status", "--database", "stock")[1]


@pytest.mark.parametrize("name", ["QueuePool", "NullPool", "StaticPool", "AssertionPool"])
def test_any_pool_class_will_do(name: str) -> None:
    with pointed(OPTIONS={"pool": {"class": name}}):
        assert only_server(document("status", "--database", "default"))["error"] is None


def test_a_list_of_hosts_is_asked_at_the_first_that_answers() -> None:
    settings = connection.settings_dict
    hosts = f"127.0.0.1:1,{settings['HOST']}:{settings['PORT']}"
    with pointed(HOST=hosts, PORT=""):
        server = only_server(document("status", "--database", "default"))
    assert (server["address"], server["error"]) == (hosts, None)


# The processes


def test_without_an_event_log_it_says_that_it_sees_the_server_alone() -> None:
    assert document("status")["log"] is None
    assert "MYSQLPOOL_LOG is not set, so this sees the server's side only" in ran("status")[0]


def test_each_process_is_told_with_its_figures(log: Path) -> None:
    session_id()
    session_id("other")
    release_connections("other")
    written()
    found = {one["alias"]: one for one in document("status")["processes"]}
    assert found.keys() == {"default", "other"}
    default, other = found["default"], found["other"]
    assert (default["pid"], default["standing"]) == (os.getpid(), "running")
    assert (default["in_use"], default["limit"], default["utilisation"]) == (1, 5, 0.2)
    assert (other["in_use"], other["idle"], other["limit"]) == (0, 1, 3)
    text, _ = ran("status")
    assert "1 of 5" in text
    assert "default: 1 process, 1 of 5 sessions in use, 0 waiters." in text
    assert "other" not in str(document("status", "--database", "default")["processes"])


def test_the_processes_are_shown_where_the_server_is_not_to_be_reached(log: Path) -> None:
    session_id()
    written()
    with pointed(PORT=1, PASSWORD=PASSWORD):
        text, error = ran("status", "--database", "default")
        as_json, _ = ran("status", "--database", "default", "--json")
    assert "1 of 5" in text
    assert "127.0.0.1:1: OperationalError: 200" in error
    found = json.loads(as_json)
    assert found["processes"][0]["in_use"] == 1
    assert "OperationalError" in found["servers"][0]["error"]
    assert PASSWORD not in text + error + as_json


def test_what_makes_the_password_may_fail(log: Path) -> None:
    def token() -> str:
        raise RuntimeError("no token today")

    with pointed(PASSWORD=token):
        _, error = ran("status", "--database", "default")
    assert "RuntimeError: no token today" in error


def test_a_log_without_a_line_is_told(log: Path) -> None:
    assert "No process with a session wrote its statistics" in ran("status")[0]


def test_a_log_without_statistics_is_told(log: Path) -> None:
    with override_settings(MYSQLPOOL_LOG={"filename": str(log), "stats_interval": 0}):
        assert "write no statistics" in ran("status")[0]


# In a process of its own


def lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(number)]


def test_watching_ends_with_ctrl_c_and_no_traceback(tmp_path: Path, observer: Observer) -> None:
    before = observer.sessions()
    process = started(tmp_path, "status", "--watch", "0.01", "--json")
    seen = [json.loads(line) for line in lines(process, 3)]
    assert len(observer.sessions() - before) == 1, "it is one session throughout"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, "")
    assert seen[0]["time"] < seen[1]["time"] < seen[2]["time"]
    observer.until(lambda: observer.sessions() <= before)


def test_watching_goes_on_after_its_session_was_killed(tmp_path: Path, observer: Observer) -> None:
    before = observer.sessions()
    process = started(tmp_path, "status", "--watch", "0.01", "--json")
    lines(process, 1)
    for number in observer.sessions() - before:
        observer.kill(number)
    found = iter(lambda: json.loads(lines(process, 1)[0])["servers"][0]["error"], "")
    assert any(error is not None for error in found), "it is told once"
    assert any(error is None for error in found), "and asked again"
    process.send_signal(signal.SIGINT)
    assert process.wait(HANG) == 0
    process.communicate()


def test_watching_without_a_terminal_repeats_plain_blocks(tmp_path: Path) -> None:
    process = started(tmp_path, "status", "--watch", "0.01")
    assert process.stdout is not None
    for _ in range(2):
        assert any("besides this command's own" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, "")
    assert "\x1b" not in rest


@pytest.mark.parametrize("arguments", [["--watch", "0.01", "--json"], ["--watch", "0.01"]])
def test_a_reader_that_goes_ends_it_quietly(arguments: list[str], tmp_path: Path) -> None:
    process = started(tmp_path, "status", *arguments)
    lines(process, 1)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(HANG) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_log_on_the_standard_output_does_not_spoil_the_json(tmp_path: Path) -> None:
    logging = {
        "version": 1,
        "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
        "root": {"handlers": ["out"], "level": "DEBUG"},
        "loggers": {"mysqlpool": {"level": "DEBUG"}, "django.db.backends": {"level": "DEBUG"}},
    }
    process = started(tmp_path, "status", "--json", LOGGING=logging, DEBUG=True)
    out, errors = process.communicate(timeout=HANG)
    assert (process.returncode, errors) == (0, "")
    assert json.loads(out)["servers"][0]["error"] is None


@pytest.mark.parametrize("every", ["0", "-1", "soon"])
def test_a_bad_interval_is_refused(every: str) -> None:
    assert "must be a number of seconds above 0" in ran("status", f"--watch={every}")[1]


def test_a_log_that_cannot_be_read_is_told_and_the_servers_are_shown(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mysqlpool.management.processes.latest_statistics", refuse)
    text, error = ran("status")
    assert error == f"{log}: Permission denied"
    assert "besides this command's own" in text


def test_an_engine_made_of_ours_is_asked_as_it_connects(tmp_path: Path) -> None:
    package = tmp_path / "shop_engine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text(
        "from mysqlpool.backends.mysqlpool import base\n"
        "class DatabaseWrapper(base.DatabaseWrapper):\n"
        "    def get_connection_params(self):\n"
        "        params = super().get_connection_params()\n"
        "        params['port'] = int(params.pop('real_port'))\n"
        "        return params\n"
    )
    engine = {
        "ENGINE": "shop_engine",
        "PORT": 1,
        "OPTIONS": {"real_port": connection.settings_dict["PORT"]},
        "NAME": connection.settings_dict["NAME"],
    }
    for arguments in (["status"], ["bench", "--seconds", "1", "--threads", "1"]):
        process = started(
            tmp_path, *arguments, "--json", "--database", "default", DATABASES={"default": engine}
        )
        out, errors = process.communicate(timeout=HANG)
        assert (process.returncode, errors) == (0, "")
        assert json.loads(out)
