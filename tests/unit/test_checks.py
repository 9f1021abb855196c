"""What is refused at start, and what ``manage.py check`` warns of."""

from __future__ import annotations

import functools
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.core.checks import registry
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string
from opentelemetry.instrumentation.mysqlclient import MySQLClientInstrumentor
from pytest_django import Settings

import mysqlpool
from mysqlpool import checks, stats_log
from mysqlpool.aliases import ticker
from mysqlpool.apps import MySQLPoolConfig
from mysqlpool.contrib import opentelemetry
from mysqlpool.events import file as logfile
from mysqlpool.events import log as logs
from mysqlpool.session import library

OURS = "mysqlpool.backends.mysqlpool"
SQLITE = "django.db.backends.sqlite3"


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> dict[str, dict[str, Any]]:
    """The aliases of the project, to be filled by the test. No connection is made."""
    entries: dict[str, dict[str, Any]] = {}
    monkeypatch.setitem(vars(connections), "settings", entries)
    for name in ("MYSQLPOOL_BACKEND", "MYSQLPOOL_ARGUMENTS", "MYSQLPOOL_LOG"):
        if hasattr(settings, name):
            delattr(settings, name)
    return entries


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[MySQLPoolConfig]:
    monkeypatch.setattr(registry.registry, "registered_checks", set())
    previous = logs.set_event_log(None)
    monkeypatch.setattr(ticker, "_started", {})
    yield MySQLPoolConfig("mysqlpool", mysqlpool)
    stats_log.write_every(0)
    logfile.configure(None)
    logs.set_event_log(previous)


def entry(pool: Any = True, engine: str = OURS) -> dict[str, Any]:
    return {"ENGINE": engine, "OPTIONS": {"pool": pool}}


def test_a_bad_setting_is_refused_at_start(app: MySQLPoolConfig, databases: dict[str, Any]) -> None:
    databases["default"] = entry({"pool_size": 0})
    with pytest.raises(ImproperlyConfigured, match=r"'default'.*'pool_size'.*positive integer"):
        app.ready()


def test_the_refusal_at_start_tells_of_every_alias_and_of_a_global_fault_once(
    databases: dict[str, Any], settings: Settings
) -> None:
    databases["default"] = entry({"timeout": -1})
    databases["other"] = entry({"pool_sise": 5})
    with pytest.raises(ImproperlyConfigured) as caught:
        checks.validate_pool_settings()
    first, second = str(caught.value).splitlines()
    assert "DATABASES['default']" in first
    assert "DATABASES['other']" in second
    settings.MYSQLPOOL_ARGUMENTS = 5
    with pytest.raises(ImproperlyConfigured) as caught:
        checks.validate_pool_settings()
    assert str(caught.value) == "MYSQLPOOL_ARGUMENTS must be a dict, not 5"


def test_the_pool_of_another_engine_is_not_ours_to_judge(databases: dict[str, Any]) -> None:
    databases["default"] = entry({"min_size": 2}, engine="django.db.backends.postgresql")
    databases["gone"] = entry("no", engine="no_such_package.backend")
    checks.validate_pool_settings()


