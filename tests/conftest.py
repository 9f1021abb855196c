"""The private server for the whole run, and what tests ask it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import django
import pytest

from tests.mariadb import server_from_environment_or_private

# Started before Django reads its settings, which take the server from the environment.
_running = server_from_environment_or_private()
_server = _running.__enter__()
os.environ.update(_server.environ())
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()

from mysqlpool import close_pool, release_connections  # noqa: E402
from tests.observer import Observer  # noqa: E402


def pytest_unconfigure(config: pytest.Config) -> None:
    _running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def server() -> Any:
    return _server


@pytest.fixture
def observer(server: Any) -> Iterator[Observer]:
    """A connection of its own, outside any pool, that tells what the server sees."""
    with Observer(server) as observer:
        yield observer


@pytest.fixture(autouse=True)
def fresh_pools(_django_db_marker: None) -> Iterator[None]:
    """Each test starts and ends with no session open and nothing leased by this thread."""
    release_connections()
    close_pool()
    yield
    release_connections()
    close_pool()
