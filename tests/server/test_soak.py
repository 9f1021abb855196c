"""A soak: many threads of several tenants on a few sessions, for ``MYSQLPOOL_SOAK`` seconds.

A tenant is told to the server in three ways at once: its database by the connection parameters, a
user variable by the engine, and another one by a receiver. A trigger writes both variables into
each row. So a row that was sent with another thread's set-up, or to another tenant's database,
tells.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

from mysqlpool import close_pool, stats
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from tests.helpers import HANG

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = float(os.environ.get("MYSQLPOOL_SOAK", "3"))
THREADS = int(os.environ.get("MYSQLPOOL_SOAK_THREADS", "60"))
SESSIONS, TENANTS = 10, 4
ALIAS = "soak"

local = threading.local()


class Tenant(DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "database": f"soak_{local.tenant}"}

    def init_connection_state(self) -> None:
        super().init_connection_state()
        with self.cursor() as cursor:
            cursor.execute("SET @tenant = %s", [local.tenant])


@pytest.fixture
def databases(observer: Any) -> Iterator[None]:
    for tenant in range(TENANTS):
        observer.query(f"CREATE DATABASE soak_{tenant}")
        observer.query(
            f"CREATE TABLE soak_{tenant}.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, thread INT,"
            " tenant VARCHAR(9), who VARCHAR(9)) ENGINE=InnoDB"
        )
        observer.query(
            f"CREATE TRIGGER soak_{tenant}.told BEFORE INSERT ON soak_{tenant}.t FOR EACH ROW"
            " SET NEW.tenant = @tenant, NEW.who = @who"
        )
    yield
    close_pool()
    for tenant in range(TENANTS):
        observer.query(f"DROP DATABASE soak_{tenant}")


class Worker:
    """One thread, which does now this, now that. ``written`` counts its rows by tenant."""

    def __init__(self, number: int, settings: dict[str, Any]) -> None:
        self.number = number
        self.settings = settings
        self.dice = random.Random(number)
        self.written: Counter[int] = Counter()

    def run(self) -> Counter[int]:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            local.tenant, local.who = self.dice.randrange(TENANTS), f"w{self.number}"
            wrapper = Tenant(self.settings, ALIAS)
            try:
                for _ in range(self.dice.randrange(1, 6)):
                    step = self.dice.choice([self.insert, self.insert, self.block, self.pin])
                    self.written[local.tenant] += step(wrapper)
            finally:
                wrapper.close()
        return self.written

    def insert(self, wrapper: Any) -> int:
        with wrapper.cursor() as cursor:
            cursor.execute("INSERT INTO t (thread) VALUES (%s)", [self.number])
            assert cursor.lastrowid
        return 1

    def block(self, wrapper: Any) -> int:
        """A transaction of two rows, which is rolled back in half of the cases."""
        wrapper.set_autocommit(False)
        count = self.insert(wrapper) + self.insert(wrapper)
        keeps = self.dice.random() < 0.5
        (wrapper.commit if keeps else wrapper.rollback)()
        wrapper.set_autocommit(True)
        return count if keeps else 0

    def pin(self, wrapper: Any) -> int:
        """What leaves a trace: the session is this thread's until its release."""
        mine = self.dice.randrange(10**6)
        with wrapper.cursor() as cursor:
            cursor.execute("SET @mine = %s", [mine])
            cursor.execute("SELECT @mine, DATABASE()")
            assert cursor.fetchone() == (mine, f"soak_{local.tenant}")
        return self.insert(wrapper)


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("lease", ["transaction", "task"])
@pytest.mark.long
def test_every_row_is_its_own_tenants(lease: str, databases: None, observer: Any) -> None:
    def receiver(connection: Any, **kwargs: Any) -> None:
        if connection.alias == ALIAS:
            with connection.cursor() as cursor:
                cursor.execute("SET @who = %s", [local.who])

    pool = {"pool_size": SESSIONS, "timeout": 60, "lease": lease}
    settings = {**connections["default"].settings_dict, "OPTIONS": {"pool": pool}}
    connection_created.connect(receiver)
    try:
        with ThreadPoolExecutor(THREADS) as executor:
            futures = [executor.submit(Worker(n, settings).run) for n in range(THREADS)]
            written = sum([f.result(SECONDS + 3 * HANG) for f in futures], Counter[int]())
    finally:
        connection_created.disconnect(receiver)
    for tenant in range(TENANTS):
        rows = observer.query(f"SELECT thread, tenant, who FROM soak_{tenant}.t")
        assert {row for row in rows if row[1:] != (str(tenant), f"w{row[0]}")} == set()
        assert len(rows) == written[tenant] > 0
    assert stats()[ALIAS].in_use == 0
    assert stats()[ALIAS].idle <= SESSIONS
    assert stats()[ALIAS].timeouts == 0
