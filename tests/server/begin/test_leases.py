"""What a block that waits for its first statement owes to others, while it has no lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections, transaction
from django.db.backends.signals import connection_created

from mysqlpool import release_connections
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper

from .modes import LEASES, pool
from .programs import insert
from .world import OURS, STOCK, World, alias


class Boom(Exception):
    """The application's own."""


def opened(lease: str) -> Any:
    if lease == "stock":
        return alias("begin", STOCK)
    return alias("begin", OURS, OPTIONS={"pool": pool("fused", lease)})


@pytest.fixture(params=LEASES)
def name(request: pytest.FixtureRequest, here: World) -> Iterator[str]:
    here.begin_anew()
    with opened(request.param) as name:
        yield name


@pytest.fixture(params=["stock", *LEASES])
def any_name(request: pytest.FixtureRequest, here: World) -> Iterator[str]:
    here.begin_anew()
    with opened(request.param) as name:
        yield name


def run(name: str, sql: str) -> None:
    with connections[name].cursor() as cursor:
        cursor.execute(sql)


@contextmanager
def heard_by_a_transaction(name: str) -> Iterator[None]:
    """A receiver of ``connection_created`` writes two rows in a transaction of its own."""

    def receiver(connection: Any, **kwargs: Any) -> None:
        if connection.alias == name:
            with transaction.atomic(using=name):
                run(name, insert(8))
                with transaction.atomic(using=name):
                    run(name, insert(9))

    connection_created.connect(receiver)
    try:
        yield
    finally:
        connection_created.disconnect(receiver)


def connect_anew(name: str) -> None:
    """The first statement of a block that waits connects, as the settings were changed."""
    assert connections[name].connection is None
    connections[name].settings_dict["OPTIONS"]["connect_timeout"] = 7
    with heard_by_a_transaction(name):
        run(name, insert(5))


def test_a_receivers_transaction_runs_no_hook_of_the_block_that_connects(
    here: World, name: str
) -> None:
    run(name, "SELECT 1")
    release_connections()
    ran = []
    with suppress(Boom), transaction.atomic(using=name):
        transaction.on_commit(lambda: ran.append(1), using=name)
        connect_anew(name)
        raise Boom
    assert not ran
    assert here.numbers() == [8, 9]


def test_a_receivers_transaction_leaves_a_block_in_one_by_hand_as_it_is(
    here: World, name: str
) -> None:
    run(name, "SELECT 1")
    release_connections()
    transaction.set_autocommit(False, using=name)
    with suppress(Boom), transaction.atomic(using=name):
        connect_anew(name)
        raise Boom
    run(name, insert(6))
    transaction.commit(using=name)
    transaction.set_autocommit(True, using=name)
    assert here.numbers() == [8, 9, 6]


@pytest.mark.parametrize(
    "begin",
    [
        lambda name: transaction.atomic(using=name).__enter__(),
        lambda name: transaction.set_autocommit(False, using=name),
        lambda name: transaction.get_autocommit(using=name),
    ],
    ids=["atomic", "set_autocommit", "get_autocommit"],
)
@pytest.mark.parametrize("connected", [True, False])
def test_an_event_loop_is_refused_as_the_transaction_begins(
    any_name: str, begin: Callable[[str], Any], connected: bool
) -> None:
    if connected:
        run(any_name, "SELECT 1")

    async def refused() -> None:
        with pytest.raises(SynchronousOnlyOperation):
            begin(any_name)

    asyncio.run(refused())
    run(any_name, insert(5))


@pytest.mark.parametrize(
    "method",
    [
        "commit",
        "_commit",
        "rollback",
        "_rollback",
        "_savepoint",
        "_savepoint_rollback",
        "_savepoint_commit",
    ],
)
def test_an_engine_that_ends_or_divides_transactions_has_a_connection_for_that(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Django's engine, also in a block without a statement."""
    heard = []

    def override(self: Any, *args: Any) -> Any:
        heard.append(self.connection.thread_id())
        return getattr(DatabaseWrapper, method)(self, *args)

    kind = type("Engine", (DatabaseWrapper,), {method: override})
    run(name, "SELECT 1")
    monkeypatch.setattr(connections[name], "__class__", kind)
    with suppress(Boom), transaction.atomic(using=name):
        with suppress(Boom), transaction.atomic(using=name):
            raise Boom
        with transaction.atomic(using=name):
            pass
    with suppress(Boom), transaction.atomic(using=name):
        raise Boom
    assert heard
    release_connections()
