"""What is said of the settings of pools."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.core.checks import CheckMessage, registry
from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility
from pytest_django import Settings

import mysqlpool
from mysqlpool import checks
from mysqlpool.apps import MySQLPoolConfig, arguments_of_django, is_checking
from tests.helpers import HANG, ROOT

from .project import OURS, STOCK, at, entry

Databases = dict[str, dict[str, Any]]
Run = Callable[[], list[CheckMessage]]
Ids = Callable[[], list[str]]


# E001, and the refusal at start


def test_all_faults_of_all_aliases_are_told_at_once(databases: Databases, run: Run) -> None:
    databases["default"] = entry({"pool_sise": 5, "timeout": -1})
    databases["other"] = {**entry(), "POOL_SIZE": 5}
    told = [message.msg for message in run()]
    assert [message.id for message in run()] == ["mysqlpool.E001"] * 3
    assert "did you mean 'pool_size'?" in told[0]
    assert "DATABASES['default']['OPTIONS']['pool']['timeout']" in told[1]
    assert "DATABASES['other']['POOL_SIZE'] is in the wrong place" in told[2]


def test_a_bad_key_of_the_pool_does_not_hide_what_is_wrong_beside_the_pool(
    databases: Databases, run: Run
) -> None:
    databases["default"] = {**entry({"pool_sise": 5}), "CONN_MAX_AGE": 600}
    told = "\n".join(message.msg for message in run())
    assert len(run()) == 2
    assert "['CONN_MAX_AGE'] must be 0, not 600" in told
    assert "did you mean 'pool_size'?" in told


def test_what_is_refused_at_start_is_the_same_in_the_same_words(
    databases: Databases, run: Run
) -> None:
    databases["default"] = entry({"pool_size": 0, "lease": "forever"})
    with pytest.raises(ImproperlyConfigured) as caught:
        checks.validate_pool_settings()
    assert str(caught.value).splitlines() == [message.msg for message in run()]


def test_a_fault_of_two_keys_together_is_told(databases: Databases, run: Run) -> None:
    databases["default"] = entry({"pool_size": 2, "min_idle": 3})
    (message,) = run()
    assert "min_idle (3) must not be above pool_size (2)" in message.msg


def test_a_key_of_another_class_is_judged_by_the_class_that_is_given(
    databases: Databases, run: Run
) -> None:
    databases["default"] = entry({"class": "QueuePool", "max_idle": 5, "timeout": 5})
    (message,) = run()
    assert "['max_idle'] is not a keyword of QueuePool" in message.msg


def test_a_fault_of_the_global_settings_is_told_once(
    databases: Databases, settings: Settings, run: Run
) -> None:
    databases["default"] = databases["other"] = entry()
    settings.MYSQLPOOL_ARGUMENTS = {"pool_size": 0}
    (message,) = run()
    assert message.msg.startswith("MYSQLPOOL_ARGUMENTS['pool_size'] must be a positive integer")


def test_the_other_checks_go_on_where_an_alias_is_refused(databases: Databases, ids: Ids) -> None:
    databases["default"] = entry({"pool_size": 0})
    databases["other"] = entry({"class": "StaticPool"})
    assert ids() == ["E001", "W002"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("manage.py check", True),
        ("django-admin check --database default", True),
        ("manage.py mysqlpool check", True),
        ("manage.py mysqlpool --no-color check", True),
        ("manage.py mysqlpool status", False),
        ("manage.py migrate check", False),
        ("gunicorn shop.wsgi", False),
        ("check", False),
    ],
)
def test_only_who_reports_bad_settings_starts_with_them(arguments: str, expected: bool) -> None:
    assert is_checking(arguments.split()) is expected


def test_a_wrapper_around_djangos_command_line_hides_nothing_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An instrumentation may have put one there."""
    found: list[Any] = []

    class Utility(ManagementUtility):
        def fetch_command(self, subcommand: str) -> Any:
            found.append(arguments_of_django())
            raise SystemExit

    execute = ManagementUtility.execute

    def wrapper(*args: Any, **kwargs: Any) -> None:
        found.append(arguments_of_django())
        execute(*args, **kwargs)

    monkeypatch.setattr(ManagementUtility, "execute", wrapper)
    with pytest.raises(SystemExit):
        Utility(["manage.py", "check"]).execute()
    assert found == [(), ["manage.py", "check"]]
    monkeypatch.setattr(ManagementUtility, "execute", partial(execute))
    assert arguments_of_django() == ()


