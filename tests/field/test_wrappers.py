"""Who wraps the connection, its cursors or each statement: tracers, guards, comments, panels."""

# These packages are in tox's environment "field", and not where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import wrapt
from django.conf import settings
from django.db import Error, InterfaceError, connection, connections, transaction
from django.db.backends.mysql.base import CursorWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings
from django_sqlcommenter import wrapper as sqlcommenter_wrapper
from django_sqlcommenter.middleware import SqlCommentMiddleware

from mysqlpool import auto_close_db, release_connections, stats
from mysqlpool.middleware import ReleaseConnectionsMiddleware
from tests.helpers import run_threads
from tests.observer import Observer
from tests.server.backends.test_transaction_concurrency import general_log

from .engines import Field, Under, ask, on_all, on_ours

with warnings.catch_warnings():  # It imports pkg_resources, which warns of itself.
    warnings.simplefilter("ignore")
    from google.cloud.sqlcommenter.django import middleware as google_sqlcommenter


@pytest.fixture
def table(observer: Observer, field: Field) -> Iterator[str]:
    name = f"{field.server.name}.wrapped"
    observer.query(f"CREATE TABLE {name} (number INT) ENGINE=InnoDB")
    yield "wrapped"
    release_connections()
    observer.query(f"DROP TABLE {name}")


# A tracer's proxy around the driver's connection, as ddtrace makes one.

spans: list[str] = []
ObjectProxy: Any = wrapt.ObjectProxy


class TracedCursor(ObjectProxy):  # type: ignore[misc]
    def execute(self, query: Any, args: Any = None) -> Any:
        spans.append(str(query))
        return self.__wrapped__.execute(query, args)

    def executemany(self, query: Any, args: Any) -> Any:
        spans.append(f"many {query}")
        return self.__wrapped__.executemany(query, args)

    def __enter__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return iter(self.__wrapped__)


class TracedConnection(ObjectProxy):  # type: ignore[misc]
    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        return TracedCursor(self.__wrapped__.cursor(*args, **kwargs))

    def commit(self) -> None:
        spans.append("commit")
        self.__wrapped__.commit()

    def rollback(self) -> None:
        spans.append("rollback")
        self.__wrapped__.rollback()


class Traced:
    """An engine that has its connections traced."""

    def get_new_connection(self, conn_params: Any) -> Any:
        return TracedConnection(super().get_new_connection(conn_params))  # type: ignore[misc]


def traced_work(alias: str, table: str) -> list[str]:
    """What a tracer saw of a task's own statements."""
    ask(alias, "SELECT 1")
    spans.clear()
    ask(alias, "SELECT %s", 2)
    with transaction.atomic(alias), connections[alias].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} VALUES (1)")
        cursor.executemany(f"INSERT INTO {table} VALUES (%s)", [(2,), (3,)])
        cursor.execute(f"SELECT number FROM {table} ORDER BY number")
        assert [*cursor] == [(1,), (2,), (3,)]
    with transaction.atomic(alias):
        ask(alias, f"DELETE FROM {table}")
        transaction.set_rollback(True, alias)
    seen = [*spans]
    release_connections()
    return seen


@on_all
def test_a_tracers_proxy_sees_each_statement_and_each_end_of_a_transaction(
    under: Under, field: Field, table: str
) -> None:
    alias = field.alias(under, Traced, pool={"pool_size": 1})
    assert traced_work(alias, table) == [
        "SELECT %s",
        f"INSERT INTO {table} VALUES (1)",
        f"many INSERT INTO {table} VALUES (%s)",
        f"SELECT number FROM {table} ORDER BY number",
        "commit",
        f"DELETE FROM {table}",
        "rollback",
    ]


@on_ours
def test_a_session_behind_a_proxy_goes_back_and_serves_others(under: Under, field: Field) -> None:
    alias = field.alias(under, Traced, pool={"pool_size": 1})

    @auto_close_db
    def work() -> None:
        for number in range(20):
            assert ask(alias, "SELECT %s", number) == ((number,),)
            if number % 5 == 0:
                release_connections()

    run_threads(*[work] * 4)
    figures = stats()[alias]
    assert (figures.connects, figures.in_use, figures.idle) == (1, 0, 1)


@on_all
def test_a_proxys_old_cursor_is_dead_after_the_release(under: Under, field: Field) -> None:
    alias = field.alias(under, Traced)
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1")
    release_connections()
    with pytest.raises(InterfaceError if under.is_ours else Error):
        cursor.execute("SELECT 2")


@on_ours
def test_what_a_proxied_session_keeps_is_no_others(under: Under, field: Field) -> None:
    """A session that its holder made dirty is discarded, though the wrapper has the proxy."""
    alias = field.alias(under, Traced, pool={"pool_size": 1})
    with connections[alias].cursor() as cursor:
        cursor.execute("SET @mine = 1")
        cursor.execute("SELECT @mine")
        assert cursor.fetchone() == (1,)
    release_connections()
    with connections[alias].cursor() as cursor:
        cursor.execute("DO 0")
        cursor.execute("SELECT @mine")
        assert cursor.fetchone() == (None,)


# Cursors that only read.


class ReadOnly(Exception):
    """Raised for a statement that is not allowed."""


class ReadOnlyCursor(CursorWrapper):
    def execute(self, query: Any, args: Any = None) -> Any:
        if not query.lstrip().upper().startswith(("SELECT", "SET", "SHOW")):
            raise ReadOnly(query)
        return super().execute(query, args)

    def executemany(self, query: Any, args: Any) -> Any:
        raise ReadOnly(query)


