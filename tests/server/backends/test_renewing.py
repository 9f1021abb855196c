"""Sessions are renewed instead of connected anew, and whatever comes between costs no more than
that: another session, within the request's time.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.backends.signals import connection_created

from mysqlpool import PoolStats, close_pool, stats
from mysqlpool.aliases import registry
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.errors import PoolTimeout
from mysqlpool.session.session import Session
from tests.faults.proxy import Proxy
from tests.helpers import HANG, error_of, identified, in_thread
from tests.server import Server

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])

USER = "renewed@'%%'"
KINDS = ["task", "transaction"]
kinds = pytest.mark.parametrize("lease", KINDS)


numbers = itertools.count()
present = {"alias": ""}
"""Each test has a pool of its own, whose statistics begin at 0."""


def made(settings: dict[str, Any], kind: type[DatabaseWrapper] = DatabaseWrapper) -> Any:
    return kind(settings, present["alias"])


def figures() -> PoolStats:
    return stats()[present["alias"]]


@pytest.fixture(autouse=True)
def account(observer: Any) -> Iterator[None]:
    present["alias"] = f"renewing_{next(numbers)}"
    observer.query(f"CREATE USER {USER} {identified('first')}")
    observer.query(f"GRANT ALL ON *.* TO {USER}")
    observer.query("CREATE DATABASE renewed_1")
    yield
    close_pool()
    observer.query("SET GLOBAL init_connect = ''")
    observer.query(f"DROP USER {USER}")
    observer.query("DROP DATABASE IF EXISTS renewed_1")


def settings(pool: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    own = {"pool_size": 2, "timeout": 5, **(pool or {})}
    return {
        **connections["default"].settings_dict,
        "USER": "renewed",
        "PASSWORD": "first",
        "OPTIONS": {"pool": own},
        **values,
    }


def fetch(wrapper: Any, sql: str) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def look(wrapper: Any, sql: str) -> Any:
    """Look at variables. With transaction tenure these may not be what a lease begins with."""
    fetch(wrapper, "SET @look = 1")
    return fetch(wrapper, sql)


def leave(wrapper: Any, sql: str = "SET @mine = 1") -> int:
    """Leave something in a session, release it, and tell its number."""
    fetch(wrapper, sql)
    number: int = wrapper.connection.thread_id()
    wrapper.close()
    return number


def number_of(wrapper: Any) -> int:
    """The number of the session that a task gets."""
    try:
        return int(fetch(wrapper, "SELECT CONNECTION_ID()")[0])
    finally:
        wrapper.close()


@contextmanager
def closing(wrapper: Any) -> Iterator[Any]:
    try:
        yield wrapper
    finally:
        wrapper.close()


@kinds
def test_who_uses_a_variable_in_each_task_connects_once(
    lease: str, observer: Any, flavour: str
) -> None:
    wrapper = made(settings({"lease": lease}))
    isolation = {"mariadb": "tx_isolation", "mysql": "transaction_isolation"}[flavour]
    question = f"SELECT @mine, @@autocommit, @@{isolation}, DATABASE(), @@sql_mode"
    with closing(wrapper):
        new = look(wrapper, question)
    with observer.counting("Connections") as connected:
        for number in range(20):
            with closing(wrapper):
                assert look(wrapper, question) == new
                fetch(wrapper, f"SET @mine = {number}")
                assert fetch(wrapper, "SELECT @mine") == (number,)
    assert connected == [0]
    told = figures()
    assert (told.connects, told.renewed, dict(told.discards)) == (1, 20, {})


def test_a_release_sends_nothing_for_a_renewal(observer: Any) -> None:
    wrapper = made(settings())
    fetch(wrapper, "SET @mine = 1")
    with observer.counting("Questions") as sent:
        wrapper.close()
    assert sent == [0]


def test_an_open_transaction_is_rolled_back_at_the_release(observer: Any) -> None:
    """What waits for its renewal holds no lock of a row."""
    observer.query("CREATE TABLE renewed_1.t (n INT) ENGINE=InnoDB")
    observer.query("INSERT INTO renewed_1.t VALUES (1)")
    for begins in ("BEGIN", "SET autocommit = 0"):
        wrapper = made(settings())
        fetch(wrapper, "SET @mine = 1")
        fetch(wrapper, begins)
        leave(wrapper, "UPDATE renewed_1.t SET n = 2")
        assert figures().idle == 1
        observer.query("SET SESSION innodb_lock_wait_timeout = 1")
        observer.query("UPDATE renewed_1.t SET n = 1")


@pytest.mark.parametrize(
    "sql", ["DO GET_LOCK('renewed', 0)", "LOCK TABLES t READ", "HANDLER t OPEN", "XA START 'x'"]
)
def test_what_others_wait_for_is_free_with_the_release(sql: str, observer: Any) -> None:
    observer.query("CREATE TABLE renewed_1.t (n INT) ENGINE=InnoDB")
    wrapper = made(settings(NAME="renewed_1"))
    fetch(wrapper, "SET @mine = 1")
    leave(wrapper, sql)
    assert (figures().idle, figures().discards) == (0, {"SET": 1})
    observer.until(lambda: observer.query("SELECT GET_LOCK('renewed', 0)") == ((1,),))
    observer.query("SELECT RELEASE_LOCK('renewed')")
    observer.query("SET SESSION lock_wait_timeout = 5")
    observer.query("ALTER TABLE renewed_1.t COMMENT 'free'")


def test_with_reset_always_nothing_is_renewed() -> None:
    wrapper = made(settings({"reset": "always"}))
    assert leave(wrapper) != number_of(wrapper)
    assert figures().renewed == 0


def test_a_waiter_renews_what_it_is_handed() -> None:
    first = made(settings({"pool_size": 1, "lease": "task"}))
    fetch(first, "SET @mine = 1")

    def wait() -> Any:
        other = made(settings({"pool_size": 1, "lease": "task"}))
        with closing(other):
            return look(other, "SELECT @mine")

    with in_thread(wait) as waited:
        while not figures().waiting:
            time.sleep(0.001)
        first.close()
    assert waited.value == (None,)
    told = figures()
    assert (told.connects, told.renewed, told.waits) == (1, 1, 1)


@kinds
def test_an_idle_session_of_another_account_and_database_becomes_the_holders(
    lease: str, observer: Any
) -> None:
    pool = {"pool_size": 1, "lease": lease}
    own = made(settings(pool, NAME="renewed_1"))
    default = connections["default"].settings_dict
    others = {"USER": default["USER"], "PASSWORD": default["PASSWORD"], "NAME": default["NAME"]}
    other = made(settings(pool, **others))
    question = "SELECT SUBSTRING_INDEX(CURRENT_USER(), '@', 1), DATABASE()"
    with observer.counting("Connections") as connected:
        for _ in range(3):
            with closing(own):
                assert fetch(own, question) == ("renewed", "renewed_1")
            with closing(other):
                assert fetch(other, question) == (default["USER"], default["NAME"])
    assert connected == [1]
    assert figures().renewed == 5


def test_another_isolation_level_is_another_connection() -> None:
    """Only the account and the database are what COM_CHANGE_USER changes."""
    pool = {"pool_size": 1}
    one = made(settings(pool))
    other_options = {"pool": {**pool, "timeout": 5}, "isolation_level": "serializable"}
    other = made(settings(OPTIONS=other_options))
    one_number = number_of(one)
    assert number_of(other) != one_number
    assert figures().discards == {"identity": 1}


# A renewal that fails


def test_a_session_that_was_killed_meanwhile_is_replaced(observer: Any) -> None:
    wrapper = made(settings())
    number = leave(wrapper)
    observer.kill(number)
    assert number_of(wrapper) != number
    assert figures().discards == {"not renewed": 1}
    assert_two_leases()


def test_a_password_that_changed_meanwhile_is_told_as_by_a_connect(observer: Any) -> None:
    wrapper = made(settings())
    leave(wrapper)
    observer.query(f"ALTER USER {USER} {identified('second')}")
    error: Any = error_of(lambda: number_of(wrapper))
    assert isinstance(error, OperationalError)
    assert error.args[0] == 1045
    wrapper.settings_dict["PASSWORD"] = "second"
    assert number_of(wrapper)
    assert_two_leases(PASSWORD="second")


def test_a_locked_account_is_told_as_by_a_connect(observer: Any, flavour: str) -> None:
    wrapper = made(settings())
    leave(wrapper)
    observer.query(f"ALTER USER {USER} ACCOUNT LOCK")
    error: Any = error_of(lambda: number_of(wrapper))
    assert error.args[0] == {"mariadb": 4151, "mysql": 3118}[flavour]
    observer.query(f"ALTER USER {USER} ACCOUNT UNLOCK")
    assert_two_leases()


def test_a_database_that_was_dropped_is_told_as_by_a_connect(observer: Any) -> None:
    wrapper = made(settings(NAME="renewed_1"))
    leave(wrapper)
    observer.query("DROP DATABASE renewed_1")
    error: Any = error_of(lambda: number_of(wrapper))
    assert error.args[0] == 1049
    observer.query("CREATE DATABASE renewed_1")
    assert_two_leases(NAME="renewed_1")


def test_an_account_at_its_limit_of_sessions_is_renewed_or_connected(observer: Any) -> None:
    """MySQL counts the session twice for a moment, and refuses: then it is connected anew."""
    observer.query(f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS 1")
    wrapper = made(settings({"pool_size": 1}))
    for _ in range(3):
        assert leave(wrapper)
    told = figures()
    assert (told.leases, told.connects + told.renewed) == (3, 3)


@pytest.mark.mariadb
@pytest.mark.parametrize("lease", ["task", "transaction"])
@pytest.mark.parametrize("info", ["24.8.1.1-ClickHouse", "9.7.0-fork"])
def test_a_server_that_calls_itself_as_new_as_mysql_and_is_not_is_connected_anew(
    lease: str, info: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know what MySQL 9.6 and newer are asked for before a session is renewed."""
    monkeypatch.setattr(Session, "get_server_info", lambda self: info)
    said: list[int] = []

    def tell(connection: Any, **_: object) -> None:
        if said:
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION group_concat_max_len = {said[0]}")

    connection_created.connect(tell)
    try:
        wrapper = made(settings({"pool_size": 1, "lease": lease}))
        seen = []
        for said[:] in ([5001], [], [5002], []):
            with wrapper.cursor() as cursor:
                cursor.execute("SELECT @@group_concat_max_len")
                seen.append(cursor.fetchone()[0])
            wrapper.close()
        assert seen[0::2] == [5001, 5002]
        assert seen[1] == seen[3] not in seen[0::2]
    finally:
        connection_created.disconnect(tell)


