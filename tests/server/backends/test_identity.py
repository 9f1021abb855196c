"""One pool an alias, whose sessions have identities: tenants, tokens, and settings that change."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connections

from mysqlpool import close_pool, stats
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.backends.mysqlpool.client import with_password
from mysqlpool.errors import PoolError
from tests.helpers import HANG, error_of, identified, in_thread, run_threads

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])

ALIAS = "identity"
KINDS = ["task", "transaction"]
CLASSES = ["FairQueuePool", "QueuePool", "NullPool"]

local = threading.local()


class TenantWrapper(DatabaseWrapper):
    """A database for each tenant."""

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "database": local.tenant}


class TokenWrapper(DatabaseWrapper):
    """A token that is fetched for each connect."""

    token = ""

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "password": type(self).token}


def settings(pool: dict[str, Any], **values: Any) -> dict[str, Any]:
    own = {"pool_size": 2, "timeout": 5, **pool}
    if own.get("class") == "NullPool":
        own = {key: own[key] for key in own.keys() - {"pool_size", "timeout"}}
    return {**connections["default"].settings_dict, "OPTIONS": {"pool": own}, **values}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_pool()


@pytest.fixture
def tenants(observer: Any) -> Iterator[list[str]]:
    names = [f"tenant_{number}" for number in range(4)]
    for name in names:
        observer.query(f"CREATE DATABASE {name}")
        observer.query(f"CREATE TABLE {name}.t SELECT '{name}' AS name")
    yield names
    close_pool()
    for name in names:
        observer.query(f"DROP DATABASE {name}")


@pytest.fixture
def account(observer: Any) -> Iterator[str]:
    observer.query(f"CREATE USER fetcher@'%%' {identified('token-1')}")
    observer.query("GRANT ALL ON *.* TO fetcher@'%%'")
    yield "fetcher"
    close_pool()
    observer.query("DROP USER fetcher@'%%'")


def sessions_of(observer: Any, user: str) -> int:
    query = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = %s"
    [[count]] = observer.query(query, user)
    return int(count)


def renew_token(observer: Any, token: str) -> None:
    observer.query(f"ALTER USER fetcher@'%%' {identified(token)}")


def fetch(wrapper: Any, sql: str) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


@contextmanager
def closing(wrapper: Any) -> Iterator[Any]:
    try:
        yield wrapper
    finally:
        wrapper.close()


def in_pool(observer: Any, databases: list[str]) -> int:
    names = ", ".join(f"'{name}'" for name in databases)
    query = f"SELECT COUNT(*) FROM information_schema.processlist WHERE db IN ({names})"
    return int(observer.query(query)[0][0])


@pytest.mark.parametrize("lease", KINDS)
@pytest.mark.parametrize("cls", CLASSES)
def test_each_tenant_reads_its_own_database(lease: str, cls: str, tenants: list[str]) -> None:
    def work(tenant: str) -> None:
        local.tenant = tenant
        wrapper = TenantWrapper(settings({"lease": lease, "class": cls}), ALIAS)
        for _ in range(10):
            with closing(wrapper):
                for _ in range(3):
                    assert fetch(wrapper, "SELECT name, DATABASE() FROM t") == (tenant, tenant)

    def task(tenant: str) -> Any:
        return lambda: work(tenant)

    run_threads(*[task(tenant) for tenant in tenants])


@pytest.mark.parametrize("lease", KINDS)
def test_the_limit_holds_over_all_tenants(lease: str, tenants: list[str], observer: Any) -> None:
    counted: list[int] = []
    for _ in range(2):
        for tenant in tenants:
            local.tenant = tenant
            with closing(TenantWrapper(settings({"lease": lease}), ALIAS)) as wrapper:
                fetch(wrapper, "SELECT name FROM t")
            observer.until(lambda: in_pool(observer, tenants) <= 2)
            counted.append(stats()[ALIAS].in_use + stats()[ALIAS].idle)
    assert max(counted) == 2
    figures = stats()[ALIAS]
    assert (figures.connects, figures.renewed, dict(figures.discards)) == (2, 6, {})


def test_an_idle_session_of_the_own_identity_is_leased_first(tenants: list[str]) -> None:
    for tenant in [*tenants[:2]] * 5:
        local.tenant = tenant
        with closing(TenantWrapper(settings({}), ALIAS)) as wrapper:
            assert fetch(wrapper, "SELECT name FROM t") == (tenant,)
    assert stats()[ALIAS].connects == 2


def test_a_waiter_of_another_identity_gets_the_slot_that_comes_back(tenants: list[str]) -> None:
    local.tenant = tenants[0]
    first = TenantWrapper(settings({"pool_size": 1, "lease": "task"}), ALIAS)
    fetch(first, "SELECT name FROM t")
    waits = threading.Event()

    def wait() -> Any:
        local.tenant = tenants[1]
        wrapper = TenantWrapper(settings({"pool_size": 1, "lease": "task"}), ALIAS)
        with closing(wrapper):
            waits.set()
            return fetch(wrapper, "SELECT name FROM t")

    def release() -> None:
        assert waits.wait(HANG)
        while not stats()[ALIAS].waiting:
            pass
        first.tenure.end()

    first.inc_thread_sharing()
    assert run_threads(wait, release)[0] == (tenants[1],)


@pytest.mark.parametrize("lease", KINDS)
def test_a_token_is_fresh_at_each_connect(lease: str, account: str, observer: Any) -> None:
    TokenWrapper.token = "token-1"
    wrapper = TokenWrapper(settings({"lease": lease}, USER=account), ALIAS)
    with closing(wrapper):
        fetch(wrapper, "SELECT 1")
    renew_token(observer, "token-2")
    TokenWrapper.token = "token-2"
    close_pool()
    for _ in range(3):
        with closing(wrapper):
            fetch(wrapper, "SELECT 1")
    assert stats()[ALIAS].connects == 2


def test_a_token_is_fresh_though_the_thread_stayed_connected(account: str, observer: Any) -> None:
    """With transaction tenure a thread may need a new session long after it connected."""
    TokenWrapper.token = "token-1"
    wrapper = TokenWrapper(settings({"lease": "transaction"}, USER=account), ALIAS)
    with closing(wrapper):
        fetch(wrapper, "SELECT 1")
        renew_token(observer, "token-2")
        TokenWrapper.token = "token-2"
        close_pool()
        fetch(wrapper, "SELECT 1")


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("dotted", [False, True])
def test_connect_args_are_asked_before_every_connect(
    cls: str, dotted: bool, account: str, observer: Any
) -> None:
    asked.clear()
    current["token"] = "token-1"
    function: Any = f"{__name__}.give_token" if dotted else give_token
    pool = {"connect_args": function, "class": cls}
    wrapper = DatabaseWrapper(settings(pool, USER=account, PASSWORD=""), ALIAS)
    with closing(wrapper):
        fetch(wrapper, "SELECT 1")
    renew_token(observer, "token-2")
    current["token"] = "token-2"
    close_pool()
    with closing(wrapper):
        fetch(wrapper, "SELECT 1")
    assert len(asked) == 2
    assert asked[0]["user"] == "fetcher"


current: dict[str, str] = {}
asked: list[dict[str, Any]] = []


def give_token(params: dict[str, Any]) -> dict[str, Any]:
    asked.append(dict(params))
    return {**params, "password": current["token"]}


def test_a_password_may_be_a_callable(account: str, observer: Any) -> None:
    current["token"] = "token-1"
    values = settings({}, USER=account, PASSWORD=lambda: current["token"])
    wrapper = DatabaseWrapper(values, ALIAS)
    with closing(wrapper):
        fetch(wrapper, "SELECT 1")
    with wrapper._nodb_cursor() as cursor:
        cursor.execute("SELECT 1")
    _, env = wrapper.client.settings_to_cmd_args_env(values, [])
    assert env == {"MYSQL_PWD": "token-1"}
    renew_token(observer, "token-2")
    current["token"] = "token-2"
    close_pool()
    with closing(wrapper):
        fetch(wrapper, "SELECT 1")


@pytest.mark.parametrize(
    ("pool", "values", "text"),
    [
        ({"connect_args": 5}, {}, "['connect_args'] must be a callable"),
        ({"connect_args": "no.such.function"}, {}, "'no.such.function' cannot be imported"),
        ({"connect_args": "function"}, {}, "must be the dotted path of a callable"),
        ({"connect_args": ".relative"}, {}, "must be the dotted path of a callable"),
        ({"connect_args": f"{__name__}.ALIAS"}, {}, "must be the dotted path of a callable"),
        ({"connect_args": lambda params: None}, {}, "must return the parameters"),
        ({}, {"PASSWORD": lambda: 5}, "must return a string and not int"),
    ],
)
def test_what_is_no_source_of_parameters_is_refused(
    pool: dict[str, Any], values: dict[str, Any], text: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        DatabaseWrapper(settings(pool, **values), ALIAS).ensure_connection()
    assert text in str(caught.value)


@pytest.mark.parametrize("where", ["PASSWORD", "OPTIONS", "engine", "connect_args", "callable"])
def test_no_traceback_with_locals_tells_a_secret(
    where: str, observer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Of our own frames, Django's, the driver's, and what they call."""
    secret = "do-not-tell"
    values: dict[str, Any] = settings({}, USER="nobody")
    kind: type[DatabaseWrapper] = DatabaseWrapper
    if where == "PASSWORD":
        values["PASSWORD"] = secret
    elif where == "OPTIONS":
        values["OPTIONS"]["password"] = secret
    elif where == "callable":
        values["PASSWORD"] = lambda: secret
    elif where == "connect_args":
        values["OPTIONS"]["pool"]["connect_args"] = lambda params: {**params, "password": secret}
    else:
        kind, TokenWrapper.token = TokenWrapper, secret
    wrapper = kind(values, ALIAS)
    with caplog.at_level(logging.DEBUG):
        error: Any = error_of(wrapper.ensure_connection)
    assert isinstance(error, OperationalError)
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(line for line in told.format() if "def test_" not in line)
    own = [frame for frame in text.split("  File ") if __file__ not in frame]
    assert secret not in "".join(own)
    assert secret not in caplog.text
    assert len(own) > 5


