"""What each kind of block costs: round trips on the wire, and statements as the server counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

from mysqlpool.backends.mysqlpool.observers import look_away, look_on
from mysqlpool.backends.mysqlpool.watching import watch
from mysqlpool.pool import Lease
from tests.documents import table

from .blocks import BLOCKS, prepare
from .modes import LEASES, MODES, pool
from .wire import PLAIN, Wire
from .world import DATABASE, OURS, STOCK, World, alias

ALIAS = "begin"


@pytest.fixture(scope="module")
def wire(server: Any) -> Iterator[Wire]:
    with Wire(server) as wire:
        yield wire


BESIDE_THE_OBSERVER = len(("the one that made the database", "the rival", "ours"))


def assert_costs(kind: str, mode: str | None, wire: Wire, here: World) -> None:
    block = BLOCKS[kind]
    prepare(ALIAS)
    block.run(ALIAS)  # What is done once for each connection is over.
    # To end a connection is a question, too, when the server comes to it: those of other tests.
    observer = here.observer
    observer.until(lambda: len(observer.sessions(DATABASE)) == BESIDE_THE_OBSERVER)
    with here.observer.counting("Questions") as statements, wire.counting() as traffic:
        block.run(ALIAS)
    found = len(traffic.requests), traffic.round_trips, *statements
    round_trips, wanted = block.cost(mode)
    assert found == (round_trips, round_trips, wanted), traffic.requests


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lease", LEASES)
def test_a_block_costs_its_round_trips_and_statements(
    here: World, wire: Wire, lease: str, mode: str | None, kind: str
) -> None:
    options = {**PLAIN, "pool": pool(mode, lease)}
    with alias(ALIAS, OURS, PORT=wire.port, OPTIONS=options):
        assert_costs(kind, mode, wire, here)


@pytest.mark.parametrize("kind", BLOCKS)
def test_it_costs_as_much_on_djangos_engine_as_the_table_says(
    here: World, wire: Wire, kind: str
) -> None:
    with alias(ALIAS, STOCK, PORT=wire.port, OPTIONS=PLAIN):
        assert_costs(kind, None, wire, here)


class Onlooker:
    """Adds up what it is told, as a panel does that looks on."""

    def __init__(self, dirty: bool = False) -> None:
        self.travelled_ones = self.unsent = 0
        self.dirty = dirty

    def leasing(self, alias: str, take: Callable[[], Lease | None]) -> Lease | None:
        lease = take()
        assert lease is not None
        watch(lease, Told(self))
        return lease

    def not_sent(self, alias: str, statements: int) -> None:
        self.unsent += statements


class Told:
    def __init__(self, onlooker: Onlooker) -> None:
        self.onlooker = onlooker

    def not_sent(self, statements: int) -> None:
        self.onlooker.unsent += statements

    def travelled(self, statements: int) -> None:
        self.onlooker.travelled_ones += statements

    def soiled(self, reason: str, sql: bytes) -> None:
        assert self.onlooker.dirty, f"{reason}: {sql!r}"

    def pinned(self, reason: str) -> None:
        raise AssertionError(reason)

    def ended(self, discarded: str | None, renewed: bool) -> None:
        assert self.onlooker.dirty or (discarded, renewed) == (None, False)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("held", [False, True], ids=["closed", "held"])
def test_who_looks_on_is_told_what_a_block_is_spared(
    here: World, wire: Wire, lease: str, mode: str | None, kind: str, held: bool
) -> None:
    """As many as it costs less than on Django's engine; and the wire carries no other statement."""
    block, onlooker = BLOCKS[kind], Onlooker()
    with alias(ALIAS, OURS, PORT=wire.port, OPTIONS={**PLAIN, "pool": pool(mode, lease)}):
        prepare(ALIAS)
        block.run(ALIAS)
        connections[ALIAS].close()
        look_on(onlooker)
        try:
            if held:
                connections[ALIAS].ensure_connection()
            with wire.counting() as traffic:
                block.run(ALIAS)
        finally:
            look_away(onlooker)
    round_trips, statements = block.cost(mode)
    assert len(traffic.requests) == round_trips
    assert onlooker.unsent == block.django - statements
    assert onlooker.travelled_ones == statements - round_trips