class ReadsOnly:
    """An engine whose cursors refuse to write."""

    def create_cursor(self, name: str | None = None) -> Any:
        return ReadOnlyCursor(self.connection.cursor())  # type: ignore[attr-defined]


@on_all
def test_read_only_cursors_refuse_and_go_on(under: Under, field: Field, table: str) -> None:
    alias = field.alias(under, ReadsOnly, pool={"pool_size": 2})

    @auto_close_db
    def work() -> None:
        for _ in range(20):
            with pytest.raises(ReadOnly):
                ask(alias, f"INSERT INTO {table} VALUES (1)")
            with transaction.atomic(alias):
                assert ask(alias, f"SELECT COUNT(*) FROM {table}") == ((0,),)

    run_threads(*[work] * 4)
    if under.is_ours:
        assert stats()[alias].in_use == 0
        assert stats()[alias].discards == {}


@on_all
def test_a_read_only_engines_old_cursor_is_dead(under: Under, field: Field) -> None:
    alias = field.alias(under, ReadsOnly)
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1")
    release_connections()
    with pytest.raises(InterfaceError if under.is_ours else Error):
        cursor.execute("SELECT 2")


# Comments on each statement.

KNOWN = "/* t=1 k=1 n=1 */"  # by which the log's reader knows a session


def view(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s {KNOWN}", ["100%"])
        cursor.execute("SELECT 'it''s'")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 2 FOR UPDATE")
    return HttpResponse("done")


@contextmanager
def google(get_response: Any) -> Iterator[Any]:
    """google-cloud-sqlcommenter's middleware, with a wrapper of ``execute`` for each request."""
    yield google_sqlcommenter.SqlCommenter(get_response)


@contextmanager
def by_receiver(get_response: Any) -> Iterator[Any]:
    """django-sqlcommenter's, with a wrapper that a receiver of ``connection_created`` adds."""
    uid = "django_sqlcommenter"
    receiver = sqlcommenter_wrapper.install_on_connection
    connection_created.connect(receiver, dispatch_uid=uid)
    try:
        yield SqlCommentMiddleware(get_response)
    finally:
        connection_created.disconnect(dispatch_uid=uid)
        connection.execute_wrappers.clear()


@pytest.mark.parametrize("commenter", [google, by_receiver])
@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_commented_statements_leave_a_session_clean(
    lease: str, commenter: Any, field: Field, monkeypatch: pytest.MonkeyPatch, observer: Observer
) -> None:
    pool = {"pool_size": 2, "lease": lease}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"pool": pool})
    monkeypatch.setitem(connection.settings_dict, "NAME", field.server.name)
    request = RequestFactory().get("/some/page")
    request.resolver_match = None
    ask("default", "SELECT 1")
    release_connections()
    before = stats()["default"]
    with commenter(view) as commented, general_log(observer) as log:
        handle: Any = ReleaseConnectionsMiddleware(commented)
        for _ in range(10):
            assert handle(request).content == b"done"
    after = stats()["default"]
    assert (after.connects, after.discards) == (before.connects, before.discards)
    assert after.leases - before.leases >= 10
    sent = [entry.sql.replace(KNOWN, "") for entry in log]
    assert len([sql for sql in sent if "SELECT" in sql and "/*" in sql]) == 30


# The SQL panel of django-debug-toolbar, which takes the cursors apart.


@pytest.fixture
def panel() -> Iterator[Any]:
    """What has the panel record the statements of an alias."""
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "debug_toolbar"]):
        from debug_toolbar.panels.sql.panel import SQLPanel
        from debug_toolbar.panels.sql.tracking import wrap_cursor

        made = SQLPanel(None, None)

        def watch(alias: str) -> Any:
            wrapper: Any = connections[alias]
            wrap_cursor(wrapper)
            wrapper._djdt_logger = made
            return made._queries

        yield watch


@on_all
def test_the_toolbars_panel_sees_each_statement_once(
    under: Under, field: Field, table: str, panel: Any
) -> None:
    alias = field.alias(under, pool={"pool_size": 1})
    ask(alias, "SELECT 1")
    seen = panel(alias)
    ask(alias, "SELECT %s", 2)
    with transaction.atomic(alias), connections[alias].cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} VALUES (%s)", [(1,), (2,)])
        ask(alias, f"SELECT COUNT(*) FROM {table}")
    release_connections()
    ask(alias, "SELECT 3")
    release_connections()
    told = [query["sql"] for query in seen]
    assert [sql for sql in told if sql.startswith("SELECT") and "@@" not in sql] == [
        "SELECT 2",
        f"SELECT COUNT(*) FROM {table}",
        "SELECT 3",
    ]
    assert sum("INSERT" in sql for sql in told) == 1, told
    if under.is_ours:
        figures = stats()[alias]
        assert (figures.connects, figures.in_use, figures.idle) == (1, 0, 1)


@on_all
def test_the_toolbars_old_cursor_is_dead(under: Under, field: Field, panel: Any) -> None:
    alias = field.alias(under)
    panel(alias)
    cursor = connections[alias].cursor()
    cursor.execute("SELECT 1")
    release_connections()
    with pytest.raises(InterfaceError if under.is_ours else Error):
        cursor.execute("SELECT 2")
