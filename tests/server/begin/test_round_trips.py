"""What each kind of block costs: round trips on the wire, and statements as the server counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

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
