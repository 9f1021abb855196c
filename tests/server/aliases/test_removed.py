"""An alias that the settings lose at run time, such as a tenant's, is told of no more."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from mysqlpool import auto_close_db, close_pool, holders, release_connections, stats
from mysqlpool.aliases import registry
from mysqlpool.stats import waiting_seconds
from tests.helpers import lease_all, run_threads


@pytest.fixture(params=["FairQueuePool", "QueuePool", "NullPool"])
def tenant(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any
) -> Iterator[str]:
    """An alias that is not there when the process starts, nor when it ends."""
    options: dict[str, Any] = {"pool": {"class": request.param, "lease": "task"}}
    connections.databases["tenant"] = {**connections.databases["default"], "OPTIONS": options}
    with django_db_blocker.unblock():
        yield "tenant"
    forget("tenant")
    close_pool()
    registry.pools()


def forget(alias: str) -> None:
    connections.databases.pop(alias, None)


def told(alias: str) -> set[bool]:
    everything = (stats(), holders(), waiting_seconds(), registry.pools())
    return {alias in one for one in everything}


def test_it_is_told_of_as_long_as_it_has_a_session_and_no_longer(tenant: str) -> None:
    lease_all(tenant)
    forget(tenant)
    assert told(tenant) == {True}
    connections[tenant].close()
    close_pool()
    assert told(tenant) == {False}


def test_it_is_forgotten_when_nobody_knows_it_any_more(tenant: str) -> None:
    run_threads(auto_close_db(lambda: lease_all(tenant)))
    close_pool()
    forget(tenant)
    gc.collect()  # A wrapper is in a cycle.
    assert told(tenant) == {False}
    assert registry.current(tenant) is None


def test_it_is_told_of_again_when_it_comes_back(tenant: str) -> None:
    values = connections.databases[tenant]
    lease_all(tenant)
    release_connections()
    forget(tenant)
    close_pool()
    assert told(tenant) == {False}
    connections.databases[tenant] = values
    lease_all(tenant)
    assert told(tenant) == {True}
    assert stats()[tenant].in_use == 1
    release_connections()


def test_an_alias_that_was_never_in_the_settings_is_told_of(tenant: str) -> None:
    wrapper = connections[tenant].copy("unheard")  # As code does that reads elsewhere.
    wrapper.ensure_connection()
    wrapper.close()
    assert told("unheard") == {True}
