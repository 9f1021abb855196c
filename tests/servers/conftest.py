"""The site's databases. What is tested here runs with ``--servers`` alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.server import Server
from tests.server.conftest import observer, server

__all__ = ["observer", "server", "site"]

DATABASES = ("mysqlpool_servers", "mysqlpool_servers_other")
TABLE = (
    "CREATE TABLE IF NOT EXISTS mysqlpool_servers.rows_row (id BIGINT AUTO_INCREMENT PRIMARY KEY,"
    " text VARCHAR(100) NOT NULL, number INT NOT NULL)"
)


@pytest.fixture
def site(server: Server, observer: Any) -> Iterator[dict[str, str]]:
    """The environment of the site, whose databases are there and empty."""
    for name in DATABASES:
        observer.query(f"DROP DATABASE IF EXISTS {name}")
        observer.query(f"CREATE DATABASE {name}")
    observer.query(TABLE)
    yield server.environ()
    for name in DATABASES:
        observer.query(f"DROP DATABASE {name}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell what was left out because it is not installed."""
    reasons = {
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if "tests/servers/" in report.nodeid
    }
    for reason in sorted(reasons):
        terminalreporter.write_line(reason)
