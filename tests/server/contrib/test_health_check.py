"""The check of django-health-check, by the package's own view, on the real server."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from health_check.exceptions import ServiceReturnedUnexpectedResult, ServiceUnavailable
from health_check.views import HealthCheckView

import mysqlpool
from mysqlpool import release_connections
from mysqlpool.contrib import health_check
from mysqlpool.contrib.health_check import PoolHealthCheck
from mysqlpool.session.link import Link
from tests.faults.proxy import Proxy
from tests.helpers import identified, in_thread, lease_all, session_id

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "stock"])

CHECK = "mysqlpool.contrib.health_check.PoolHealthCheck"


@contextmanager
def site(*checks: Any) -> Iterator[None]:
    """In this block the page of these checks is at "/"."""
    urls: Any = ModuleType("tests_health_urls")
    urls.urlpatterns = [path("", HealthCheckView.as_view(checks=[*checks]))]
    sys.modules[urls.__name__] = urls
    try:
        with override_settings(ROOT_URLCONF=urls.__name__, MIDDLEWARE=[]):
            yield
    finally:
        del sys.modules[urls.__name__]


def asked(**options: Any) -> tuple[int, str]:
    """The status of the page, and what it says of one check with these options."""
    with site((CHECK, options)):
        response = Client().get("/", {"format": "json"})
        ((_, said),) = response.json().items()
        return response.status_code, said


def unavailable(**options: Any) -> str:
    """Why the page says that it is not available; and nothing is out that was not before."""
    before = in_use()
    status, said = asked(**options)
    assert status == 500
    kind, _, message = said.partition(": ")
    assert kind.lower() == "unavailable"
    assert in_use() == before
    return message


def refused(**options: Any) -> str:
    """The same, of the check alone: the package gives up a second after the timeout, which is all
    that a busy machine has to tell it in.
    """
    before = in_use()
    with pytest.raises(ServiceUnavailable) as caught:
        PoolHealthCheck(**options).run()
    assert in_use() == before
    return str(caught.value.message)


def in_use() -> dict[str, int]:
    return {alias: one.in_use for alias, one in mysqlpool.stats().items() if one.in_use}


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes the settings of the alias "other"."""

    def settle(pool: Any = None, **settings: Any) -> None:
        if pool is not None:
            settings["OPTIONS"] = {"pool": {"lease": "task", **pool}}
        for name, value in settings.items():
            monkeypatch.setitem(connections["other"].settings_dict, name, value)

    return settle


@contextmanager
def held(alias: str) -> Iterator[int]:
    """Somebody holds a session of the pool: this thread."""
    try:
        yield session_id(alias)
    finally:
        release_connections(alias)


def lease_and_release() -> None:
    lease_all("other")
    release_connections()


def test_a_pool_that_serves_is_healthy_and_its_session_is_given_back(observer: Any) -> None:
    with held("default") as number:
        pass
    with site((CHECK, {"alias": "default"})):
        response = Client().get("/", {"format": "json"})
    assert response.status_code == 200
    assert response.json() == {"PoolHealthCheck(alias='default')": "OK"}
    assert in_use() == {}
    assert mysqlpool.stats()["default"].idle == 1
    assert number in observer.sessions()


def test_without_an_alias_it_asks_all_of_mysqlpools() -> None:
    assert asked() == (200, "OK")
    assert {alias: one.leases for alias, one in mysqlpool.stats().items()}.keys() >= {
        "default",
        "other",
    }
    before = {alias: one.leases for alias, one in mysqlpool.stats().items()}
    assert asked(alias=["other"]) == (200, "OK")
    after = {alias: one.leases for alias, one in mysqlpool.stats().items()}
    assert after == {**before, "other": before["other"] + 1}


def test_it_asks_the_server_once_and_nothing_else(observer: Any) -> None:
    asked(alias="default")
    with observer.general_log() as log:
        asked(alias="default")
    assert [sql for _, command, sql in log if command == "Query" and "general_log" not in sql] == [
        "SELECT 1"
    ]


def test_a_full_pool_is_told_with_its_figures_within_the_checks_own_time(settle: Any) -> None:
    settle({"pool_size": 1, "timeout": 60})
    with held("other"):
        message = refused(alias="other", timeout=dt.timedelta(seconds=0.2))
    told = r"pool 'other' had no session within (.*) s: 1 of 1 are in use, 0 more threads wait"
    match = re.fullmatch(told, message)
    assert match is not None, message
    assert float(match[1]) < 30  # The pool's own is 60.
    assert "MainThread" not in message
    assert ".py" not in message
    assert asked(alias="other") == (200, "OK")


def test_the_pools_own_timeout_holds_where_it_is_shorter(settle: Any) -> None:
    settle({"pool_size": 1, "timeout": 0.1})
    with held("other"):
        assert "had no session within 0" in unavailable(alias="other", timeout=60)


def test_waiters_are_counted(settle: Any, observer: Any) -> None:
    settle({"pool_size": 1, "timeout": 20})
    with held("other"):
        with in_thread(lease_and_release):
            observer.until(lambda: mysqlpool.stats()["other"].waiting == 1)
            message = refused(alias="other", timeout=0.1)
            release_connections("other")
        assert "1 more thread waits" in message


def test_too_many_waiters_are_told_at_once(settle: Any, observer: Any) -> None:
    settle({"pool_size": 1, "timeout": 20, "max_waiting": 1})
    with held("other"), in_thread(lease_and_release):
        observer.until(lambda: mysqlpool.stats()["other"].waiting == 1)
        message = unavailable(alias="other")
        release_connections("other")
    assert message.startswith("pool 'other' had no session: 1 of 1 are in use, 1 more thread waits")


