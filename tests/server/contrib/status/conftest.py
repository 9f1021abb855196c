"""A site with users, sessions and the admin, on the test database, for as long as its tests run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as project
from django.db import connection, transaction
from django.test import override_settings

from mysqlpool import release_connections
from tests.helpers import HANG, session_id

USERS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MODELS = ["contenttypes.ContentType", "auth.Permission", "auth.Group", "auth.User"]
MODELS += ["sessions.Session", "admin.LogEntry"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
MIDDLEWARE = [
    "mysqlpool.middleware.ReleaseConnectionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


@pytest.fixture(scope="package")
def site(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The settings of the site, and its tables."""
    with (
        override_settings(
            INSTALLED_APPS=[*project.INSTALLED_APPS, *USERS],
            MIDDLEWARE=MIDDLEWARE,
            TEMPLATES=TEMPLATES,
            ROOT_URLCONF="tests.server.contrib.status.urls",
            ALLOWED_HOSTS=["*"],
            PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ),
        django_db_blocker.unblock(),
    ):
        models = [apps.get_model(name) for name in MODELS]
        with connection.schema_editor() as editor:
            for model in models:
                editor.create_model(model)
        release_connections()
        yield
        with connection.schema_editor() as editor:
            for model in reversed(models):
                editor.delete_model(model)
        release_connections()


def hold_one(taken: threading.Barrier, end: threading.Event) -> None:
    """Hold a session until the end, in a transaction: so it does with either tenure."""
    try:
        with transaction.atomic():
            session_id()
            taken.wait(HANG)
            end.wait(HANG)
    finally:
        release_connections()


@contextmanager
def holders(
    *names: str, hold: Callable[[threading.Barrier, threading.Event], None] = hold_one
) -> Iterator[threading.Event]:
    """Threads of these names hold a session each, until the block ends or the event is set."""
    end, taken = threading.Event(), threading.Barrier(len(names) + 1)
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(running(name, partial(hold, taken, end)))
        stack.callback(end.set)
        taken.wait(HANG)
        yield end


@contextmanager
def running(name: str, function: Callable[[], Any]) -> Iterator[threading.Thread]:
    """A thread of this name runs a function beside the block, and has ended after it."""
    thread = threading.Thread(target=function, name=name, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(HANG)
    assert not thread.is_alive(), f"{name} hangs"
