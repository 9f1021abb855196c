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


def pytest_unconfigure(config: pytest.Config) -> None:
    _running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def server() -> Any:
    return _server


@pytest.fixture
def observer(server: Any) -> Iterator[Any]:
    """A connection of its own, outside any pool, that tells what the server sees."""
    from tests.observer import Observer

    with Observer(server) as observer:
        yield observer


@pytest.fixture(autouse=True)
def fresh_pools() -> Iterator[None]:
    """Each test starts and ends with no pool open and nothing leased by this thread."""
    yield
    from mysqlpool import close_pool, release_connections

    release_connections()
    close_pool()