def test_after_a_refusal_a_server_is_not_asked_again_at_once(observer: Any) -> None:
    """As by a proxy that knows no COM_CHANGE_USER."""
    wrapper = made(settings())
    observer.query("SET GLOBAL init_connect = 'SET @mine = 7'")
    try:
        numbers = {leave(wrapper) for _ in range(4)}
    finally:
        observer.query("SET GLOBAL init_connect = ''")
    assert len(numbers) == 4
    told = figures()
    assert (told.renewed, dict(told.discards)) == (0, {"not renewed": 1, "SET": 3})


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        yield proxy


def test_on_a_mute_path_a_renewal_ends_and_the_next_session_is_leased(proxy: Proxy) -> None:
    pool = {"pool_size": 2, "timeout": HANG, "ping_timeout": 0.5}
    wrapper = made(settings(pool, HOST=proxy.host, PORT=proxy.port))
    number = leave(wrapper)
    proxy.forget()
    with in_thread(lambda: number_of(wrapper_of(pool, proxy))) as served:
        pass
    assert served.value != number
    assert figures().discards == {"not renewed": 1}
    assert_two_leases(HOST=proxy.host, PORT=proxy.port)


def wrapper_of(pool: dict[str, Any], proxy: Proxy) -> Any:
    return made(settings(pool, HOST=proxy.host, PORT=proxy.port))