def test_a_changed_password_closes_what_is_idle_and_takes_no_second_pool(
    account: str, observer: Any
) -> None:
    values = settings({"pool_size": 3, "lease": "task"}, USER=account, PASSWORD="token-1")
    wrappers = [DatabaseWrapper(values, ALIAS) for _ in range(3)]
    for one in wrappers:
        fetch(one, "SELECT 1")
    for one in wrappers[1:]:
        one.close()
    renew_token(observer, "token-2")
    values["PASSWORD"] = "token-2"
    other = DatabaseWrapper(values, ALIAS)
    with closing(other):
        fetch(other, "SELECT 1")
        observer.until(lambda: sessions_of(observer, account) == 2)
        assert stats()[ALIAS].in_use == 2
    wrappers[0].close()  # It was leased meanwhile, and goes as it comes back.
    observer.until(lambda: sessions_of(observer, account) == 1)
    assert stats()[ALIAS].connects == 4


def test_settings_that_another_wrapper_still_has_are_not_gone(tenants: list[str]) -> None:
    """As with two copies of the settings, for two databases."""
    wrappers = [DatabaseWrapper(settings({}, NAME=name), ALIAS) for name in tenants[:2]]
    for _ in range(5):
        for wrapper, name in zip(wrappers, tenants, strict=False):
            with closing(wrapper):
                assert fetch(wrapper, "SELECT name FROM t") == (name,)
    assert stats()[ALIAS].connects == 2


