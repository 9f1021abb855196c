"""Agents that trace a process see of ours what they see of Django's engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mysqlpool import release_connections
from tests.helpers import HANG
from tests.observer import Observer
from tests.server import Server

from .engines import Field

AGENTS = ["sentry", "late sentry", "ddtrace", "opentelemetry", "newrelic"]

# Of Django's engine it hears by MySQLdb.connect, and of ours by Django, which tells of statements.
BY_DRIVER_ONLY = {"newrelic": ("COMMIT", "ROLLBACK")}


@pytest.fixture(scope="module")
def stock() -> dict[str, Any]:
    """What each agent saw of Django's engine."""
    return {}


@pytest.fixture(autouse=True)
def table(observer: Observer, field: Field) -> Iterator[None]:
    name = f"{field.server.name}.agents"
    observer.query(f"CREATE TABLE {name} (number INT) ENGINE=InnoDB")
    yield
    release_connections()
    observer.query(f"DROP TABLE {name}")


def run(agent: str, engine: str, server: Server) -> Any:
    environ = {**os.environ, **server.environ(), "DATABASE_NAME": server.name}
    command = [sys.executable, "-W", "ignore", "-m", "tests.field.agent", agent, engine]
    result = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=HANG
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def statements(agent: str, seen: list[str]) -> list[str]:
    """Less what sets a connection up, which is sent once a session. When it connects may differ."""
    unheard = BY_DRIVER_ONLY.get(agent, ())
    own = [text for text in seen if not text.startswith("SET ") and text not in unheard]
    return sorted(re.sub(r"s\d+_x\d+", "savepoint", text) for text in own)


@pytest.mark.parametrize("lease", ["task", "transaction"])
@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_sees_what_it_sees_of_djangos_engine(
    agent: str, lease: str, server: Server, stock: dict[str, Any]
) -> None:
    if agent not in stock:
        stock[agent] = run(agent, "stock", server)
    djangos, ours = stock[agent], run(agent, lease, server)
    assert djangos["bodies"] == ["[('100%',), (1,), (2,)]"] * 2
    assert ours["bodies"] == djangos["bodies"]
    assert len(statements(agent, djangos["seen"])) >= 14
    assert statements(agent, ours["seen"]) == statements(agent, djangos["seen"])
    assert ours["pool"] == [1, 0, {}]
