"""A project of the test's own: its databases and what else the checks look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.db import connections
from pytest_django import Settings

from mysqlpool.apps import CHECKS


@pytest.fixture(autouse=True)
def databases(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> dict[str, dict[str, Any]]:
    """The aliases of the project, to be filled by the test. No connection is made."""
    entries: dict[str, dict[str, Any]] = {}
    monkeypatch.setitem(vars(connections), "settings", entries)
    for name in ("MYSQLPOOL_BACKEND", "MYSQLPOOL_ARGUMENTS"):
        if hasattr(settings, name):
            delattr(settings, name)
    return entries


@pytest.fixture
def run() -> Callable[[], list[CheckMessage]]:
    """Run every check that the app registers."""
    return lambda: [message for check in CHECKS for message in check()]


@pytest.fixture
def ids(run: Callable[[], list[CheckMessage]]) -> Callable[[], list[str]]:
    """Run every check, and tell the IDs of their messages without our prefix."""
    return lambda: sorted(str(message.id).removeprefix("mysqlpool.") for message in run())
