"""Sessions that are not fit: each costs its holder one error at most, and nobody else anything."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import MySQLdb
import pytest
from django.db import OperationalError, connections, transaction
from django.db.backends.signals import connection_created
from MySQLdb.cursors import SSCursor

from mysqlpool import close_pool, release_connections, stats
from mysqlpool.aliases import registry
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.session import sockets
from tests.helpers import HANG, error_of, identified, in_thread, rows_of, run_threads
from tests.observer import Observer
from tests.server.private import PrivateServer

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "unfit"
LEASES = ["task", "transaction"]
CONNECTION_LOST = {2006, 2013, 4031}


@pytest.fixture(params=LEASES)
def lease(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Make = Callable[..., DatabaseWrapper]


@pytest.fixture
def make(lease: str) -> Iterator[Make]:
    """A wrapper for one thread, of an alias whose pool is closed afterwards."""

    def wrapper(pool: dict[str, Any] | None = None, **values: Any) -> DatabaseWrapper:
        options = {"pool": {"pool_size": 1, "timeout": 10, "lease": lease, **(pool or {})}}
        settings = {**connections["default"].settings_dict, "OPTIONS": options, **values}
        made = DatabaseWrapper(settings, ALIAS)
        made.inc_thread_sharing()
        return made

    yield wrapper
    close_pool()


def ask(wrapper: Any, sql: str = "SELECT CONNECTION_ID()") -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        rows = cursor.fetchall()
    return rows[0][0] if rows else None


def figures() -> Any:
    return stats()[ALIAS]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


# Died in somebody's hands


@contextlib.contextmanager
def held(wrapper: Any) -> Iterator[int]:
    """Hold a session, in either tenure, without a transaction; its number. Then release."""
    try:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            [(number,)] = cursor.fetchall()
            yield number
    finally:
        wrapper.close()


def test_a_session_that_died_in_its_holders_hands_is_not_handed_on(
    make: Make, observer: Observer
) -> None:
    """The holder is busy with something else while its session is killed, and somebody waits."""
    waiter = make()
    with contextlib.ExitStack() as hands:
        killed = hands.enter_context(held(make()))
        with in_thread(lambda: ask(waiter)) as answer:
            until(lambda: bool(figures().waiting))
            observer.kill(killed)
            until(lambda: killed not in observer.sessions())
            hands.close()
    assert answer.value not in (None, killed)
    assert figures().discards == {"dead": 1}
    waiter.close()


def test_where_each_session_dies_in_its_holders_hands_everybody_is_served(
    make: Make, observer: Observer
) -> None:
    one_at_a_time, all_dead = threading.Lock(), threading.Barrier(3)

    def task() -> int:
        with held(make({"pool_size": 3, "timeout": HANG})) as number:
            with one_at_a_time:
                observer.kill(number)
                until(lambda: number not in observer.sessions())
            all_dead.wait(HANG)
        return number

    assert len(set(run_threads(*[task] * 12))) == 12
    assert figures().timeouts == 0


# A silent path


@contextlib.contextmanager
def stopped(server: PrivateServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, server.pid, os.WSTOPPED)
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.long
def test_ten_sessions_of_a_silent_server_cost_one_ping(make: Make) -> None:
    with PrivateServer() as server:
        address = {"HOST": server.host, "PORT": str(server.port), "USER": "root", "PASSWORD": ""}
        pool = {"pool_size": 10, "timeout": 3, "ping_after": 0, "ping_timeout": 2}
        wrappers = [make(pool, NAME="mysql", **address) for _ in range(10)]
        for wrapper in wrappers:
            wrapper.set_autocommit(False)
            ask(wrapper)
        for wrapper in wrappers:
            wrapper.close()
        assert figures().idle == 10
        with stopped(server):
            started = time.monotonic()
            assert isinstance(error_of(lambda: ask(wrappers[0])), OperationalError)
            took = time.monotonic() - started
        assert took < 12  # One ping and one connect end after 4 seconds, and ten pings after 20.
        assert figures().discards["dead"] == 10
        wrappers[0].close()
        assert ask(wrappers[1]) > 0
        wrappers[1].close()
        close_pool()


@pytest.mark.long
def test_sessions_that_need_no_ping_yet_go_with_one_that_got_no_answer(make: Make) -> None:
    """Else the next holder's statement would hang in one of them."""
    with PrivateServer() as server:
        address = {"HOST": server.host, "PORT": str(server.port), "USER": "root", "PASSWORD": ""}
        pool = {"pool_size": 2, "timeout": 1, "ping_after": 1000, "ping_timeout": 0.2}
        first, second = (make(pool, NAME="mysql", **address) for _ in range(2))
        with held(first), held(second):
            pass
        assert figures().idle == 2
        alias_pool = registry.pools()[ALIAS]
        idle = [record.dbapi_connection for record in alias_pool.pool.slots.idle]  # type: ignore[attr-defined]
        assert [alias_pool.is_fit(session, 999) for session in idle] == [True, True]
        with stopped(server):
            assert not alias_pool.is_fit(idle[0], 1001)
            assert isinstance(error_of(lambda: ask(first)), OperationalError)
        assert figures().discards["dead"] == 2
        assert ask(second) > 0
        second.close()
        close_pool()


