"""What the tests on the real server are given of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import SERVER
from tests.server import Server


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[SERVER]


@pytest.fixture(scope="session")
def flavour(server: Server) -> str:
    """``"mariadb"`` or ``"mysql"``."""
    return os.environ["MYSQLPOOL_SERVER"]


@pytest.fixture
def observer(server: Server) -> Iterator[Any]:
    """A connection of its own, outside any pool, that tells what the server sees."""
    from tests.observer import Observer

    with Observer(server) as observer:
        yield observer