def test_an_engine_that_inherits_from_ours_is_judged(
    databases: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = type("DatabaseWrapper", (), {"__module__": "mysqlpool.backends.mysqlpool.base"})
    base = types.ModuleType("inherited.base")
    vars(base)["DatabaseWrapper"] = type("DatabaseWrapper", (ours,), {})
    monkeypatch.setitem(sys.modules, "inherited", types.ModuleType("inherited"))
    monkeypatch.setitem(sys.modules, "inherited.base", base)
    databases["default"] = entry("no", engine="inherited")
    with pytest.raises(ImproperlyConfigured, match="must be True, False or a dict"):
        checks.validate_pool_settings()


def test_the_module_by_which_an_inherited_engine_is_known_is_the_backends() -> None:
    from mysqlpool.backends.mysqlpool.base import DatabaseWrapper

    assert DatabaseWrapper.__module__ == checks.BACKEND_MODULE


def test_a_project_in_order_gets_no_warning(
    app: MySQLPoolConfig, databases: dict[str, Any], settings: Settings
) -> None:
    databases["default"] = entry({"pool_size": 5})
    settings.MYSQLPOOL_ARGUMENTS = {"timeout": 5}
    app.ready()
    assert registry.registry.run_checks() == []


def test_global_settings_that_no_database_reads_are_told(
    app: MySQLPoolConfig, databases: dict[str, Any], settings: Settings
) -> None:
    """As after an upgrade from django-mysqlpool that forgot the engine's new name."""
    databases["default"] = entry(engine=SQLITE)
    settings.MYSQLPOOL_ARGUMENTS = {"pool_size": 5}
    app.ready()
    [warning] = registry.registry.run_checks()
    assert warning.id == "mysqlpool.W001"
    assert warning.msg == "MYSQLPOOL_ARGUMENTS is set, but no database uses mysqlpool."
    assert "'ENGINE': 'mysqlpool.backends.mysqlpool'" in str(warning.hint)


@pytest.mark.parametrize("name", ["StaticPool", "SingletonThreadPool"])
def test_a_class_that_is_not_for_threads_is_told(
    app: MySQLPoolConfig, databases: dict[str, Any], name: str
) -> None:
    databases["default"] = entry({"class": "QueuePool"})
    databases["other"] = entry({"class": name})
    app.ready()
    [warning] = registry.registry.run_checks()
    assert warning.id == "mysqlpool.W002"
    assert "'other'" in warning.msg
    assert name in warning.msg


def test_that_a_wrapper_of_the_drivers_connect_sees_nothing_of_ours_is_told(
    app: MySQLPoolConfig, databases: dict[str, Any]
) -> None:
    """By OpenTelemetry's own instrumentor, which is silent about it."""
    databases["default"] = entry()
    app.ready()
    instrumentor = MySQLClientInstrumentor()
    instrumentor.instrument(skip_dep_check=True)
    try:
        [warning] = registry.registry.run_checks()
    finally:
        instrumentor.uninstrument()
    assert warning.id == "mysqlpool.W003"
    assert "wrapped by 'opentelemetry'" in warning.msg
    assert "mysqlpool.contrib.opentelemetry.instrument()" in str(warning.hint)
    import_string("mysqlpool.contrib.opentelemetry.instrument")
    assert registry.registry.run_checks() == []


class Proxy:
    def __call__(self, *args: Any, **kwargs: Any) -> None: ...


@functools.wraps(MySQLdb.connect)
def passing_for_it(*args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize("stranger", [Proxy(), passing_for_it])
def test_any_kind_of_wrapper_is_found(
    app: MySQLPoolConfig,
    databases: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    stranger: Any,
) -> None:
    databases["default"] = entry()
    app.ready()
    monkeypatch.setattr(MySQLdb, "connect", stranger)
    [warning] = registry.registry.run_checks()
    assert "wrapped by 'tests'" in warning.msg


def test_a_wrapper_is_no_trouble_where_our_own_spans_are_made_or_no_alias_is_ours(
    app: MySQLPoolConfig, databases: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    databases["default"] = entry(engine=SQLITE)
    app.ready()
    monkeypatch.setattr(MySQLdb, "connect", Proxy())
    assert registry.registry.run_checks() == []
    databases["default"] = entry()
    opentelemetry.instrument()
    try:
        assert registry.registry.run_checks() == []
    finally:
        opentelemetry.uninstrument()
    assert len(registry.registry.run_checks()) == 1


VERIFIED = {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": "/ca.pem"}}
ENCRYPTED: list[tuple[dict[str, Any], str]] = [
    ({"ssl": True}, "ssl"),
    ({"ssl": {"ca": "/ca.pem"}}, "ssl"),
    ({"ssl_mode": "REQUIRED", "ssl": {"ca": "/ca.pem"}}, "ssl_mode"),
]


@pytest.mark.parametrize(("options", "named"), ENCRYPTED)
def test_tls_that_does_not_verify_the_server_is_told(
    app: MySQLPoolConfig, databases: dict[str, Any], options: dict[str, Any], named: str
) -> None:
    databases["default"] = entry()
    databases["other"] = {**entry(), "HOST": "db.example.com", "OPTIONS": options}
    app.ready()
    [warning] = registry.registry.run_checks()
    assert warning.id == "mysqlpool.W004"
    assert warning.msg.startswith(f"Database 'other' asks for TLS by {named}, ")
    assert "'ssl_mode': 'VERIFY_IDENTITY'" in str(warning.hint)


@pytest.mark.parametrize("mariadbs", [True, False])
def test_what_the_library_verifies_without_the_name_is_told(
    app: MySQLPoolConfig,
    databases: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    mariadbs: bool,
) -> None:
    monkeypatch.setattr(library, "is_mariadbs", lambda: mariadbs)
    databases["default"] = {**entry(), "OPTIONS": {**VERIFIED, "ssl_mode": "VERIFY_CA"}}
    app.ready()
    assert [one.id for one in registry.registry.run_checks()] == ["mysqlpool.W004"] * (not mariadbs)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"OPTIONS": {}},
        {"OPTIONS": VERIFIED},
        {"OPTIONS": {"ssl_mode": "PREFERRED", "ssl": {"ca": "/ca.pem"}}},
        {"OPTIONS": {"ssl_mode": "DISABLED"}},
        {"OPTIONS": {"ssl": True}, "HOST": "/run/mysqld/mysqld.sock"},
        {"OPTIONS": {"ssl": True, "unix_socket": "/run/mysqld/mysqld.sock"}},
        {"OPTIONS": {"ssl": True}, "ENGINE": "django.db.backends.mysql"},
    ],
)
def test_who_verifies_or_asks_for_no_tls_or_has_a_socket_gets_no_warning(
    app: MySQLPoolConfig, databases: dict[str, Any], changes: dict[str, Any]
) -> None:
    databases["default"] = {**entry(), "HOST": "db.example.com", **changes}
    app.ready()
    assert registry.registry.run_checks() == []


def test_tls_that_an_option_file_asks_for_is_told_by_its_place(
    app: MySQLPoolConfig, databases: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text("[client]\nssl-ca=/ca.pem\n")
    databases["default"] = {**entry(), "OPTIONS": {"read_default_file": str(file)}}
    app.ready()
    [warning] = registry.registry.run_checks()
    assert f"asks for TLS by ssl-ca in {file}, " in warning.msg


def test_the_app_opens_the_event_log(
    app: MySQLPoolConfig, databases: dict[str, Any], settings: Settings, tmp_path: Path
) -> None:
    settings.MYSQLPOOL_LOG = tmp_path / "events.log"
    app.ready()
    logs.log_event(logging.getLogger("mysqlpool.test"), logging.DEBUG, "told", "default")
    assert '"event": "told"' in (tmp_path / "events.log").read_text()
    assert len(ticker._started) == 1  # It writes the statistics.


@pytest.mark.parametrize("more", [{"stats_interval": 0}, {"level": "WARNING"}])
def test_the_app_writes_no_statistics_where_there_are_to_be_none(
    more: dict[str, Any],
    app: MySQLPoolConfig,
    databases: dict[str, Any],
    settings: Settings,
    tmp_path: Path,
) -> None:
    settings.MYSQLPOOL_LOG = {"filename": tmp_path / "events.log", **more}
    app.ready()
    assert not ticker._started


def test_without_the_setting_there_is_no_event_log(
    app: MySQLPoolConfig, databases: dict[str, Any]
) -> None:
    app.ready()
    assert logs.event_log() is None