@pytest.mark.long
def test_a_ping_ends_with_the_requests_timeout(make: Make) -> None:
    with PrivateServer() as server:
        address = {"HOST": server.host, "PORT": str(server.port), "USER": "root", "PASSWORD": ""}
        pool = {"timeout": 0.5, "ping_after": 0, "ping_timeout": HANG}
        wrapper = make(pool, NAME="mysql", **address)
        ask(wrapper)
        wrapper.close()
        with stopped(server):
            started = time.monotonic()
            assert isinstance(error_of(lambda: ask(wrapper)), OperationalError)
            assert time.monotonic() - started < HANG / 3
        wrapper.close()
        close_pool()


@pytest.mark.long
def test_a_release_waits_for_no_silent_server(make: Make) -> None:
    """Its ROLLBACK has no answer. Django's engine closes the connection, and waits for nothing."""
    with PrivateServer() as server:
        address = {"HOST": server.host, "PORT": str(server.port), "USER": "root", "PASSWORD": ""}
        wrapper = make(NAME="mysql", **address)
        wrapper.set_autocommit(False)
        number = ask(wrapper)
        with stopped(server):
            started = time.monotonic()
            wrapper.close()
            assert time.monotonic() - started < HANG
        assert figures().discards == {"no answer in time": 1}
        assert ask(wrapper) != number
        wrapper.close()
        close_pool()


# The application's own error


@pytest.fixture
def one_session(lease: str) -> Iterator[None]:
    """The default alias has a pool of one."""
    settings = connections["default"].settings_dict
    before = settings["OPTIONS"]
    release_connections()
    settings["OPTIONS"] = {"pool": {"pool_size": 1, "timeout": 5, "lease": lease}}
    yield
    release_connections()
    close_pool()
    settings["OPTIONS"] = before


class Own(Exception):
    """The application's."""


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("noticed", [False, True], ids=["unnoticed", "noticed"])
def test_a_lost_connection_neither_hides_the_blocks_own_error_nor_makes_it_wait(
    one_session: None, observer: Observer, nested: bool, noticed: bool
) -> None:
    """The one session that there may be is somebody else's when the block ends."""
    has_it, ended = threading.Event(), threading.Event()

    def take_it() -> None:
        with transaction.atomic():
            ask(connections["default"])
            has_it.set()
            ended.wait(HANG)
        release_connections()

    thread = threading.Thread(target=take_it)
    try:
        with pytest.raises(Own), transaction.atomic(), transaction.atomic(savepoint=nested):
            observer.kill(ask(connections["default"]))
            thread.start()
            until(lambda: bool(stats()["default"].waiting))
            if noticed:
                with pytest.raises(OperationalError):
                    ask(connections["default"])
            raise Own
        assert has_it.wait(HANG)
        assert stats()["default"].timeouts == 0
    finally:
        ended.set()
        thread.join(HANG)
    assert not thread.is_alive()


def test_the_wrapper_goes_on_as_before_after_that(one_session: None, observer: Observer) -> None:
    ran: list[str] = []
    with pytest.raises(OperationalError), transaction.atomic():
        transaction.on_commit(lambda: ran.append("lost"))
        observer.kill(ask(connections["default"]))
        ask(connections["default"])
    assert connections["default"].get_autocommit()
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append("kept"))
        ask(connections["default"])
    assert ran == ["kept"]
    assert ask(connections["default"], "SELECT @@autocommit") == 1


class Listening(DatabaseWrapper):
    """An engine that wants to hear of autocommit."""

    heard: list[bool]

    def _set_autocommit(self, autocommit: bool) -> None:
        self.heard.append(autocommit)
        super()._set_autocommit(autocommit)