class LevelWrapper(DatabaseWrapper):
    """An isolation level for some threads, set where Django sets it, or as it connects."""

    asked = 0

    def get_connection_params(self) -> dict[str, Any]:
        type(self).asked += 1
        params = super().get_connection_params()
        if local.level and local.where == "params":
            self.isolation_level = local.level
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if local.level and local.where == "connection":
            self.isolation_level = local.level
        return super().get_new_connection(conn_params)


def level_of(wrapper: Any) -> str:
    with wrapper.cursor() as cursor:
        cursor.execute("SHOW SESSION VARIABLES LIKE 't%isolation'")
        return str(cursor.fetchall()[0][1])


@pytest.mark.parametrize("lease", KINDS)
@pytest.mark.parametrize("where", ["params", "connection"])
def test_an_isolation_level_of_an_engine_is_one_connections(lease: str, where: str) -> None:
    """Django puts the settings' level back whenever it asks for the parameters."""
    local.where = where
    wrapper = LevelWrapper(settings({"lease": lease}), ALIAS)
    plain = LevelWrapper(settings({"lease": lease}), ALIAS)
    for one, level in ((wrapper, "serializable"), (wrapper, None), (plain, None)) * 2:
        local.level = level
        with closing(one):
            assert level_of(one) == ("SERIALIZABLE" if level else "READ-COMMITTED")


