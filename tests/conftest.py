"""The private server for the whole run, and what tests ask it.

``--server mysql`` runs them on MySQL instead of MariaDB. A test that is about one server's own
words carries the marker ``mariadb`` or ``mysql``; on the other one it is left out, and the run's
last lines say how many were.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import django
import pytest

from tests.server import FLAVOURS, Server, ServerError, server_from_environment_or_private

_SERVER = pytest.StashKey[Server]()
_RUNNING = pytest.StashKey[Any]()
_LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=FLAVOURS,
        help="the server to run on (default: MYSQLPOOL_SERVER, or mariadb)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the server before Django reads its settings, which take it from the environment."""
    for name in FLAVOURS:
        config.addinivalue_line("markers", f"{name}: about this server's own words")
    config.stash[_LEFT_OUT] = 0
    if config.getoption("help") or config.getoption("version"):
        return
    try:
        running = server_from_environment_or_private(config.getoption("server"))
        server = config.stash[_SERVER] = running.__enter__()
        config.stash[_RUNNING] = running
        # What starts a server of its own, here or in a process, starts one of the same flavour.
        os.environ["MYSQLPOOL_SERVER"] = server.flavour_name()
    except ServerError as error:
        raise pytest.UsageError(str(error)) from None
    os.environ.update(server.environ())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (running := config.stash.get(_RUNNING, None)) is not None:
        running.__exit__(None, None, None)


def pytest_report_header(config: pytest.Config) -> str:
    import MySQLdb

    client = MySQLdb.get_client_info()
    return f"server: {config.stash[_SERVER].version()}, driver's client library: {client}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about the other server."""
    others = FLAVOURS.keys() - {os.environ["MYSQLPOOL_SERVER"]}
    foreign = [item for item in items if any(item.get_closest_marker(name) for name in others)]
    if foreign:
        items[:] = [item for item in items if item not in foreign]
        config.stash[_LEFT_OUT] = len(foreign)
        config.hook.pytest_deselected(items=foreign)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if left_out := config.stash[_LEFT_OUT]:
        here = os.environ["MYSQLPOOL_SERVER"]
        others = " and ".join(sorted(FLAVOURS.keys() - {here}))
        terminalreporter.write_line(
            f"{left_out} tests are about {others} alone, and were left out: this ran on {here}"
        )


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[_SERVER]


@pytest.fixture(scope="session")
def flavour(server: Server) -> str:
    """``"mariadb"`` or ``"mysql"``."""
    return os.environ["MYSQLPOOL_SERVER"]


@pytest.fixture
def observer(server: Any) -> Iterator[Any]:
    """A connection of its own, outside any pool, that tells what the server sees."""
    from tests.observer import Observer

    with Observer(server) as observer:
        yield observer


@pytest.fixture(autouse=True)
def fresh_pools(_django_db_marker: None) -> Iterator[None]:
    """Each test starts and ends with no session open and nothing leased by this thread."""
    from mysqlpool import close_pool, release_connections

    release_connections()
    close_pool()
    yield
    release_connections()
    close_pool()
