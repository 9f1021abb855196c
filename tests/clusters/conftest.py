"""The cluster that the run was asked for, whole and empty as each test begins; and an alias."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from mysqlpool import close_pool, release_connections
from tests.clusters.cluster import Cluster

# The module and the class of each of tests.conftest.CLUSTERS.
FLAVOURS = {
    "galera": ("tests.clusters.galera", "Galera"),
    "group-replication": ("tests.clusters.group_replication", "GroupReplication"),
}
ALIAS = "clusters"
POOL_SIZE = 8

_TOLD = pytest.StashKey[list[str]]()
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _cluster(pytestconfig: pytest.Config) -> Iterator[Cluster]:
    module, name = FLAVOURS[pytestconfig.getoption("clusters")]
    with getattr(importlib.import_module(module), name)() as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster, django_db_blocker: Any) -> Iterator[Cluster]:
    _cluster.heal()
    _cluster.empty()
    with django_db_blocker.unblock():
        yield _cluster


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["proxy", "hosts"])
def reach(request: pytest.FixtureRequest) -> str:
    """How the alias comes to the cluster."""
    return str(request.param)


@pytest.fixture
def alias(cluster: Cluster, lease: str, reach: str) -> Iterator[None]:
    """ALIAS leads to the cluster, with limits of time for nodes that are frozen."""
    pool: dict[str, Any] = {"pool_size": POOL_SIZE, "timeout": 20, "lease": lease}
    # A pool that is opened again goes on counting; one of another name begins.
    pool["logging_name"] = f"{ALIAS} {next(_numbers)}"
    pool["tcp_user_timeout"] = 3
    if reach == "hosts":
        pool["hosts"] = "first"
    point(ALIAS, {**cluster.settings(reach), "OPTIONS": {**LIMITS, "pool": pool}})
    yield
    forget(ALIAS)


LIMITS: dict[str, Any] = {
    "connect_timeout": 1,
    "read_timeout": 3,
    "write_timeout": 3,
    "ssl_mode": "DISABLED",
}
"""Seconds. To read takes longer than the nodes take to see that one is away."""


def point(alias: str, settings: dict[str, Any]) -> None:
    """Make an alias."""
    forget(alias)
    connections.settings[alias] = {**connections.settings["default"], "CONN_MAX_AGE": 0, **settings}


def forget(alias: str) -> None:
    """Take an alias away, and close its sessions."""
    release_connections()
    close_pool()
    if hasattr(connections._connections, alias):  # type: ignore[attr-defined]
        connections[alias].close()
        del connections[alias]
    connections.settings.pop(alias, None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keep what a workload saw of its outages."""
    report = yield
    workload = getattr(item, "funcargs", {}).get("workload")
    if report.when == "teardown" and workload is not None:
        told = item.config.stash.setdefault(_TOLD, [])
        told += [f"{item.callspec.id}: {outage}" for outage in workload.outages]  # type: ignore[attr-defined]
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for line in config.stash.get(_TOLD, []):
        terminalreporter.write_line(line)
