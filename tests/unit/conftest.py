"""A test here reaches no server, also in a run in which there is one."""

from __future__ import annotations

from typing import Any

import pytest
from MySQLdb.connections import Connection

from tests.conftest import NOWHERE

REMEDY = "what needs a server belongs into tests/server"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver opens no connection, and processes of the test find nobody who answers.

    The failure is no Exception, so that nothing takes it for a server that is down. It is undone
    together with what the test itself patches: one after the other would leave the rest of the run
    with no server, where a test sets a variable of these.
    """

    def refuse(*args: Any, **kwargs: Any) -> None:
        pytest.fail(f"a unit test opened a connection; {REMEDY}")

    monkeypatch.setattr(Connection, "__init__", refuse)
    for name, value in NOWHERE.environ().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def django_db_setup() -> None:
    """Stands in for pytest-django's, which would make the test databases."""
    pytest.fail(f"a unit test asked for a database; {REMEDY}")