def test_on_a_path_that_stays_mute_the_request_ends_in_its_time(proxy: Proxy) -> None:
    pool = {"pool_size": 1, "timeout": 2}
    wrapper = wrapper_of(pool, proxy)
    leave(wrapper)
    proxy.mute()
    try:
        with in_thread(lambda: error_of(lambda: number_of(wrapper_of(pool, proxy)))) as failed:
            pass
    finally:
        proxy.speak()
    assert isinstance(failed.value, (OperationalError, PoolTimeout))
    assert number_of(wrapper_of(pool, proxy))


def assert_two_leases(**values: Any) -> None:
    """No slot is lost, and none is out."""
    wrappers = [made(settings(**values)) for _ in range(2)]
    pool = registry.current(present["alias"])
    assert pool is not None
    for wrapper in wrappers:
        wrapper.tenure.end()
        wrapper.inc_thread_sharing()
        wrapper.set_autocommit(False)  # With transaction tenure, too, it keeps its lease.
        fetch(wrapper, "SELECT 1")
    assert figures().in_use == 2
    for wrapper in wrappers:
        wrapper.close()
    assert figures().in_use == 0


# Where it is off


class SpeakingWrapper(DatabaseWrapper):
    """An engine of which each session says something of its own."""

    def init_connection_state(self) -> None:
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute("SET @set_up = 5")


