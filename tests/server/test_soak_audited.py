"""A soak of tenants in the storm of ``test_transaction_concurrency``, and its log is audited.

Two hundred threads do tasks of random steps: transactions, locks, user variables. Each task is some
tenant's. An engine and a receiver tell the server whose, or nobody says anything. The threads check
their answers. The general log shows for each statement what its session was told last, and that no
session was told anything while it was bound to a task. ``MYSQLPOOL_SOAK`` is its length in seconds.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

from mysqlpool import close_pool, release_connections, stats
from tests.audit import (
    Entry,
    Task,
    mixed_up,
    numbers_by_thread,
    sent_in_order,
    split_tasks,
    task_of,
)
from tests.helpers import HANG, run_threads
from tests.observer import Observer
from tests.rows.models import Row
from tests.server.backends.test_transaction_concurrency import SESSIONS, Client, general_log
from tests.server.hooks.ways import ByConnectionState, speaker
from tests.server.hooks.world import engine

SECONDS = float(os.environ.get("MYSQLPOOL_SOAK", "3"))
THREADS = 200
SILENT, TENANTS = 0, 4  # of the first tenant nobody says anything

_SET_UP = re.compile(r"SET @tenant = (\d+)")
# By Django itself (a look at the server, and the isolation level), by the engine, by the receiver.
_CONNECTING = ("SELECT VERSION()", "SET SESSION", "SET @tenant")
_NEW = frozenset({"Connect", "Change user", "Reset Connection"})


local = threading.local()  # `client`: whose steps the present thread does


def length(tenant: int) -> int:
    """Of group_concat_max_len; more than either server's default."""
    return 2_000_000 + tenant


class TenantClient(Client):
    """Another tenant in each task. The engine tells one thing of it, the receiver another."""

    def __init__(self, number: int, locks: dict[str, int]) -> None:
        super().__init__(number, locks)
        self.tenant = SILENT
        self.tenants: dict[Task, int] = {}
        self.steps += [self.who_am_i] * 4

    def run_task(self) -> None:
        self.tenant = self.dice.randrange(TENANTS)
        self.tenants[Task(self.number, self.task + 1)] = self.tenant
        speaker.speech = self.tell if self.tenant != SILENT else None
        local.client = self
        super().run_task()

    def tell(self, raw: Any, execute: Any) -> None:
        execute(f"SET SESSION group_concat_max_len = {length(self.tenant)}", None)

    def tag(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """What belongs to the set-up is sent as often as a session needs it, and not counted."""
        if sql.strip().startswith(_CONNECTING):
            return execute(sql, params, many, context)
        return super().tag(execute, sql, params, many, context)

    def who_am_i(self) -> None:
        told, allowed = self.ask("SELECT soak_tenant()", "SELECT @@group_concat_max_len")
        if self.tenant == SILENT:
            assert told is None
            assert allowed < length(SILENT)
        else:
            assert (told, allowed) == (self.tenant, length(self.tenant))


def receiver(connection: Any, **_: Any) -> None:
    client: TenantClient | None = getattr(local, "client", None)
    if client is not None and client.tenant != SILENT:
        with connection.cursor() as cursor:
            cursor.execute(f"SET @tenant = {client.tenant}")


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest, observer: Observer) -> Iterator[str]:
    """Eight sessions for the default alias, whose engine and whose receiver tell the tenant."""
    settings = connections["default"].settings_dict
    before = {name: settings[name] for name in ("ENGINE", "OPTIONS")}
    pool = {"pool_size": SESSIONS, "max_overflow": 0, "timeout": 4 * HANG, "lease": request.param}
    observer.connection.select_db(settings["NAME"])
    observer.query("CREATE FUNCTION soak_tenant() RETURNS INT READS SQL DATA RETURN @tenant")
    connection_created.connect(receiver)
    with engine("ours", ByConnectionState) as name:
        settings.update(ENGINE=name, OPTIONS={"pool": pool})
        yield request.param
        release_connections()
        close_pool()
        settings.update(before)
    connection_created.disconnect(receiver)
    observer.query("DROP FUNCTION soak_tenant")


def in_anothers_set_up(log: list[Entry], tenants: dict[Task, int]) -> list[str]:
    """The statements whose session had last been told of another tenant than their task's."""
    told: dict[int, int] = {}
    flaws: list[str] = []
    for entry in log:
        task = task_of(entry)
        if entry.command in _NEW:
            told[entry.session] = SILENT
        elif task is None and (found := _SET_UP.search(entry.sql)):
            told[entry.session] = int(found[1])
        elif task is not None and told.get(entry.session) != tenants[task]:
            flaws.append(f"session {entry.session}, told {told.get(entry.session)}: {entry.sql}")
    return flaws


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_no_task_is_in_anothers_set_up_or_transaction(lease: str, observer: Observer) -> None:
    locks: dict[str, int] = {}
    clients = [TenantClient(number, locks) for number in range(1, THREADS + 1)]
    tenants: dict[Task, int] = {}
    until = time.monotonic() + SECONDS
    with general_log(observer) as log:
        run_threads(*[partial(client.run, until) for client in clients])
        figures = stats()["default"]
    for client in clients:
        tenants |= client.tenants
    assert in_anothers_set_up(log, tenants)[:10] == []
    assert mixed_up(log)[:10] == []
    seen = numbers_by_thread(log)
    for client in clients:
        assert sent_in_order(seen[client.number], client.sent, client.savepoints)
    assert figures.in_use == 0
    assert figures.idle <= SESSIONS
    served = {(entry.session, tenants[task]) for entry in log if (task := task_of(entry))}
    assert len(served) > len({session for session, _ in served}), "no session served two tenants"
    if lease == "task":
        assert split_tasks(log) == []
    committed = set().union(*(client.rows for client in clients))
    assert set(Row.objects.values_list("pk", flat=True)) == committed