def test_an_absent_server_is_told_without_its_address(settle: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settle(PORT=str(port))
    message = unavailable(alias="other")
    assert message in [f"no server of database 'other' answers (error {n})" for n in (2002, 2003)]


def test_what_a_server_refuses_is_told_by_its_number_alone(settle: Any) -> None:
    settle(USER="nobody_known", PASSWORD="hunter2")
    message = unavailable(alias="other")
    assert message.startswith("database 'other' cannot be asked: OperationalError (error 1")


def test_a_server_that_refuses_another_session_is_told_by_its_number(
    settle: Any, observer: Any
) -> None:
    """The pool might have two, and the account one."""
    observer.query(f"CREATE USER one@'%%' {identified('hunter2')} WITH MAX_USER_CONNECTIONS 1")
    try:
        observer.query("GRANT ALL ON *.* TO one@'%%'")
        settle({"pool_size": 2, "timeout": 60}, USER="one", PASSWORD="hunter2")
        with held("other"):
            message = refused(alias="other", timeout=0.2)
        mysqlpool.close_pool("other")
    finally:
        observer.query("DROP USER one@'%%'")
    assert ": 1 of 2 are in use, 0 more threads wait, and the server refused" in message
    assert message.endswith("refused to open one (error 1226)")


def test_an_answer_that_is_not_the_one_asked_for_is_no_health(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as one to a former statement. It is the worse news where another does not answer."""
    monkeypatch.setattr(Link, "ask", lambda self, sql: "2")
    for alias in ["default", ["default", "nowhere"]]:
        with pytest.raises(ServiceReturnedUnexpectedResult, match="'default' answered SELECT 1 ot"):
            PoolHealthCheck(alias=alias).run()
    assert in_use() == {}


def test_a_project_without_a_database_of_mysqlpools_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = ConnectionHandler({"default": connections["stock"].settings_dict})
    monkeypatch.setattr(health_check, "connections", others)
    assert refused() == "no database is on mysqlpool's engine"


def test_version_3_of_the_package_asks_by_its_own_name_of_it() -> None:
    PoolHealthCheck(alias="default").check_status()
    with pytest.raises(ServiceUnavailable, match="there is no database"):
        PoolHealthCheck(alias="nowhere").check_status()


def test_one_database_that_fails_does_not_hide_another(settle: Any) -> None:
    settle({"pool_size": 1, "timeout": 60})
    with held("other"):
        message = refused(alias=["default", "other", "nowhere"], timeout=0.1)
    assert "pool 'other'" in message
    assert "there is no database 'nowhere'; DATABASES has 'default', " in message
    assert "pool 'default'" not in message


def test_an_alias_of_another_engine_is_refused() -> None:
    assert unavailable(alias="stock") == "database 'stock' is not on mysqlpool's engine"


def test_what_the_asking_thread_has_leased_is_neither_asked_nor_released() -> None:
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        ((own,),) = cursor.fetchall()
        PoolHealthCheck(alias="default").run()
        assert mysqlpool.stats()["default"].in_use == 1
        cursor.execute("SELECT CONNECTION_ID()")
        assert cursor.fetchall() == ((own,),)
    assert mysqlpool.stats()["default"].connects >= 2


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_it_is_no_unscoped_lease(settle: Any, lease: str) -> None:
    settle({"pool_size": 2, "unscoped": "raise", "lease": lease})
    assert asked(alias="other") == (200, "OK")
    assert mysqlpool.stats()["other"].unscoped == 0
    assert in_use() == {}


@pytest.mark.parametrize("kind", ["QueuePool", "NullPool", "StaticPool"])
def test_sqlalchemys_own_pools_are_asked_too(settle: Any, kind: str) -> None:
    settle({"class": f"sqlalchemy.pool.{kind}"})
    assert asked(alias="other") == (200, "OK")
    assert in_use() == {}
    if kind == "StaticPool":
        with held("other"):
            assert "PoolError" in unavailable(alias="other")


def test_a_receiver_that_fails_leaks_nothing(settle: Any) -> None:
    def refuse(**kwargs: Any) -> None:
        raise ZeroDivisionError

    connection_created.connect(refuse)
    try:
        with pytest.raises(ZeroDivisionError):
            PoolHealthCheck(alias="other").run()
    finally:
        connection_created.disconnect(refuse)
    assert in_use() == {}


def test_the_page_is_asked_asynchronously_too() -> None:
    async def ask() -> Any:
        return await AsyncClient().get("/", {"format": "json"})

    with site(CHECK):
        response = asyncio.run(ask())
    assert (response.status_code, list(response.json().values())) == (200, ["OK"])
    assert in_use() == {}


def test_a_session_on_a_path_that_went_mute_is_told_and_discarded(settle: Any, server: Any) -> None:
    with Proxy(server) as proxy:
        settle(
            HOST="127.0.0.1",
            PORT=str(proxy.port),
            OPTIONS={"pool": {"pool_size": 1}, "read_timeout": 1},
        )
        assert asked(alias="other") == (200, "OK")
        proxy.mute()
        assert "'other'" in unavailable(alias="other", timeout=30)
    assert mysqlpool.stats()["other"].idle == 0


@pytest.mark.parametrize("timeout", [0, -1, "2", True, dt.timedelta()])
def test_a_bad_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="timeout must be a timedelta or seconds"):
        PoolHealthCheck(timeout=timeout)


@pytest.mark.parametrize("alias", [[], 5, ["default", None]])
def test_a_bad_alias_is_refused(alias: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="alias must be an alias, several aliases, or"):
        PoolHealthCheck(alias=alias)