def test_an_engine_that_hears_of_autocommit_hears_of_it_without_a_connection_too(
    make: Make,
) -> None:
    wrapper = Listening(make().settings_dict, ALIAS)
    wrapper.heard = []
    wrapper.set_autocommit(True)
    assert wrapper.heard[-1:] == [True]
    wrapper.close()


def test_a_receiver_is_called_with_the_next_statement_instead(make: Make) -> None:
    wrapper, called = make(), []

    def receiver(connection: Any, **_: Any) -> None:
        called.append(connection)

    connection_created.connect(receiver)
    try:
        wrapper.set_autocommit(True)
        assert called == []
        ask(wrapper)
        assert called == [wrapper]
    finally:
        connection_created.disconnect(receiver)
        wrapper.close()


def test_a_commit_that_gets_no_answer_is_djangos_error_and_waits_for_nobody(
    one_session: None, observer: Observer
) -> None:
    with pytest.raises(OperationalError) as caught, transaction.atomic():
        observer.kill(ask(connections["default"]))
    assert caught.value.args[0] in CONNECTION_LOST
    release_connections()
    reasons = stats()["default"].discards
    assert [reason for reason in reasons if reason.startswith("commit unknown: error 20")]


# Errors after which a session must go


@pytest.fixture
def ordinary(observer: Observer) -> Iterator[dict[str, str]]:
    """An account that no read-only server makes an exception for."""
    name = connections["default"].settings_dict["NAME"]
    observer.query(f"CREATE USER ordinary@'%%' {identified('secret')}")
    observer.query(f"GRANT ALL ON {name}.* TO ordinary@'%%'")
    observer.query(f"CREATE TABLE {name}.written (id INT AUTO_INCREMENT PRIMARY KEY)")
    yield {"USER": "ordinary", "PASSWORD": "secret"}
    release_connections()
    close_pool()
    observer.query("SET GLOBAL read_only = OFF")
    observer.query(f"DROP TABLE {name}.written")
    observer.query("DROP USER ordinary@'%%'")


def write(wrapper: Any) -> int | None:
    """The number of the error, if there is one."""
    try:
        with wrapper.cursor() as cursor:
            cursor.execute("INSERT INTO written VALUES ()")
    except OperationalError as error:
        return int(error.args[0])
    return None


def test_a_server_that_became_read_only_costs_each_session_one_error(
    make: Make, ordinary: dict[str, str], observer: Observer
) -> None:
    pool = {"pool_size": 5}
    wrappers = [make(pool, **ordinary) for _ in range(5)]
    for wrapper in wrappers:
        wrapper.set_autocommit(False)
        ask(wrapper)
    numbers = {ask(wrapper) for wrapper in wrappers}
    for wrapper in wrappers:
        wrapper.close()
    observer.query("SET GLOBAL read_only = ON")
    assert write(wrappers[0]) == 1290
    wrappers[0].close()
    observer.query("SET GLOBAL read_only = OFF")  # The address leads to another server now.
    assert [write(wrapper) for wrapper in wrappers] == [None] * 5
    assert not numbers & observer.sessions(), "a session from before is still in use"
    for wrapper in wrappers:
        wrapper.close()


def test_a_thread_that_never_releases_writes_again_after_a_failover(
    make: Make, ordinary: dict[str, str], observer: Observer, lease: str
) -> None:
    if lease == "task":
        pytest.skip("with task tenure, as on Django's engine, a lease lasts until the release")
    wrapper = make(**ordinary)
    assert write(wrapper) is None
    observer.query("SET GLOBAL read_only = ON")
    assert write(wrapper) == 1290
    observer.query("SET GLOBAL read_only = OFF")
    before = figures().connects
    assert write(wrapper) is None
    assert figures().connects == before + 1
    wrapper.close()


def test_a_read_only_transaction_that_was_asked_for_costs_no_session(
    make: Make, ordinary: dict[str, str]
) -> None:
    wrapper = make(**ordinary)
    number = ask(wrapper)
    with pytest.raises(OperationalError) as caught, wrapper.cursor() as cursor:
        cursor.execute("START TRANSACTION READ ONLY")
        cursor.execute("INSERT INTO written VALUES ()")
    assert caught.value.args[0] == 1792
    wrapper.close()
    assert ask(wrapper) == number
    wrapper.close()


