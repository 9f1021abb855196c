"""A fault, a proxy, a server that may be killed, and the table of what was seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.campaign import DATABASE, Fault
from tests.faults.proxy import Proxy
from tests.observer import Observer
from tests.server import Server
from tests.server.conftest import flavour, observer, server
from tests.server.private import PrivateServer

__all__ = ["flavour", "observer", "server"]

_ROWS = pytest.StashKey[list[dict[str, Any]]]()
_OUTCOME = pytest.StashKey[str]()

TABLE = "CREATE TABLE {}.written (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(100))"


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fault(
    request: pytest.FixtureRequest, lease: str, flavour: str, django_db_blocker: Any
) -> Iterator[Fault]:
    """The fault that the test's marker names.

    What it saw is kept if the test passes, and why it fails if that is expected.
    """
    fault = Fault(request.node.get_closest_marker("fault").args[0], flavour, lease)
    with django_db_blocker.unblock():
        try:
            yield fault
        finally:
            fault.forget()
    outcome = request.node.stash.get(_OUTCOME, "")
    rows = request.config.stash.setdefault(_ROWS, [])
    if outcome == "passed":
        rows.append(fault.row())
    elif outcome:
        rows.append({**fault.row(), "seen": f"not as promised: {outcome}", "recovery": None})


@pytest.fixture
def database(server: Server) -> Iterator[Server]:
    """The run's server, which must not be killed, with an empty database for faults."""
    prepare(server)
    yield server
    with Observer(server) as observer:
        observer.query(f"DROP DATABASE IF EXISTS {DATABASE}")


@pytest.fixture(scope="session")
def _victim() -> Iterator[PrivateServer]:
    with PrivateServer() as server:
        yield server


@pytest.fixture
def victim(_victim: PrivateServer) -> PrivateServer:
    """A server that may be killed, and is up when a test begins, with an empty database."""
    if _victim._server is None:
        _victim.start()
    prepare(_victim)
    return _victim


def prepare(server: Server) -> None:
    with Observer(server) as observer:
        observer.query(f"DROP DATABASE IF EXISTS {DATABASE}")
        observer.query(f"CREATE DATABASE {DATABASE}")
        observer.query(TABLE.format(DATABASE))


@pytest.fixture
def proxy(database: Server) -> Iterator[Proxy]:
    """Before the run's server."""
    with Proxy(database) as proxy:
        yield proxy


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.when == "call":
        why = getattr(report, "wasxfail", "")
        item.stash[_OUTCOME] = "passed" if report.passed else why
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if file := session.config.getoption("fault_rows"):
        Path(file).write_text(json.dumps(session.config.stash.get(_ROWS, [])), encoding="utf-8")