def test_who_only_has_such_a_word_on_his_command_line_is_refused(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases["default"] = entry({"pool_size": 0})
    monkeypatch.setattr(sys, "argv", ["pytest", "check"])
    monkeypatch.setattr(registry.registry, "registered_checks", set())
    with pytest.raises(ImproperlyConfigured, match="pool_size"):
        MySQLPoolConfig("mysqlpool", mysqlpool).ready()


def manage(*arguments: str, pool: str) -> subprocess.CompletedProcess[str]:
    own = {"DATABASE_POOL": pool, "DJANGO_SETTINGS_MODULE": "filesite.settings"}
    return subprocess.run(
        [sys.executable, "example/manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **own, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG,
    )


def test_manage_py_check_reports_what_every_other_program_is_refused_for() -> None:
    """Models make wrappers while they are imported, which must not be refused before that."""
    bad = '{"pool_sise": 5, "timeout": -1}'
    for arguments in (["check"], ["check", "--database", "default"]):
        checked = manage(*arguments, pool=bad)
        assert checked.returncode == 1
        assert checked.stderr.count("(mysqlpool.E001)") == 2
        assert "Traceback" not in checked.stderr
    refused = manage("shell", "-c", "print('started')", pool=bad)
    assert refused.returncode == 1
    assert "started" not in refused.stdout
    assert "ImproperlyConfigured: DATABASES['default']" in refused.stderr
    assert "pool_sise" in refused.stderr
    assert "timeout" in refused.stderr


# E002


@pytest.mark.parametrize("engine", [STOCK, "django.contrib.gis.db.backends.mysql"])
@pytest.mark.parametrize("key", ["pool", "pool_size", "max_overflow"])
def test_a_pool_on_djangos_engine_is_told(
    databases: Databases, run: Run, engine: str, key: str
) -> None:
    databases["default"] = {"ENGINE": engine, "OPTIONS": {key: 5}}
    (message,) = run()
    assert message.id == "mysqlpool.E002"
    assert f"'{key}' in OPTIONS" in message.msg
    assert OURS in str(message.hint)


@pytest.mark.parametrize(
    "engine", ["django.db.backends.postgresql", "django.db.backends.oracle", "no_such.engine"]
)
def test_an_engine_that_may_know_a_pool_is_left_alone(
    databases: Databases, ids: Ids, engine: str
) -> None:
    databases["default"] = entry(engine=engine)
    assert ids() == []


def engine_of(monkeypatch: pytest.MonkeyPatch, **methods: Any) -> str:
    """Install an engine made of Django's by inheritance, with these methods."""
    from django.db.backends.mysql.base import DatabaseWrapper

    base = types.ModuleType("derived.base")
    members = {"__module__": "derived.base", **methods}
    vars(base)["DatabaseWrapper"] = type("DatabaseWrapper", (DatabaseWrapper,), members)
    monkeypatch.setitem(sys.modules, "derived", types.ModuleType("derived"))
    monkeypatch.setitem(sys.modules, "derived.base", base)
    return "derived"


def test_an_engine_without_a_wrapper_is_left_to_django(
    databases: Databases, ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases["default"] = entry(engine=engine_of(monkeypatch))
    del vars(sys.modules["derived.base"])["DatabaseWrapper"]
    assert ids() == []


def test_an_engine_made_of_djangos_is_told_unless_it_may_have_a_pool_of_its_own(
    databases: Databases, ids: Ids, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases["default"] = entry(engine=engine_of(monkeypatch, display_name="Mine"))
    assert ids() == ["E002"]
    own = engine_of(monkeypatch, get_connection_params=lambda self: {})
    databases["default"] = entry(engine=own)
    assert ids() == []


# W005


@pytest.mark.parametrize("recycle", [86_401, None, -1, 1e9])
def test_a_life_of_more_than_a_day_is_told(
    databases: Databases, run: Run, recycle: float | None
) -> None:
    databases["default"] = entry({"recycle": recycle})
    (message,) = run()
    assert message.id == "mysqlpool.W005"
    assert "'default'" in message.msg


def test_a_recycle_of_0_is_refused(databases: Databases, ids: Ids) -> None:
    databases["default"] = entry({"recycle": 0})
    assert ids() == ["E001"]


def test_the_life_of_global_settings_counts_and_no_pool_has_none(
    databases: Databases, settings: Settings, ids: Ids
) -> None:
    settings.MYSQLPOOL_ARGUMENTS = {"recycle": 100_000}
    databases["default"] = entry()
    assert ids() == ["W005"]
    databases["default"] = entry({"recycle": 86_400})
    assert ids() == []
    databases["default"] = entry(False)
    assert ids() == []


# W008


def test_aliases_that_together_are_more_than_a_server_takes_by_default_are_told(
    databases: Databases, run: Run
) -> None:
    databases["default"] = at("db", {"pool_size": 100})
    databases["reports"] = at("db", {"pool_size": 50, "max_overflow": 2}, port="")
    (message,) = run()
    assert message.id == "mysqlpool.W008"
    assert "100 ('default') + 52 ('reports') = 152 sessions on db:3306" in message.msg


@pytest.mark.parametrize(
    "other",
    [
        at("db2", {"pool_size": 100}),
        at("db", {"pool_size": 100}, port="3307"),
        at("db", {"pool_size": 51}),
        at("/run/mysqld.sock", {"pool_size": 100}),
        {**at("db"), "ENGINE": STOCK, "OPTIONS": {}},
        at("db", False),
    ],
)
def test_aliases_on_other_servers_or_within_the_default_are_not(
    databases: Databases, ids: Ids, other: dict[str, Any]
) -> None:
    databases["default"] = at("db", {"pool_size": 100})
    databases["other"] = other
    assert ids() == []


def test_an_address_in_options_and_one_of_several_servers_count(
    databases: Databases, ids: Ids
) -> None:
    databases["default"] = at("db1,db2", {"pool_size": 100})
    databases["other"] = at("", {"pool_size": 100})
    databases["other"]["OPTIONS"] |= {"host": "db2", "port": 3306}
    assert ids() == ["W008"]