def _sets_a_variable(savepoint: bool) -> None:
    """What leaves a block: from then on it goes on as Django's engine does."""
    with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
        if not savepoint:
            cursor.execute("SELECT 1")
        with transaction.atomic(using=ALIAS, savepoint=savepoint):
            cursor.execute("SET @left = 1")
        cursor.execute("SELECT 1")


def _fails_in_the_database() -> None:
    with transaction.atomic(using=ALIAS):
        with suppress(DatabaseError), transaction.atomic(using=ALIAS):
            connections[ALIAS].cursor().execute("SELECT no_such_column")
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT 1")


def _closes_in_between() -> None:
    for _ in range(2):
        with transaction.atomic(using=ALIAS), connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT 1")
        connections[ALIAS].ensure_connection()


@pytest.mark.parametrize(
    "program",
    [
        partial(_sets_a_variable, savepoint=False),
        partial(_sets_a_variable, savepoint=True),
        _fails_in_the_database,
        _closes_in_between,
    ],
    ids=["set", "set in a savepoint", "error", "two"],
)
@pytest.mark.parametrize("mode", MODES)
def test_who_looks_on_is_told_the_truth_where_a_block_is_left(
    here: World, wire: Wire, mode: str | None, program: Callable[[], None]
) -> None:
    """What it is told is the difference to Django's engine, also where that sends less."""

    def cost(engine: str, options: Mapping[str, Any]) -> int:
        with alias(ALIAS, engine, PORT=wire.port, OPTIONS={**PLAIN, **options}):
            connections[ALIAS].ensure_connection()
            with wire.counting() as traffic:
                program()
            return len(traffic.requests)

    onlooker = Onlooker(dirty=True)
    django = cost(STOCK, {})
    look_on(onlooker)
    try:
        ours = cost(OURS, {"pool": pool(mode, "task")})
    finally:
        look_away(onlooker)
    assert onlooker.unsent + onlooker.travelled_ones == django - ours


def test_two_statements_of_a_text_are_one_packet(here: World, wire: Wire) -> None:
    """So the wire and the server do not count the same."""
    with alias(ALIAS, STOCK, PORT=wire.port, OPTIONS=PLAIN), connections[ALIAS].cursor() as cursor:
        with here.observer.counting("Questions") as statements, wire.counting() as traffic:
            cursor.execute("START TRANSACTION;SELECT 1")
            assert cursor.nextset()
            assert cursor.fetchall() == ((1,),)
        assert traffic.requests == ["START TRANSACTION;SELECT 1"]
        assert (traffic.round_trips, statements) == (1, [2])


OF_THE_README = {
    "a query outside of any block": "get",
    "an empty ``atomic``": "empty",
    "``atomic`` with one statement": "one write",
    "a read, and a write in a nested block": "a read, a nested write",
    "``update_or_create`` of a row": "update_or_create",
}


@pytest.mark.parametrize("row", table("What a thread does"), ids=lambda row: row[0])
def test_the_readmes_table_says_what_is_counted(here: World, wire: Wire, row: list[str]) -> None:
    block = BLOCKS[OF_THE_README[row[0]]]
    with alias(ALIAS, STOCK, PORT=wire.port, OPTIONS=PLAIN):
        prepare(ALIAS)
        block.run(ALIAS)  # What Django asks each server once is over.
        connections[ALIAS].close()
        observer = here.observer
        observer.until(lambda: len(observer.sessions(DATABASE)) == BESIDE_THE_OBSERVER - 1)
        with wire.counting() as traffic:
            block.run(ALIAS)
            connecting = traffic.round_trips
    assert [int(cell) for cell in row[1:]] == [connecting, block.django, block.fused]