def test_a_read_only_transaction_that_nobody_asked_for_costs_the_session(
    make: Make, ordinary: dict[str, str], observer: Observer, flavour: str
) -> None:
    variable = {"mariadb": "tx_read_only", "mysql": "transaction_read_only"}[flavour]
    wrapper = make(**ordinary)
    observer.query(f"SET GLOBAL {variable} = ON")
    try:
        number = ask(wrapper)
        assert write(wrapper) == 1792
        wrapper.close()
    finally:
        observer.query(f"SET GLOBAL {variable} = OFF")
    assert write(wrapper) is None
    assert ask(wrapper) != number
    wrapper.close()


RAISED = {
    1047: ("WSREP has not yet prepared node for application use", True),
    1153: ("Got a packet bigger than 'max_allowed_packet' bytes", True),
    1205: ("Lock wait timeout exceeded; try restarting transaction", False),
    1213: ("Deadlock found when trying to get lock; try restarting transaction", False),
    1290: ("The server is running with the --read-only option", True),
    1317: ("Query execution was interrupted", False),
    1820: ("You must SET PASSWORD before executing this statement", True),
    1836: ("Running in read-only mode", True),
    2027: ("Malformed packet", True),
    1644: ("An error of the application's own", False),
}


@pytest.mark.parametrize("number", sorted(RAISED))
def test_the_number_of_an_error_tells_whether_its_session_goes(
    make: Make, observer: Observer, number: int
) -> None:
    """Raised by the real server, in a function, as an ordinary statement's error."""
    text, goes = RAISED[number]
    name = connections["default"].settings_dict["NAME"]
    observer.query(
        f"CREATE FUNCTION {name}.fail() RETURNS INT NO SQL BEGIN"
        f" SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = %s; RETURN 1; END",
        text,
    )
    try:
        wrapper = make()
        before = ask(wrapper)
        error = error_of(lambda: ask(wrapper, "SELECT fail()"))
        assert isinstance(error, Exception)
        assert error.args[0] == number
        wrapper.close()
        assert (ask(wrapper) != before) == goes
        wrapper.close()
    finally:
        observer.query(f"DROP FUNCTION {name}.fail")


def test_a_statement_that_is_too_big_costs_its_session_and_no_other(
    make: Make, observer: Observer
) -> None:
    [(limit,)] = observer.query("SELECT @@GLOBAL.max_allowed_packet")
    wrapper = make()
    before = ask(wrapper)
    error = error_of(lambda: ask(wrapper, f"SELECT '{'x' * (limit + 1000)}'"))
    assert isinstance(error, OperationalError)
    wrapper.close()
    assert ask(wrapper) != before
    wrapper.close()


def test_an_answer_out_of_step_reaches_nobody_else(make: Make) -> None:
    """Of the rows of a cursor that failed in the midst, the next holder reads none."""
    wrapper = make()
    wrapper.set_autocommit(False)
    with wrapper.cursor():
        raw = wrapper.connection
        cursor = raw.cursor(SSCursor)
        cursor.execute(rows_of(500, "REPEAT('x', 10000)"))
        cursor.fetchone()
        raw.note_failure(MySQLdb.OperationalError(2027, "Malformed packet"))
    wrapper.close()
    assert ask(wrapper, "SELECT 'mine'") == "mine"
    assert figures().discards["error 2027"] == 1
    wrapper.close()


# A ping without an end


@pytest.mark.parametrize(
    "bytes_found",
    [b"\x16\x03\x01\x02\x00", b"\x17\x03\x03\x00\x05hello\x07\x00\x00", b"\x16\x03"],
)
def test_bytes_that_look_like_tls_on_a_session_without_cost_the_timeout_at_most(
    make: Make, monkeypatch: pytest.MonkeyPatch, bytes_found: bytes
) -> None:
    """They were there before the ping; what is looked at is them, and then the real answer."""
    wrapper = make({"ping_timeout": 0.2})
    ask(wrapper)
    wrapper.close()
    raw, peek = idle_session(), sockets.peek

    def with_garbage(number: int, size: int) -> bytes:
        return (bytes_found + peek(number, size))[:size]

    monkeypatch.setattr(sockets, "peek", with_garbage)
    monkeypatch.setattr(type(raw), "readable", lambda self: True)
    started = time.monotonic()
    assert not registry.pools()[ALIAS].is_fit(raw, 0)
    assert time.monotonic() - started < HANG / 3
    monkeypatch.undo()
    assert raw.restore() is not None


def idle_session() -> Any:
    pool: Any = registry.pools()[ALIAS].pool
    [record] = pool.slots.idle
    return record.dbapi_connection
