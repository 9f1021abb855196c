"""What is said of green threads and task queues. Tracers are in tests/unit/test_checks.py."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import CheckMessage
from pytest_django import Settings

from mysqlpool.checks.queues import task_queues
from mysqlpool.checks.workers import Workers

from .project import STOCK, entry

Databases = dict[str, dict[str, Any]]
Run = Callable[[], list[CheckMessage]]


# Green threads


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("patched", ["socket", "threading", "_thread"])
def test_that_gevent_has_patched_is_told(
    databases: Databases, run: Run, monkeypatch: pytest.MonkeyPatch, patched: str
) -> None:
    databases["default"] = entry()
    stand_in(monkeypatch, "gevent.monkey", is_module_patched=lambda name: name == patched)
    (message,) = run()
    assert message.id == "mysqlpool.W011"
    assert message.msg.startswith("gevent has made")


def test_that_eventlet_has_patched_is_told(
    databases: Databases, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases["default"] = entry()
    stand_in(monkeypatch, "eventlet.patcher", is_monkey_patched=lambda name: name == "thread")
    (message,) = run()
    assert message.msg.startswith("eventlet has made")


def test_to_have_imported_them_is_no_trouble_and_nor_is_it_where_no_alias_is_ours(
    databases: Databases, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases["default"] = entry()
    assert "gevent" not in sys.modules
    stand_in(monkeypatch, "gevent.monkey", is_module_patched=lambda name: False)
    stand_in(monkeypatch, "eventlet.patcher", is_monkey_patched=lambda name: False)
    assert run() == []
    databases["default"] = {"ENGINE": STOCK, "OPTIONS": {}}
    stand_in(monkeypatch, "gevent.monkey", is_module_patched=lambda name: True)
    assert run() == []


# Task queues


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The apps that are installed, to be filled by the test."""
    names: set[str] = set()
    monkeypatch.setattr(apps, "is_installed", names.__contains__)
    return names


THREADED: list[tuple[str, dict[str, Any], str]] = [
    (
        "django_celery_results",
        {"CELERY_WORKER_CONCURRENCY": 12, "CELERY_WORKER_POOL": "threads"},
        "CELERY_WORKER_CONCURRENCY, with CELERY_WORKER_POOL = 'threads'",
    ),
    ("", {"CELERYD_CONCURRENCY": 12, "CELERYD_POOL": "gevent"}, "CELERYD_CONCURRENCY"),
    ("huey.contrib.djhuey", {"HUEY": {"consumer": {"workers": 12}}}, "HUEY['consumer']"),
    (
        "django_huey",
        {"DJANGO_HUEY": {"queues": {"mail": {"consumer": {"workers": 12}}}}},
        "DJANGO_HUEY['queues']['mail']",
    ),
    (
        "background_task",
        {"BACKGROUND_TASK_RUN_ASYNC": True, "BACKGROUND_TASK_ASYNC_THREADS": 12},
        "BACKGROUND_TASK_ASYNC_THREADS",
    ),
    (
        "procrastinate.contrib.django",
        {"PROCRASTINATE_WORKER_DEFAULTS": {"concurrency": 12}},
        "PROCRASTINATE_WORKER_DEFAULTS['concurrency']",
    ),
]


@pytest.mark.parametrize(("app", "names", "source"), THREADED)
def test_a_queue_with_more_threads_than_a_pool_has_sessions_is_told(
    databases: Databases,
    settings: Settings,
    installed: set[str],
    run: Run,
    app: str,
    names: dict[str, Any],
    source: str,
) -> None:
    databases["default"] = entry({"lease": "task", "pool_size": 10, "max_overflow": 1})
    databases["large"] = entry({"lease": "task", "pool_size": 12})
    databases["shared"] = entry({"pool_size": 2})
    installed.add(app)
    for name, value in names.items():
        setattr(settings, name, value)
    (message,) = run()
    assert message.id == "mysqlpool.W012"
    assert "12 threads" in message.msg
    assert source in message.msg
    assert "'default' has 11 sessions" in message.msg


def test_dramatiq_has_eight_threads_unless_its_environment_says_otherwise(
    databases: Databases, installed: set[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases["default"] = entry({"lease": "task", "pool_size": 5})
    installed.add("django_dramatiq")
    (message,) = run()
    assert "8 threads (its default)" in message.msg
    monkeypatch.setenv("DRAMATIQ_NTHREADS", "4")
    assert run() == []


PROCESSES: list[tuple[str, dict[str, Any], Workers]] = [
    (
        "",
        {"CELERY_WORKER_CONCURRENCY": 12},
        Workers("Celery", 12, 1, "CELERY_WORKER_CONCURRENCY", "prefork"),
    ),
    (
        "django_q",
        {"Q_CLUSTER": {"workers": 12}},
        Workers("Django Q", 12, 1, "Q_CLUSTER['workers']", "one a worker"),
    ),
    (
        "huey.contrib.djhuey",
        {"HUEY": {"consumer": {"workers": 12, "worker_type": "process"}}},
        Workers("Huey", 12, 1, "HUEY['consumer']['workers']", "worker_type"),
    ),
]


@pytest.mark.parametrize(("app", "names", "expected"), PROCESSES)
def test_a_queue_of_processes_has_a_pool_for_each(
    databases: Databases,
    settings: Settings,
    installed: set[str],
    run: Run,
    app: str,
    names: dict[str, Any],
    expected: Workers,
) -> None:
    databases["default"] = entry({"lease": "task", "pool_size": 1})
    installed.add(app)
    for name, value in names.items():
        setattr(settings, name, value)
    assert list(task_queues()) == [expected]
    assert run() == []


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"CELERY_WORKER_CONCURRENCY": 12, "CELERY_WORKER_POOL": "solo"},
        {"CELERY_WORKER_POOL": "threads"},
        {"CELERY_WORKER_CONCURRENCY": "12"},
        {"HUEY": object()},
        {"HUEY": {"consumer": None}},
        {"DJANGO_HUEY": {"queues": None}},
        {"Q_CLUSTER": None},
        {"BACKGROUND_TASK_ASYNC_THREADS": 12},
        {"PROCRASTINATE_WORKER_DEFAULTS": None},
    ],
)
def test_where_no_number_is_told_nothing_is_said(
    settings: Settings, installed: set[str], names: dict[str, Any]
) -> None:
    installed |= {app for app, _, _ in [*THREADED, *PROCESSES]}
    for name, value in names.items():
        setattr(settings, name, value)
    assert list(task_queues()) == []