def test_a_password_that_may_have_expired_is_not_sent_again() -> None:
    for pool, password in (
        ({}, lambda: "first"),
        ({"connect_args": lambda params: {**params, "password": "first"}}, "wrong"),
    ):
        wrapper = made(settings(pool, PASSWORD=password))
        assert leave(wrapper) != number_of(wrapper)
        assert figures().renewed == 0
        close_pool()


# Whoever is heard, is heard


@kinds
def test_a_set_up_is_said_again_after_a_renewal(lease: str) -> None:
    wrapper = made(settings({"lease": lease, "pool_size": 1}), SpeakingWrapper)
    plain = made(settings({"lease": lease, "pool_size": 1}))
    for _ in range(3):
        with closing(wrapper):
            assert look(wrapper, "SELECT @set_up, @mine") == (5, None)
            fetch(wrapper, "SET @mine = 1")
        with closing(plain):
            fetch(plain, "SELECT 1")
            fetch(plain, "SET @other = 1")
            assert fetch(plain, "SELECT @set_up, @mine") == (None, None)
    assert figures().connects == 1


@kinds
def test_receivers_hear_of_each_connection_as_before(lease: str) -> None:
    heard: list[Any] = []

    def receive(connection: Any, **_: Any) -> None:
        if connection.alias == present["alias"]:
            heard.append(connection)
            with connection.cursor() as cursor:
                cursor.execute("SET @heard = 1, time_zone = '+05:00'")

    connection_created.connect(receive)
    try:
        wrapper = made(settings({"lease": lease}))
        for _ in range(3):
            with closing(wrapper):
                assert look(wrapper, "SELECT @heard, @@time_zone, @mine") == (1, "+05:00", None)
                fetch(wrapper, "SET @mine = 1, @heard = 2, time_zone = '+06:00'")
    finally:
        connection_created.disconnect(receive)
    assert len(heard) == 3
    assert (figures().connects, figures().renewed) == (1, 2)


def test_a_renewed_session_ends_with_its_age() -> None:
    """It is the same connection."""
    wrapper = made(settings({"recycle": 1}))
    number = leave(wrapper)
    ends = time.monotonic() + 10
    while (now := leave(wrapper)) == number:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert now != number
    assert figures().discards == {"expired": 1}


def test_threads_that_leave_their_traces_never_see_anothers() -> None:
    local: dict[str, int] = {}
    lock = threading.Lock()

    def work(name: str) -> None:
        wrapper = made(settings({"pool_size": 2, "timeout": HANG}))
        for _ in range(25):
            with closing(wrapper):
                assert look(wrapper, "SELECT @mine") == (None,)
                fetch(wrapper, f"SET @mine = '{name}'")
                assert fetch(wrapper, "SELECT @mine") == (name,)
        with lock:
            local[name] = 25

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert len(local) == 6
    told = figures()
    assert told.connects <= 2
    assert told.renewed >= 148
