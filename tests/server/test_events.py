"""What goes wrong with real servers is in the event log, once, and nothing secret is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from mysqlpool import auto_close_db, close_pool, release_connections
from mysqlpool.errors import PoolError, PoolTimeout
from mysqlpool.events import file as logfile
from mysqlpool.events.log import set_event_log
from tests.helpers import error_of, identified, json_lines, run_threads, session_id
from tests.server import PrivateServer
from tests.server.aliases.test_forks import ends_well, forked
from tests.server.aliases.test_hosts import address, tell
from tests.server.pointed import pointed

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

CLASSES = ["FairQueuePool", "QueuePool", "NullPool", "SingletonThreadPool"]
Told = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def two(flavour: str) -> Iterator[tuple[PrivateServer, PrivateServer]]:
    with PrivateServer(flavour=flavour) as first, PrivateServer(flavour=flavour) as second:
        yield first, second


@pytest.fixture
def victim(two: tuple[PrivateServer, PrivateServer]) -> Iterator[PrivateServer]:
    """A server that may be killed, and is there again after the test."""
    yield two[0]
    if two[0]._server is None:
        two[0].start()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    release_connections()
    close_pool()
    previous = set_event_log(None)
    logfile.configure(tmp_path / "events.log")
    yield tmp_path / "events.log"
    logfile.configure(None)
    set_event_log(previous)


@pytest.fixture
def told(log: Path) -> Told:
    """The lines of events of these names."""

    def events(*names: str) -> list[dict[str, Any]]:
        return [line for line in json_lines(log) if line["event"] in names]

    return events


@contextmanager
def on(server: PrivateServer, alias: str = "default", **values: Any) -> Iterator[None]:
    """An alias on this server, with these options for its pool."""
    pool = values.pop("pool", {})
    entry = {
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        "NAME": server.name,
        "OPTIONS": {"pool": {"lease": "task", **pool}},
    }
    with pointed(alias, **{**entry, **values}):
        yield


@pytest.fixture
def account(two: tuple[PrivateServer, PrivateServer]) -> Iterator[dict[str, str]]:
    """An account that the first server makes no exception for."""
    server = two[0]
    tell(server, f"CREATE USER plain@'127.0.0.1' {identified('s3cret-word')}")
    tell(server, f"GRANT ALL ON {server.name}.* TO plain@'127.0.0.1'")
    yield {"USER": "plain", "PASSWORD": "s3cret-word"}
    tell(server, "DROP USER plain@'127.0.0.1'")


def fails(alias: str = "default") -> OperationalError:
    error = error_of(lambda: session_id(alias))
    release_connections()
    assert isinstance(error, OperationalError)
    return error


def works(alias: str = "default") -> None:
    session_id(alias)
    release_connections()


@pytest.mark.parametrize("name", CLASSES)
def test_an_outage_is_told_of_as_it_begins_and_as_it_ends(
    name: str, victim: PrivateServer, told: Told
) -> None:
    with on(victim, pool={"class": name}):
        works()
        victim.kill()
        fails()
        run_threads(*[auto_close_db(fails)] * 6)
        # An idle session is closed first, which some classes find out by an error.
        while len(told("connect_failed")) < 1:
            fails()
        victim.start()
        works()
        works()
    began, ended = told("outage_began", "outage_ended")
    assert (began["event"], began["level"], began["alias"]) == (
        "outage_began",
        "WARNING",
        "default",
    )
    assert (ended["event"], ended["level"]) == ("outage_ended", "INFO")
    assert began["fields"]["server"] == ended["fields"]["server"] == address(victim)
    assert began["fields"]["errno"] in (2002, 2003, 2013)
    assert ended["fields"]["failed"] >= 6
    assert ended["fields"]["seconds"] > 0
    failed = told("connect_failed")
    assert [one["level"] for one in failed][:2] in (["WARNING"], ["WARNING", "DEBUG"])
    assert victim.host not in failed[0]["fields"]["message"]


def test_waiting_for_a_server_is_one_outage_too(victim: PrivateServer, told: Told) -> None:
    with on(victim, pool={"wait_for_server": True, "timeout": 1}):
        works()
        close_pool()
        victim.kill()
        assert isinstance(error_of(session_id), PoolTimeout)
        victim.start()
        works()
    assert [one["event"] for one in told("outage_began", "outage_ended")] == [
        "outage_began",
        "outage_ended",
    ]
    [exhausted] = told("pool_exhausted")
    assert exhausted["fields"]["errno"] in (2002, 2003)
    assert told("server_full") == []


def test_a_server_of_a_list_that_is_away_is_told_of_though_nobody_fails(
    two: tuple[PrivateServer, PrivateServer], victim: PrivateServer, told: Told
) -> None:
    hosts = [address(one) for one in two]
    with on(victim, HOST=hosts, PORT="", pool={"host_retry": 0}):
        works()
        victim.kill()
        close_pool()
        works()
        victim.start()
        for _ in range(3):
            close_pool()
            works()
    found = told("outage_began", "outage_ended", "connect_failed")
    assert [(one["event"], one["fields"]["server"]) for one in found] == [
        ("outage_began", hosts[0]),
        ("outage_ended", hosts[0]),
    ]


def test_two_aliases_on_one_server_tell_of_it_each(victim: PrivateServer, told: Told) -> None:
    with on(victim), on(victim, "other"):
        victim.kill()
        for alias in ("default", "default", "other"):
            fails(alias)
        victim.start()
        works()
        works("other")
    found = [(one["event"], one["alias"]) for one in told("outage_began", "outage_ended")]
    assert found == [
        ("outage_began", "default"),
        ("outage_began", "other"),
        ("outage_ended", "default"),
        ("outage_ended", "other"),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_child_of_a_fork_amid_an_outage_has_its_own(victim: PrivateServer, told: Told) -> None:
    with on(victim):
        victim.kill()
        fails()

        def child() -> None:
            fails()
            fails()

        ends_well(forked(child))
        victim.start()
        works()
    found = [
        (one["event"], one["pid"] == os.getpid()) for one in told("outage_began", "outage_ended")
    ]
    assert found == [("outage_began", True), ("outage_began", False), ("outage_ended", True)]


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_a_wrong_password_is_told_of_without_it_and_is_no_outage(
    name: str,
    two: tuple[PrivateServer, PrivateServer],
    account: dict[str, str],
    told: Told,
    log: Path,
) -> None:
    with on(two[0], **{**account, "PASSWORD": "hunter2-wrong"}, pool={"class": name}):
        fails()
    [failed] = told("connect_failed", "outage_began")
    assert (failed["level"], failed["fields"]["errno"]) == ("WARNING", 1045)
    assert failed["fields"]["error"] == "OperationalError"
    assert "using password: YES" in failed["fields"]["message"]
    for secret in ("hunter2-wrong", "s3cret-word", "plain"):
        assert secret not in log.read_text()


def test_a_database_that_is_not_there_is_told_of(
    two: tuple[PrivateServer, PrivateServer], told: Told
) -> None:
    with on(two[0], NAME="nowhere_to_be_found"):
        fails()
    [failed] = told("connect_failed", "outage_began")
    assert failed["fields"]["errno"] == 1049
    assert "nowhere_to_be_found" in failed["fields"]["message"]


def test_an_account_that_has_all_its_sessions_is_told_of_once(
    two: tuple[PrivateServer, PrivateServer], account: dict[str, str], told: Told
) -> None:
    tell(two[0], "ALTER USER plain@'127.0.0.1' WITH MAX_USER_CONNECTIONS 2")

    @auto_close_db
    def work() -> None:
        for _ in range(5):
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT SLEEP(0.01)")
            release_connections()

    with on(two[0], **account, pool={"pool_size": 6, "timeout": 20}):
        run_threads(*[work] * 6)
    full = told("server_full")
    assert full
    assert {one["level"] for one in full} == {"WARNING"}
    assert {one["fields"]["errno"] for one in full} <= {1203, 1226}
    assert "plain" not in full[0]["fields"]["message"]
    assert told("connect_failed", "pool_exhausted", "outage_began") == []


def test_with_a_class_that_does_not_wait_a_full_account_is_a_failed_connect(
    two: tuple[PrivateServer, PrivateServer], account: dict[str, str], told: Told
) -> None:
    tell(two[0], "ALTER USER plain@'127.0.0.1' WITH MAX_USER_CONNECTIONS 1")
    with on(two[0], **account, pool={"class": "QueuePool"}):
        session_id()
        run_threads(auto_close_db(fails))
    assert [one["event"] for one in told("server_full", "connect_failed")] == [
        "server_full",
        "connect_failed",
    ]


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_a_pool_that_ran_dry_tells_who_has_its_sessions(
    name: str, two: tuple[PrivateServer, PrivateServer], told: Told
) -> None:
    with on(two[0], pool={"class": name, "pool_size": 1, "timeout": 0.1}):
        session_id()
        for error in run_threads(*[lambda: error_of(session_id)] * 3):
            assert isinstance(error, PoolError)
    [exhausted] = told("pool_exhausted")
    fields = exhausted["fields"]
    assert (exhausted["level"], exhausted["alias"]) == ("WARNING", "default")
    assert (fields["error"], fields["limit"], fields["in_use"]) == ("PoolTimeout", 1, 1)
    [holder] = fields["holders"]
    assert holder["holder"] == "MainThread"
    assert "test_a_pool_that_ran_dry" in holder["leased_at"] or "session_id" in holder["leased_at"]


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_a_server_that_turned_read_only_is_told_of_once(
    name: str, two: tuple[PrivateServer, PrivateServer], account: dict[str, str], told: Told
) -> None:
    def write() -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO events_written VALUES (1)")

    tell(two[0], f"CREATE TABLE IF NOT EXISTS {two[0].name}.events_written (n INT)")
    with on(two[0], **account, pool={"class": name}):
        write()
        tell(two[0], "SET GLOBAL read_only = 1")
        try:
            for _ in range(3):
                assert isinstance(error_of(write), DatabaseError)
                release_connections()
        finally:
            tell(two[0], "SET GLOBAL read_only = 0")
    [demoted] = told("demoted")
    assert demoted["level"] == "WARNING"
    assert demoted["fields"] == {"server": address(two[0]), "reason": "read_only", "left_out": 0}


def test_a_renewed_session_is_told_of_in_detail(
    two: tuple[PrivateServer, PrivateServer], told: Told
) -> None:
    with on(two[0], pool={"pool_size": 1}):
        number = session_id()
        with connection.cursor() as cursor:
            cursor.execute("SET @left = 1")
        release_connections()
        assert session_id() == number
    assert [(one["level"], one["fields"]) for one in told("session_renewed")] == [
        ("DEBUG", {"session": number})
    ]


def test_where_nothing_goes_wrong_nothing_but_sessions_is_told_of(
    two: tuple[PrivateServer, PrivateServer], log: Path
) -> None:
    with on(two[0]):
        run_threads(*[auto_close_db(works)] * 4)
        MySQLdb.connect(host=two[0].host, port=two[0].port, user=two[0].user).close()
    names = {line["event"] for line in json_lines(log)}
    assert names <= {"session_opened", "session_closed", "session_discarded"}
    assert connections["default"].connection is None