@pytest.mark.parametrize("where", ["params", "connection"])
def test_the_level_goes_along_to_another_session(where: str) -> None:
    local.where, local.level = where, "serializable"
    pool = {"lease": "transaction", "pool_size": 1}
    wrapper = LevelWrapper(settings(pool), ALIAS)
    with closing(wrapper):
        assert level_of(wrapper) == "SERIALIZABLE"
        before, local.level = stats()[ALIAS].connects, None
        close_pool()
        assert level_of(wrapper) == "SERIALIZABLE"
        assert stats()[ALIAS].connects == before + 1


def test_an_engine_is_asked_once_a_connect() -> None:
    """It may fetch a token. Django's engine asks once, and its probe of a new server nobody."""
    local.level = None
    before = LevelWrapper.asked
    with closing(LevelWrapper(settings({}), ALIAS)) as wrapper:
        fetch(wrapper, "SELECT 1")
    assert LevelWrapper.asked == before + 1


def test_a_signal_handler_that_asks_in_vain_does_not_spoil_the_request_it_interrupts() -> None:
    own = settings({"lease": "task", "pool_size": 1, "max_waiting": 1})
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(DatabaseWrapper(own, ALIAS)) as wrapper:
            fetch(wrapper, "SELECT 1")
            with wrapper.cursor() as cursor:
                cursor.execute("SET @x = 1")  # Its session is discarded, so the waiter connects.
            held.set()
            assert go.wait(HANG)

    def handler(*_: Any) -> None:
        with contextlib.suppress(PoolError):
            fetch(DatabaseWrapper(own, ALIAS), "SELECT 1")
        go.set()

    former = signal.signal(signal.SIGALRM, handler)
    try:
        with in_thread(hold), closing(DatabaseWrapper(own, ALIAS)) as wrapper:
            assert held.wait(HANG)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            assert fetch(wrapper, "SELECT 1") == (1,)
    finally:
        signal.signal(signal.SIGALRM, former)


def test_dbshell_gives_connect_args_what_a_connect_gives() -> None:
    def renew(params: dict[str, Any]) -> dict[str, Any]:
        return {**params, "password": f"token for {params['database']}"}

    own = settings({"connect_args": renew})
    assert with_password("default", own)["PASSWORD"] == f"token for {own['NAME']}"


def test_dbshell_names_the_alias_whose_password_is_none() -> None:
    own = {**connections["other"].settings_dict, "PASSWORD": lambda: None}
    with mock.patch.dict(connections.settings, other=own):
        message = r"DATABASES\['other'\]\['PASSWORD'\] is a callable, which must return a string"
        with pytest.raises(ImproperlyConfigured, match=message):
            connections["other"].client.settings_to_cmd_args_env(own, [])
