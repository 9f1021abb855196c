"""``OPTIONS["pool"]["echo"]``: what SQLAlchemy's log tells of an alias's leases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from mysqlpool import close_pool
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper

pytestmark = pytest.mark.django_db(transaction=True)

ALIAS = "echoing"


@pytest.fixture(autouse=True)
def closed_pool() -> Iterator[None]:
    yield
    close_pool()


def a_day(lease: str, **pool: Any) -> None:
    """Two tasks that leave the session clean, and one that does not."""
    settings = connections[DEFAULT_DB_ALIAS].settings_dict
    options = {"pool": {"pool_size": 1, "lease": lease, **pool}}
    wrapper = DatabaseWrapper({**settings, "OPTIONS": options}, ALIAS)
    for statement in ("SELECT 1", "SELECT 2", "CREATE TEMPORARY TABLE mine (n INT)"):
        with wrapper.cursor() as cursor:
            cursor.execute(statement)
        wrapper.close()


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What was logged, but for the end of a former pool, which makes room for the next."""
    found = [
        (record.levelno, re.sub("<.*>", "SESSION", record.getMessage()))
        for record in caplog.records
        if record.name.startswith("sqlalchemy.pool.") and record.name.endswith(f".{ALIAS}")
        if not record.getMessage().startswith("Pool disposed.")
    ]
    caplog.clear()
    return found


@pytest.mark.parametrize("echo", [False, True, "debug"])
def test_an_alias_tells_of_its_leases_what_it_tells_on_queue_pool(
    echo: Any, caplog: pytest.LogCaptureFixture
) -> None:
    a_day("task", echo=echo, **{"class": "FairQueuePool"})
    ours = told(caplog)
    a_day("task", echo=echo, **{"class": "QueuePool"})
    assert ours == told(caplog)
    assert len(ours) == {False: 0, True: 1, "debug": 8}[echo]


def test_each_statement_is_a_lease_with_transaction_tenure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a_day("transaction", echo="debug")
    out = [text for _, text in told(caplog) if text.endswith("checked out from pool")]
    assert len(out) == 3
