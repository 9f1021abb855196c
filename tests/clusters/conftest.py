"""The cluster that the run was asked for, whole and empty as each test begins."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.cluster import Cluster

# The module and the class of each of tests.conftest.CLUSTERS.
FLAVOURS = {
    "galera": ("tests.clusters.galera", "Galera"),
    "group-replication": ("tests.clusters.group_replication", "GroupReplication"),
}


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
